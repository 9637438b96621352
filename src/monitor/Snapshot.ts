/**
 * What a database layer is doing, at one moment. It has no parameter and no secret in it.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { CommitLost, Database, Repeated, StatementForm } from "../Database.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import type { Activity, Pool, Stats } from "../pool/Pool.ts"

/**
 * Something that happened.
 *
 * @category models
 * @since 0.2.0
 */
export interface Happening {
  /** In milliseconds since 1970. */
  readonly at: number
  readonly what: string
}

/**
 * What one database layer is doing.
 *
 * @category models
 * @since 0.2.0
 */
export interface DatabaseSnapshot {
  readonly name: string
  readonly pool: Stats
  readonly health: { readonly status: string; readonly reasons: ReadonlyArray<string> }
  readonly activity: Activity
  /** Undefined without a breaker. */
  readonly breaker: string | undefined
  /** The forms of statements that took most, at most 20; undefined where nothing is told about statements. */
  readonly statements: ReadonlyArray<StatementForm> | undefined
  readonly repeated: number
  readonly lostCommits: { readonly applied: number; readonly notApplied: number; readonly unknown: number }
  /** The last 20, the newest first. */
  readonly happenings: ReadonlyArray<Happening>
  /** The counts of the cache; empty without one. */
  readonly cache: Readonly<Record<string, number>>
}

/**
 * What a program's databases are doing.
 *
 * @category models
 * @since 0.2.0
 */
export interface Snapshot {
  readonly version: 1
  /** In milliseconds since 1970. */
  readonly at: number
  readonly process: { readonly pid: number; readonly uptimeSeconds: number; readonly node: string }
  readonly databases: ReadonlyArray<DatabaseSnapshot>
}

/** What has been heard of a database since the monitor began. */
export interface Heard {
  repeated: number
  lostCommits: { applied: number; notApplied: number; unknown: number }
  readonly happenings: Array<Happening>
}

export const nothingHeard = (): Heard => ({
  repeated: 0,
  lostCommits: { applied: 0, notApplied: 0, unknown: 0 },
  happenings: []
})

const kept = 20

const outcomes = { Applied: "applied", NotApplied: "notApplied", Unknown: "unknown" } as const

/** What happened, without the text of a statement: it may have values in it. */
const sentence = (event: Repeated | CommitLost): string => {
  const code = SqlFailure.of(event.error).code
  const failure = `${event.error.reason._tag}${code === undefined ? "" : ` (${code})`}`
  if (event._tag === "CommitLost") return `the answer to a COMMIT was lost: ${event.outcome}; ${failure}`
  return event.pauseMillis === undefined
    ? `given up after ${failure}`
    : `repeated in ${Math.round(event.pauseMillis)} ms after ${failure}`
}

/** Takes notice of an event. */
export const hear = (heard: Heard, at: number, event: Repeated | CommitLost): void => {
  heard.happenings.unshift({ at, what: sentence(event) })
  heard.happenings.length = Math.min(kept, heard.happenings.length)
  if (event._tag === "Repeated") heard.repeated++
  else heard.lostCommits[outcomes[event.outcome]]++
}

/** The forms that took most, at most 20. */
const heaviest = (forms: ReadonlyArray<StatementForm>): ReadonlyArray<StatementForm> =>
  forms.toSorted((left, right) => right.totalMillis - left.totalMillis).slice(0, kept)

/** The counts of the cache of a database, as its metrics have them. */
const cacheCounts = (database: string) =>
  Effect.map(Metric.snapshot, (metrics) => {
    const counts: Record<string, number> = {}
    for (const { attributes, id, state, type } of metrics) {
      if (!id.startsWith("watertight.cache.") || type !== "Counter" && type !== "Gauge") continue
      if (attributes?.["watertight.database"] !== database) continue
      const detail = attributes?.["result"] ?? attributes?.["reason"] ?? attributes?.["source"]
      const name = `${id.slice("watertight.cache.".length)}${detail === undefined ? "" : ` ${detail}`}`
      const value = Number(
        (state as { readonly count?: unknown; readonly value?: unknown })[type === "Counter" ? "count" : "value"]
      )
      counts[name] = (counts[name] ?? 0) + value
    }
    return counts
  })

/** Reads everything at this moment. */
export const collect = Effect.fnUntraced(function*(
  database: Database,
  pool: Pool,
  heard: Heard
): Effect.fn.Return<Snapshot> {
  const health = yield* pool.health
  const forms = database.statements === undefined ? undefined : yield* database.statements
  const one: DatabaseSnapshot = {
    name: database.name,
    pool: yield* pool.stats,
    health: { status: health._tag, reasons: health.reasons.map((reason) => reason.message) },
    activity: yield* pool.activity,
    breaker: database.breaker?.stateUnsafe(),
    statements: forms === undefined ? undefined : heaviest(forms),
    repeated: heard.repeated,
    lostCommits: { ...heard.lostCommits },
    happenings: [...heard.happenings],
    cache: yield* cacheCounts(database.name)
  }
  return {
    version: 1,
    at: yield* Clock.currentTimeMillis,
    process: { pid: process.pid, uptimeSeconds: Math.round(process.uptime()), node: process.versions.node },
    databases: [one]
  }
})
