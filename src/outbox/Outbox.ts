/**
 * Messages that are sent exactly when their transaction commits.
 *
 * **When to use**
 *
 * Use it where a transaction must tell somebody else: send a mail, publish an event, call another service. Writing to the
 * database and then sending loses the message when the process dies in between; sending first tells of what may be rolled
 * back.
 *
 * **Details**
 *
 * `add` writes the message to the table `watertight_outbox` as a part of the transaction. `run` takes messages with
 * `for update skip locked`, so any number of workers share the work, and deletes a message in the transaction in which it
 * was handled. What the handler writes to the same database is committed with it.
 *
 * - **At least once.** A worker that dies gives its message back. A handler that reaches out of the database must bear to
 *   see a message twice: the id of the message is the same each time.
 * - **In order per key.** Of the messages with one key, the next is taken when the one before it is done. There is no order
 *   among keys. The order of a key is that in which its transactions drew their ids; transactions that write the same
 *   rows draw them one after the other.
 * - **No cursor.** Ids are drawn before commits and appear out of order, so a reader that remembers the last id would pass
 *   over messages. Rows are taken here, not positions.
 * - **Poison.** A message whose handler fails `maxAttempts` times is put aside, with the error. `failed` lists them, and
 *   `requeue` gives them back. The next message of its key goes on.
 *
 * A worker that finds nothing waits for `interval`, for an `add` of the same process, or for what `wakeUps` has: on
 * PostgreSQL `Notifications.stream("watertight_outbox")`, together with `notify: true` at `add`.
 *
 * **Gotchas**
 *
 * A handler runs inside a transaction and has a connection meanwhile: keep it short, or give the pool room for it.
 *
 * **Example** (A mail for each order)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Transaction } from "watertight"
 * import { Outbox } from "watertight/outbox"
 *
 * const order = (id: string) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`insert into orders (id) values (${id})`
 *     yield* Outbox.add("mail", { order: id }, { key: id })
 *   }).pipe(Transaction.run({}))
 *
 * const worker = Outbox.run("mail", (message) => Effect.log(`mail about ${message.id}`), { concurrency: 4 })
 * ```
 *
 * @since 0.2.0
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Options from "../options/Options.ts"
import { TaggedError } from "../options/TaggedError.ts"
import * as Transaction from "../transaction/Transaction.ts"
import { toJson } from "../values/json.ts"
import { UnfitValue } from "../values/UnfitValue.ts"
import { dialectOf, type Row } from "./dialect.ts"
import { type Signal, signalOf } from "./signal.ts"

/**
 * A message, as a handler gets it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Message {
  /** The same each time that the message is handled. */
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
  /** What was given to `add`, after JSON. */
  readonly value: unknown
  /** Which attempt this is, counted from 1. */
  readonly attempt: number
}

/**
 * A message that was put aside.
 *
 * @category models
 * @since 0.2.0
 */
export interface Failed extends Omit<Message, "attempt"> {
  readonly attempts: number
  /** What the last attempt failed with: the tag or the name of the error, and its message. */
  readonly error: string
}

/**
 * What is in a topic.
 *
 * @category models
 * @since 0.2.0
 */
export interface Stats {
  /** How many messages wait, those of a later attempt too. */
  readonly waiting: number
  /** How many were put aside. */
  readonly failed: number
  /** For how long the oldest has waited, in milliseconds; 0 if none waits. */
  readonly oldestMillis: number
}

/**
 * The value of a message cannot be written as JSON.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnfitMessage extends TaggedError("UnfitMessage")<{
  readonly topic: string
  readonly problem: string
}> {
  override get message(): string {
    return `A message of the topic "${this.topic}" was not written: ${this.problem}`
  }
}

/**
 * How a message is written.
 *
 * @category options
 * @since 0.2.0
 */
export interface AddOptions {
  /** Messages with the same key are handled one after the other. Default: none; the message has no order. */
  readonly key?: string | undefined
  /**
   * Whether other processes are woken by NOTIFY, after COMMIT. It costs a round trip after the transaction. PostgreSQL and
   * PGlite; elsewhere they look when their `interval` is over. Default: false.
   */
  readonly notify?: boolean | undefined
}

/**
 * How messages are handled.
 *
 * @category options
 * @since 0.2.0
 */
export interface RunOptions<out RW = never> {
  /** How many messages are handled at a time by this worker. Each has a connection. Default: 1. */
  readonly concurrency?: number | undefined
  /** How often a worker looks that was not woken. Default: 1 second. */
  readonly interval?: Duration.Input | undefined
  /** After how many attempts a message is put aside. Default: 10. */
  readonly maxAttempts?: number | undefined
  /** The wait after the first failed attempt. It doubles with each, up to an hour. Default: 1 second. */
  readonly backoff?: Duration.Input | undefined
  /** Anything that comes wakes the worker: `Notifications.stream("watertight_outbox")` on PostgreSQL. */
  readonly wakeUps?: Stream.Stream<unknown, unknown, RW> | undefined
}

const options = Options.make<RunOptions<any>>()("Outbox", {
  concurrency: Options.count({ default: 1, min: 1 }),
  interval: Options.duration({ default: "1 second", positive: true, finite: true }),
  maxAttempts: Options.count({ default: 10, min: 1 }),
  backoff: Options.duration({ default: "1 second", finite: true }),
  wakeUps: Options.custom<Stream.Stream<unknown, unknown, any>>("a Stream", Stream.isStream)
}, { listNames: true })

/**
 * Makes the table, unless it is there. `schema` has the statements, for a migration.
 *
 * @category constructors
 * @since 0.2.0
 */
export const createTable: Effect.Effect<void, SqlError, SqlClient> = Effect.flatMap(
  SqlClient,
  (sql) => Effect.forEach(dialectOf(sql).schema, (statement) => sql.unsafe(statement), { discard: true })
)

/**
 * The statements that make the table, in the dialect of the client.
 *
 * @category accessors
 * @since 0.2.0
 */
export const schema: Effect.Effect<ReadonlyArray<string>, never, SqlClient> = Effect.map(
  SqlClient,
  (sql) => dialectOf(sql).schema
)

/**
 * Writes a message as a part of the transaction around it.
 *
 * @category combinators
 * @since 0.2.0
 */
export const add = (
  topic: string,
  value: unknown,
  { key, notify = false }: AddOptions = {}
): Effect.Effect<void, SqlError | UnfitMessage, SqlClient | Transaction.Transaction> =>
  Effect.gen(function*() {
    yield* Transaction.Transaction
    const sql = yield* SqlClient
    const text = yield* Effect.fromResult(encode(topic, value))
    yield* sql`insert into watertight_outbox (topic, ordering_key, payload) values (${topic}, ${key ?? null}, ${text})`
    const signal = signalOf(sql)
    yield* sql.afterCommit(Effect.suspend(() => {
      signal.wake(topic)
      return notify ? signal.notify(sql) : Effect.void
    }))
  })

/** What JSON would lose of a value without a word is refused. */
const encode = (topic: string, value: unknown): Result.Result<string, UnfitMessage> =>
  Result.try({
    try: () => toJson(value),
    catch: (cause) =>
      new UnfitMessage({ topic, problem: cause instanceof UnfitValue ? cause.message : "the value cannot be read" })
  })

const handled = (topic: string) =>
  Metric.counter("watertight.outbox.handled", {
    description: "Messages that were handled.",
    incremental: true,
    attributes: { "watertight.outbox.topic": topic }
  })
const failures = (topic: string) =>
  Metric.counter("watertight.outbox.failures", {
    description: "Attempts to handle a message that failed.",
    incremental: true,
    attributes: { "watertight.outbox.topic": topic }
  })
const poisoned = (topic: string) =>
  Metric.counter("watertight.outbox.poisoned", {
    description: "Messages that were put aside after their last attempt.",
    incremental: true,
    attributes: { "watertight.outbox.topic": topic }
  })

/**
 * Handles the messages of a topic, until it is interrupted. A message that is being handled then is given back.
 *
 * **Details**
 *
 * Failures of the database are waited out: a worker lives through a restart. It fails only for options that cannot work.
 *
 * @category combinators
 * @since 0.2.0
 */
export const run = <E, R, RW = never>(
  topic: string,
  handler: (message: Message) => Effect.Effect<unknown, E, R>,
  given: RunOptions<RW> = {}
): Effect.Effect<never, InvalidOptions, R | RW | SqlClient | Transaction.Manager> =>
  Effect.gen(function*() {
    const resolved = yield* options.resolve(given)
    const sql = yield* SqlClient
    const signal = signalOf(sql)
    if (given.wakeUps !== undefined) {
      yield* Effect.forkChild(listen(given.wakeUps, () => signal.wake(topic), resolved.interval))
    }
    const one = Effect.forever(step(sql, signal, topic, handler, resolved))
    return yield* Effect.all(Array.from({ length: resolved.concurrency }, () => one), {
      concurrency: "unbounded",
      discard: true
    }) as Effect.Effect<never, never, R | SqlClient | Transaction.Manager>
  })

/** A stream that ends or fails is begun anew: what it has missed is found at the next look. */
const listen = <RW>(wakeUps: Stream.Stream<unknown, unknown, RW>, wake: () => void, interval: number) =>
  Stream.runForEach(wakeUps, () => Effect.sync(wake)).pipe(
    Effect.ignoreCause({ log: "Warn", message: "The stream that wakes the workers of the outbox has ended" }),
    Effect.andThen(Effect.sleep(interval)),
    Effect.forever
  )

type Resolved = Options.Resolved<typeof options.table>

/** One message, or a wait if there is none. */
const step = <E, R>(
  sql: SqlClient,
  signal: Signal,
  topic: string,
  handler: (message: Message) => Effect.Effect<unknown, E, R>,
  resolved: Resolved
): Effect.Effect<void, never, R | SqlClient | Transaction.Manager> =>
  Effect.suspend(() => {
    // Asked for before the look, so that no message between the look and the wait goes unseen.
    const woken = signal.next(topic)
    return handleNext(sql, topic, handler, resolved).pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.interrupt
          : Effect.as(Effect.logWarning(`The outbox could not be read for the topic "${topic}"`, cause), false)
      ),
      Effect.flatMap((found) => found ? Effect.void : Effect.raceFirst(woken, Effect.sleep(resolved.interval)))
    )
  })

const handleNext = <E, R>(
  sql: SqlClient,
  topic: string,
  handler: (message: Message) => Effect.Effect<unknown, E, R>,
  { backoff, maxAttempts }: Resolved
) => {
  let counted: Effect.Effect<void> = Effect.void
  return Effect.gen(function*() {
    counted = Effect.void
    const dialect = dialectOf(sql)
    const [row] = yield* dialect.take(topic)
    if (row === undefined) return false
    // A savepoint: what the handler has written goes if it fails, and the note about the failure stays.
    const exit = yield* Effect.exit(Transaction.run(handler(toMessage(topic, row)), { nesting: "savepoint" }))
    if (Exit.isSuccess(exit)) {
      yield* sql`delete from watertight_outbox where id = ${row.id}`
      counted = Metric.update(handled(topic), 1)
      return true
    }
    if (Cause.hasInterrupts(exit.cause)) return yield* Effect.failCause(exit.cause as Cause.Cause<never>)
    const attempts = Number(row.attempts) + 1
    const isLast = attempts >= maxAttempts
    const pause = Math.min(backoff * 2 ** Math.min(attempts - 1, 30), 3_600_000)
    yield* dialect.note(String(row.id), attempts, describe(exit.cause), isLast ? undefined : pause)
    counted = Effect.andThen(
      Metric.update(failures(topic), 1),
      isLast
        ? Effect.andThen(
          Metric.update(poisoned(topic), 1),
          Effect.logWarning(`A message of the topic "${topic}" was put aside after ${attempts} attempts`, exit.cause)
        )
        : Effect.void
    )
    return true
  }).pipe(
    Transaction.run({ isolation: "read committed", name: `outbox ${topic}` }),
    // Not before COMMIT: a transaction that is repeated would count twice.
    Effect.tap(() => counted)
  )
}

const toMessage = (topic: string, row: Row): Message => ({
  id: String(row.id),
  topic,
  key: row.key ?? undefined,
  value: JSON.parse(row.payload),
  attempt: Number(row.attempts) + 1
})

const describe = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return text.slice(0, 1000)
}

/**
 * The messages that were put aside, oldest first.
 *
 * @category accessors
 * @since 0.2.0
 */
export const failed = (topic: string, limit = 100): Effect.Effect<ReadonlyArray<Failed>, SqlError, SqlClient> =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.map(dialectOf(sql).failed(topic, limit), (rows) =>
      rows.map((row) => {
        const { attempt: _, ...message } = toMessage(topic, row)
        return { ...message, attempts: Number(row.attempts), error: row.error ?? "" }
      })))

/**
 * Gives messages that were put aside to the workers again, as if they were new. Without ids all of the topic.
 *
 * @category combinators
 * @since 0.2.0
 */
export const requeue = (
  topic: string,
  ids?: ReadonlyArray<string>
): Effect.Effect<void, SqlError, SqlClient> =>
  Effect.flatMap(SqlClient, (sql) =>
    ids !== undefined && ids.length === 0 ? Effect.void : Effect.andThen(
      dialectOf(sql).requeue(topic, ids),
      Effect.sync(() => signalOf(sql).wake(topic))
    ))

/**
 * How much waits in a topic, and for how long.
 *
 * @category accessors
 * @since 0.2.0
 */
export const stats = (topic: string): Effect.Effect<Stats, SqlError, SqlClient> =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.map(dialectOf(sql).stats(topic), ([row]) => ({
      waiting: Number(row?.waiting ?? 0),
      failed: Number(row?.failed ?? 0),
      oldestMillis: Math.max(0, Number(row?.oldest ?? 0))
    })))
