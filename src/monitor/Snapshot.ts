/**
 * What a database layer is doing, at one moment. It has no parameter and no secret in it.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { Cluster, TopologyEvent } from "../cluster/Topology.ts"
import type { CommitLost, Database, Repeated, StatementForm } from "../Database.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import type { Activity, Pool, Stats } from "../pool/Pool.ts"
import type { ConnectFailure, PoolEvent } from "../pool/state/PoolEvent.ts"

/**
 * Something that happened.
 *
 * @category models
 * @since 0.2.0
 */
export interface Happening {
  /** In milliseconds since 1970; the last time, where it happened several times. */
  readonly at: number
  readonly what: string
  /** How many times it happened without anything else in between. */
  readonly count: number
}

/**
 * A server of several that are used as one.
 *
 * @category models
 * @since 0.2.0
 */
export interface NodeSnapshot {
  /** Its address. */
  readonly name: string
  /** What it is: `Primary`, `Replica`, or why it is not in use. */
  readonly status: string
  readonly forMillis: number
  readonly why: string | undefined
  readonly zone: string | undefined
  /** How stale it is at the most; undefined if nobody knows. */
  readonly staleMillis: number | undefined
  readonly used: number
  readonly total: number
  readonly waiting: number
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
  /** Where several servers are used as one. */
  readonly nodes: ReadonlyArray<NodeSnapshot> | undefined
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

const connectFailures: Record<ConnectFailure, string | undefined> = {
  Unreachable: "a connection could not be opened: the server cannot be reached",
  Full: "a connection could not be opened: the server has no room for one more",
  Permanent: "a connection could not be opened: the server refuses, see the log",
  Interrupted: undefined
}

/** What happened to the pool, as far as somebody on call wants to know. */
const poolSentence = (event: PoolEvent): string | undefined => {
  switch (event._tag) {
    case "ConnectFailed":
      return connectFailures[event.reason]
    case "OverloadLowered":
      return `the server lets in fewer than \`pool.max\`: at most ${event.to} from now on`
    case "OverloadRaised":
      return `at most ${event.to} connections from now on`
    case "LeakSuspected":
      return `session ${event.connection} is held for longer than \`leakThreshold\``
    case "LeakReclaimed":
      return `session ${event.connection} was taken away from its holder`
    case "Suspected":
      return `${event.count} connections are asked for a sign of life`
    case "ProcessStalled":
      return `this process stood still for ${Math.round(event.millis)} ms`
    case "AcquireFailed":
      return `a caller got no connection: ${event.reason}`
    case "Suspended":
    case "Resumed":
      return `the pool is ${event._tag.toLowerCase()}`
    default:
      return undefined
  }
}

/** What happened to the servers of a cluster, as far as somebody on call wants to know. */
const topologySentence = (event: TopologyEvent): string => {
  const because = "why" in event && event.why !== undefined ? `: ${event.why}` : ""
  switch (event._tag) {
    case "RoleChanged":
      return `${event.node} is ${event.to} now, and was ${event.from}${because}`
    case "PrimaryFound":
      return `${event.node} is the primary, after ${Math.round(event.afterMillis)} ms without one`
    case "PrimaryLost":
      return `${event.node} is the primary no more${because}`
    case "Fenced":
      return `nothing is written to ${event.node} any more${because}`
    case "SplitBrain":
      return `writes are held: ${event.nodes.join(" and ")} say that they are the primary`
    case "NodeEjected":
      return `${event.node} serves no reads: ${event.reason}`
    case "NodeReturned":
      return `${event.node} serves reads`
    case "TokenUnusable":
      return `a token proves nothing (${event.reason}), the primary serves its reads`
  }
}

const remember = (heard: Heard, at: number, what: string): void => {
  const [last] = heard.happenings
  if (last?.what === what) heard.happenings[0] = { at, what, count: last.count + 1 }
  else heard.happenings.unshift({ at, what, count: 1 })
  heard.happenings.length = Math.min(kept, heard.happenings.length)
}

/** Takes notice of an event of the pool. */
export const hearPool = (heard: Heard, at: number, event: PoolEvent): void => {
  const what = poolSentence(event)
  if (what !== undefined) remember(heard, at, what)
}

/** Takes notice of an event of a cluster. */
export const hearTopology = (heard: Heard, at: number, event: TopologyEvent): void =>
  remember(heard, at, topologySentence(event))

/** Takes notice of an event. */
export const hear = (heard: Heard, at: number, event: Repeated | CommitLost): void => {
  remember(heard, at, sentence(event))
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

const nodesOf = (cluster: Cluster): Effect.Effect<ReadonlyArray<NodeSnapshot>> =>
  Effect.map(
    cluster.topology,
    ({ nodes }) =>
      nodes.map(({ forMillis, name, pool: { total, used, waiting }, staleMillis, status, why, zone }) => ({
        name,
        status,
        forMillis,
        why,
        zone,
        staleMillis: staleMillis === Infinity ? undefined : staleMillis,
        used,
        total,
        waiting
      }))
  )

/** Reads everything at this moment. */
export const collect = Effect.fnUntraced(function*(
  database: Database,
  pool: Pool,
  heard: Heard,
  cluster: Cluster | undefined
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
    nodes: cluster === undefined ? undefined : yield* nodesOf(cluster),
    cache: yield* cacheCounts(database.name)
  }
  return {
    version: 1,
    at: yield* Clock.currentTimeMillis,
    process: { pid: process.pid, uptimeSeconds: Math.round(process.uptime()), node: process.versions.node },
    databases: [one]
  }
})
