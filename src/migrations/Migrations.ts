/**
 * Migrations: files of SQL or code that bring a schema up to date, in their order and each of them once.
 *
 * **Details**
 *
 * What has been applied is written to the table of Effect's `Migrator`, so a project that used that goes on with its
 * history, and to a journal beside it, `watertight_migrations`. Several processes may start at once: one applies, the
 * others wait until it is done. The turn of a process ends with it.
 *
 * | | PostgreSQL, PGlite | MySQL, MariaDB |
 * | --- | --- | --- |
 * | a migration | is one transaction, unless it says `-- watertight: no-transaction` | is applied statement by statement |
 * | it fails | nothing of it is left | the statements before stay, and the next run goes on behind them |
 * | the process ends in it | nothing of it is left | the next run looks what was applied, and goes on or says what to do |
 *
 * A definition waits for its locks for a moment only and comes back, so that nobody queues behind it. A migration never
 * resets data, and nothing is undone: a mistake is corrected by the next migration.
 *
 * **Example** (Migrating before the program starts)
 *
 * ```ts
 * import { Layer, Redacted } from "effect"
 * import { Migrations } from "watertight/migrations"
 * import { Postgres } from "watertight/postgres"
 *
 * const DatabaseLive = Migrations.layer({ loader: Migrations.fromDirectory("./migrations") }).pipe(
 *   Layer.provideMerge(Postgres.layer({ url: Redacted.make("postgres://app:secret@db/shop") }))
 * )
 * ```
 *
 * @since 0.2.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { randomUUID } from "node:crypto"
import { Adapter } from "../Adapter.ts"
import * as Options_ from "../options/Options.ts"
import { Pool } from "../pool/Pool.ts"
import { Manager } from "../transaction/Transaction.ts"
import type { Loader, Migration } from "./Migration.ts"
import * as MigrationsError from "./MigrationsError.ts"
import type { Ladder } from "./plan/ladder.ts"
import { type Entry, type Plan, plan, type State } from "./plan/plan.ts"
import { type Engine, largestSmallId, type Parts } from "./run/engine.ts"
import { Journal, type Place, type Row } from "./run/journal.ts"
import { makeMysql } from "./run/mysql.ts"
import { makePostgres } from "./run/postgres.ts"
import { type Event, now } from "./run/site.ts"

export { fromDirectory } from "./directory.ts"
export { type Code, fromEffect, fromRecord, type Loader, make, type Migration, type Program, sql } from "./Migration.ts"
export type { Entry, Event, State }

/**
 * Where migrations come from and where it is written which have been applied.
 *
 * @category options
 * @since 0.2.0
 */
export interface Source<R = never> {
  readonly loader: Loader<R>
  /** The table of Effect's `Migrator`. Default: `"effect_sql_migrations"`. */
  readonly table?: string | undefined
}

/**
 * How long a definition waits for its locks.
 *
 * **Details**
 *
 * A statement that waits for an exclusive lock keeps everybody waiting who comes after it. So each attempt is short, and
 * there are many.
 *
 * @category options
 * @since 0.2.0
 */
export interface LockOptions {
  /** How long the first attempt waits. Default: 100 milliseconds. On MySQL a second is the least. */
  readonly first?: Duration.Input | undefined
  /** The longest that an attempt waits. Default: 1 second. */
  readonly longest?: Duration.Input | undefined
  /** The longest pause between two attempts. Default: 10 seconds. */
  readonly pause?: Duration.Input | undefined
  /** How long all attempts of a migration together may take. Default: 10 minutes. */
  readonly limit?: Duration.Input | undefined
}

/**
 * The options of `run`.
 *
 * @category options
 * @since 0.2.0
 */
export interface Options<R = never> extends Source<R> {
  /** The last id to apply. Default: all. */
  readonly to?: number | undefined
  /** Whether a migration may be applied although a later one has been. Default: `false`, which refuses. */
  readonly outOfOrder?: boolean | undefined
  /** Whether the files of migrations that were applied may be gone. Default: `false`, which refuses. */
  readonly allowMissing?: boolean | undefined
  /** How long to wait for another process that does not get on. Default: 10 minutes. */
  readonly wait?: Duration.Input | undefined
  readonly lock?: LockOptions | undefined
  /** Told what happens. Default: what is worth knowing is logged. */
  readonly onEvent?: ((event: Event) => Effect.Effect<void>) | undefined
}

/**
 * What a run has done.
 *
 * @category models
 * @since 0.2.0
 */
export interface Report {
  /** What this process has applied, in order. */
  readonly applied: ReadonlyArray<{ readonly id: number; readonly name: string; readonly millis: number }>
  /** How many migrations are applied by now. */
  readonly total: number
  /** What should be looked at. */
  readonly warnings: ReadonlyArray<MigrationsError.Reason>
}

/**
 * Where all migrations are.
 *
 * @category models
 * @since 0.2.0
 */
export interface Status {
  readonly entries: ReadonlyArray<Entry>
  /** Why `run` would refuse. */
  readonly problems: ReadonlyArray<MigrationsError.Reason>
  readonly warnings: ReadonlyArray<MigrationsError.Reason>
}

/**
 * What migrations need: any database layer provides it.
 *
 * @category models
 * @since 0.2.0
 */
export type Services = SqlClient.SqlClient | Adapter | Pool | Manager

type Failure = SqlError | MigrationsError.MigrationsError

/**
 * Applies what is pending, or waits until another process has done it.
 *
 * @category constructors
 * @since 0.2.0
 */
export const run = Effect.fnUntraced(function*<R = never>(
  options: Options<R>
): Effect.fn.Return<Report, Failure, Services | R> {
  const { lock, wait: waitLimit } = yield* checked({ wait: options.wait, lock: options.lock })
  const files = yield* options.loader
  const tell = options.onEvent ?? log
  const engine = yield* engineOf(options, tell, lock)
  const applied: Array<Report["applied"][number]> = []
  let waitingSince: number | undefined
  let progress = ""
  let toldAt = -Infinity
  while (true) {
    const { journal, known, plan } = yield* look(engine, files, options)
    if (plan.problems.length > 0) {
      return yield* new MigrationsError.MigrationsError({ reason: plan.problems[0]!, others: plan.problems.slice(1) })
    }
    if (plan.pending.length === 0) {
      const total = known.filter((row) => row.state === "applied" || row.state === "baseline").length
      return { applied, total, warnings: plan.warnings }
    }
    if (yield* turn(engine, journal, plan, applied, tell)) continue
    const at = yield* now
    const reached = known.map((row) => `${row.id}${row.state}${row.done}`).join(" ")
    if (waitingSince === undefined || reached !== progress) waitingSince = at
    progress = reached
    const waitedMillis = at - waitingSince
    if (waitedMillis >= waitLimit) {
      return yield* MigrationsError.failWith(new MigrationsError.Busy({ waitedMillis, holder: yield* engine.holder }))
    }
    if (at - toldAt > 5000) {
      toldAt = at
      yield* tell({ _tag: "Waiting", holder: yield* engine.holder, waitedMillis })
    }
    yield* Effect.sleep(100 + 200 * (yield* Random.next))
  }
})

/** Applies what is pending. Answers whether it had the turn. */
const turn = (
  engine: Engine,
  journal: Journal,
  plan: Plan<Migration>,
  applied: Array<Report["applied"][number]>,
  tell: (event: Event) => Effect.Effect<void>
): Effect.Effect<boolean, Failure, SqlClient.SqlClient> =>
  Effect.scoped(Effect.gen(function*() {
    if (journal.create.length > 0) return yield* engine.prepare(journal)
    const turn = yield* engine.turn(journal)
    if (turn === undefined) return false
    yield* tell({ _tag: "Planned", count: plan.pending.length })
    for (const migration of plan.pending) {
      const startedAt = yield* now
      const outcome = yield* turn.apply(migration)
      if (outcome === "busy") return false
      if (outcome === "already") continue
      const { id, name } = migration
      const millis = (yield* now) - startedAt
      applied.push({ id, name, millis })
      yield* tell({ _tag: "Applied", id, name, millis })
    }
    return true
  }))

/** Reads what there is, and plans. */
const look = Effect.fnUntraced(function*(
  engine: Engine,
  files: ReadonlyArray<Migration>,
  options: Pick<Options, "to" | "outOfOrder" | "allowMissing">
): Effect.fn.Return<
  { readonly journal: Journal; readonly known: ReadonlyArray<Row>; readonly plan: Plan<Migration> },
  SqlError
> {
  const located = yield* engine.locate
  const isSmallEnough = files.every((file) => file.id <= largestSmallId)
  const place: Place = isSmallEnough ? { ...located, hasSmallIds: false } : located
  const journal = new Journal(place)
  const known = yield* engine.read(journal)
  return {
    journal,
    known,
    plan: plan(files, known, {
      outOfOrder: options.outOfOrder ?? false,
      allowMissing: options.allowMissing ?? false,
      to: options.to
    })
  }
})

/**
 * Tells where all migrations are. Changes nothing.
 *
 * @category getters
 * @since 0.2.0
 */
export const status = Effect.fnUntraced(function*<R = never>(
  options: Source<R> & Pick<Options, "outOfOrder" | "allowMissing">
): Effect.fn.Return<Status, Failure, Services | R> {
  const files = yield* options.loader
  const { plan } = yield* look(yield* engineOf(options, log), files, options)
  return { entries: plan.entries, problems: plan.problems, warnings: plan.warnings }
})

/**
 * Takes a database as it is: its migrations up to an id count as applied, and are not run.
 *
 * **When to use**
 *
 * Once, where the schema was made before migrations were kept.
 *
 * @category repairs
 * @since 0.2.0
 */
export const baseline = Effect.fnUntraced(function*<R = never>(
  options: Source<R> & { readonly upTo: number }
): Effect.fn.Return<ReadonlyArray<{ readonly id: number; readonly name: string }>, Failure, Services | R> {
  const files = yield* options.loader
  const chosen = files.filter((file) => file.id <= options.upTo)
  if (chosen.length === 0) {
    return yield* MigrationsError.failWith(
      new MigrationsError.Refused({ problem: `there is no migration up to ${options.upTo}` })
    )
  }
  let taken: ReadonlyArray<Migration> = []
  yield* repairing(options, files, (journal, known) => {
    const recorded = new Set(known.map((row) => row.id))
    taken = chosen.filter((file) => !recorded.has(file.id))
    const run = randomUUID()
    return Effect.succeed(taken.flatMap((file) => [
      journal.record(file, run, "baseline", undefined),
      journal.recordForEffect(file)
    ]))
  })
  return taken.map(({ id, name }) => ({ id, name }))
})

/**
 * What is to be repaired.
 *
 * - `accept`: the file has another name or text than when it was applied, and means the same.
 * - `forget`: it was not applied after all, or its file is gone for good.
 * - `as`: what became of it, or of the `statement` that was under way, was looked up by a person.
 *
 * @category options
 * @since 0.2.0
 */
export type Repair =
  | { readonly id: number; readonly accept: true }
  | { readonly id: number; readonly forget: true }
  | { readonly id: number; readonly as: "applied" | "pending"; readonly statement?: number | undefined }

/**
 * Corrects what is recorded of a migration. It changes records only, and nothing else.
 *
 * @category repairs
 * @since 0.2.0
 */
export const repair = <R = never>(options: Source<R> & Repair): Effect.Effect<void, Failure, Services | R> =>
  Effect.flatMap(options.loader, (files) =>
    repairing(options, files, (journal, known) => {
      const row = known.find((candidate) => candidate.id === options.id)
      const file = files.find((candidate) => candidate.id === options.id)
      const run = randomUUID()
      if ("forget" in options) {
        return row === undefined ? refuse(`${options.id} is not recorded`) : Effect.succeed(journal.forget(options.id))
      }
      if (file === undefined) return refuse(`there is no file of ${options.id}`)
      if ("accept" in options) {
        return row?.state !== "applied"
          ? refuse(`${options.id} is not applied`)
          : Effect.succeed(journal.accept(file, row.run !== "", run, "accepted as it is"))
      }
      if (options.statement !== undefined) return settled(journal, row, options.statement, options.as)
      if (row?.state === "applied") return refuse(`${options.id} is applied: \`forget\` takes that back`)
      return Effect.succeed(
        options.as === "pending"
          ? journal.forget(options.id)
          : [
            ...journal.forget(options.id),
            journal.record(file, run, "applied", undefined, "said to be applied"),
            journal.recordForEffect(file)
          ]
      )
    }))

const settled = (journal: Journal, row: Row | undefined, statement: number, as: "applied" | "pending") => {
  if (row?.atStatement !== statement) {
    return refuse(
      row?.atStatement === undefined
        ? "no statement of it is in doubt"
        : `it is statement ${row.atStatement} that is in doubt, and not ${statement}`
    )
  }
  const hashes = as === "applied" ? [...row.hashes, `a:${row.atHash}`] : row.hashes
  return Effect.succeed([
    journal.settle(row.id, as === "applied", row.done, hashes, `statement ${statement} was said to be ${as}`)
  ])
}

const refuse = (problem: string): Effect.Effect<never, MigrationsError.MigrationsError> =>
  MigrationsError.failWith(new MigrationsError.Refused({ problem }))

/** Writes to the journal, under the lock. */
const repairing = Effect.fnUntraced(function*<R>(
  options: Source<R>,
  files: ReadonlyArray<Migration>,
  queries: (
    journal: Journal,
    known: ReadonlyArray<Row>
  ) => Effect.Effect<ReturnType<Journal["forget"]>, MigrationsError.MigrationsError>
): Effect.fn.Return<void, Failure, Services> {
  const engine = yield* engineOf(options, log)
  const startedAt = yield* now
  while (true) {
    const isDone = yield* Effect.scoped(Effect.gen(function*() {
      let { journal } = yield* look(engine, files, {})
      if (journal.create.length > 0) {
        if (!(yield* engine.prepare(journal))) return false
        journal = (yield* look(engine, files, {})).journal
      }
      const turn = yield* engine.turn(journal)
      if (turn === undefined) return false
      const known = yield* engine.read(journal)
      return yield* turn.write(yield* queries(journal, known))
    }))
    if (isDone) return
    const waitedMillis = (yield* now) - startedAt
    if (waitedMillis > 30_000) {
      return yield* MigrationsError.failWith(new MigrationsError.Busy({ waitedMillis, holder: yield* engine.holder }))
    }
    yield* Effect.sleep("100 millis")
  }
})

/**
 * Applies what is pending while the layer is built.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = <R = never>(options: Options<R>): Layer.Layer<never, Failure, Services | R> =>
  Layer.effectDiscard(run(options))

const engineOf = Effect.fnUntraced(function*(
  options: Pick<Options, "table">,
  tell: (event: Event) => Effect.Effect<void>,
  lock?: Ladder
): Effect.fn.Return<Engine, MigrationsError.MigrationsError, Services> {
  const sql = yield* SqlClient.SqlClient
  const parts: Parts = {
    sql: sql.withoutTransforms(),
    adapter: yield* Adapter,
    pool: yield* Pool,
    transactions: yield* Manager,
    table: options.table ?? "effect_sql_migrations",
    ladder: lock ?? (yield* checked({})).lock,
    tell
  }
  const make = sql.onDialectOrElse({
    pg: () => makePostgres,
    mysql: () => makeMysql,
    orElse: () => undefined
  })
  return make === undefined
    ? yield* refuse("migrations are for PostgreSQL, PGlite, MySQL and MariaDB")
    : make(parts)
})

const table = Options_.make<Pick<Options, "wait" | "lock">>()("Migrations", {
  wait: Options_.duration({ default: "10 minutes" }),
  lock: Options_.nested<LockOptions>()({
    first: Options_.duration({ default: "100 millis", positive: true }),
    longest: Options_.duration({ default: "1 second", positive: true }),
    pause: Options_.duration({ default: "10 seconds" }),
    limit: Options_.duration({ default: "10 minutes" })
  })
})

/** The options that may be wrong although they are of their type. */
const checked = (options: Pick<Options, "wait" | "lock">) =>
  Effect.catch(table.resolve(options), (error) => refuse(error.message))

const log = (event: Event): Effect.Effect<void> => {
  switch (event._tag) {
    case "Planned":
      return Effect.logDebug(`${event.count} migrations are pending`)
    case "Started":
      return Effect.logDebug(`Migration ${event.id}_${event.name} begins`)
    case "Resumed":
      return Effect.logInfo(`Migration ${event.id}_${event.name} goes on behind statement ${event.done}`)
    case "Applied":
      return Effect.logInfo(`Migration ${event.id}_${event.name} is applied`)
    case "Blocked":
      return Effect.logDebug(`Migration ${event.id}_${event.name} did not get its locks and comes back`)
    case "Waiting":
      return Effect.logInfo(`Another process is migrating${event.holder === undefined ? "" : `: ${event.holder}`}`)
  }
}
