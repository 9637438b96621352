/**
 * What a server proves that ends a session in the middle of a statement: one that it ends instead of completing was
 * undone, unless the statement may have committed something on its way. The rows tell whether that is true.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { Outcome, Retry, Transaction } from "watertight"
import { Copy, Script, type Sessions } from "watertight/postgres"
import { freshDatabase } from "../support/index.ts"
import { codeOf, layerAt, numbers, sqlFailure } from "../transaction/support.ts"

type Services = SqlClient.SqlClient | Sessions.Sessions | Transaction.Manager

interface Kind {
  readonly run: Effect.Effect<unknown, SqlError, Services>
  readonly outcome: Outcome.Outcome
  /** What is left of it. */
  readonly rows: ReadonlyArray<number>
}

const sql = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text))
const undone = { outcome: "NotApplied", rows: [] } as const

/** `slow()` waits until it is ended. */
const kinds: Readonly<Record<string, Kind>> = {
  "insert": { run: sql("insert into t select 1 from slow()"), ...undone },
  "insert, unprepared": {
    run: Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into t select 1 from slow()`.unprepared),
    ...undone
  },
  "a comment ahead": { run: sql("/* one */ -- two\n(select slow())"), ...undone },
  "a function that writes": { run: sql("select write_and_wait()"), ...undone },
  "a writing CTE": { run: sql("with w as (insert into t values (1) returning n) select slow() from w"), ...undone },
  "a stream": {
    run: Effect.flatMap(SqlClient.SqlClient, (sql) => Stream.runDrain(sql`select write_and_wait()`.stream)),
    ...undone
  },
  "COPY in": {
    run: Stream.run(Stream.make("1\n", "-1\n"), Copy.sink({ table: "slow_at_minus" })),
    ...undone
  },
  "a deferred trigger, behind the word that the statement is complete": {
    run: sql("insert into slow_at_end values (1)"),
    outcome: "Unknown",
    rows: []
  },
  "COMMIT of a transaction, while it runs a deferred trigger": {
    run: Transaction.run(sql("insert into slow_at_end values (1)")),
    ...undone
  },
  "a procedure that commits on its way": { run: sql("call commit_and_wait()"), outcome: "Unknown", rows: [1] },
  "a block that commits on its way": {
    run: sql("do $$ begin insert into t values (1); commit; perform slow(); end $$"),
    outcome: "Unknown",
    rows: [1]
  },
  "a comment inside of a comment": {
    run: sql("/* /* */ select */ call commit_and_wait()"),
    outcome: "Unknown",
    rows: [1]
  },
  "a script that commits on its way": {
    run: Script.run("insert into t values (1); commit; select slow()"),
    outcome: "Unknown",
    rows: [1]
  }
}

const schema = [
  "create table t (n int)",
  "create function slow() returns int language sql volatile as 'select 1 from pg_sleep(60)'",
  "create function write_and_wait() returns int language sql as 'insert into t values (1); select slow()'",
  "create procedure commit_and_wait() language plpgsql as 'begin insert into t values (1); commit; perform slow(); end'",
  "create function trigger_slow() returns trigger language plpgsql as 'begin perform slow(); return new; end'",
  "create table slow_at_minus (n int)",
  "create trigger slow before insert on slow_at_minus for each row when (new.n < 0) execute function trigger_slow()",
  "create table slow_at_end (n int)",
  `create constraint trigger slow after insert on slow_at_end deferrable initially deferred
   for each row execute function trigger_slow()`
]

const running = "select pid from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"

const endRunning = sql(`select pg_terminate_backend(pid) from (${running}) r`).pipe(
  Effect.repeat({ schedule: Schedule.spaced("10 millis"), while: (rows) => rows.length === 0 })
)

it.live.each(Object.entries(kinds))(
  "%s: ended in the middle by an administrator",
  ([, { outcome, rows, run }]) =>
    Effect.gen(function*() {
      const url = yield* freshDatabase()
      const beside = layerAt(url)
      const once = layerAt(url, { pool: { max: 1 }, retry: Retry.never })
      yield* Effect.forEach(schema, (text) => sql(text)).pipe(Effect.provide(beside))
      const [error] = yield* Effect.all([sqlFailure(Effect.provide(run, once)), Effect.provide(endRunning, beside)], {
        concurrency: 2
      })
      assert.strictEqual(codeOf(error), "57P01")
      assert.strictEqual(Outcome.of(error)?.outcome, outcome, error.message)
      assert.strictEqual(error.isRetryable, outcome === "NotApplied")
      const found = yield* numbers(
        "select n from t union all select n from slow_at_minus union all select n from slow_at_end"
      )
        .pipe(Effect.provide(beside))
      assert.deepStrictEqual(found, [...rows])
    }),
  30_000
)

it.live("under load: what is said of each write is what became of it", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    const beside = layerAt(url)
    const callers = 20
    yield* sql("create table ledger (id int primary key)").pipe(Effect.provide(beside))
    const acknowledged = new Set<number>()
    const failed = new Map<number, Outcome.Outcome | undefined>()
    let next = 0
    const caller = Effect.forever(Effect.suspend(() => {
      const id = next++
      const slow = sql(`insert into ledger select ${id} from pg_sleep(0.002)`)
      const quick = sql(`insert into ledger values (${id})`)
      const write = id % 3 === 0 ? slow : id % 3 === 1 ? quick : Transaction.run(quick, { resolve: "never" })
      return Effect.matchEffect(write, {
        onFailure: (error) => Effect.sync(() => failed.set(id, Outcome.of(error)?.outcome)),
        onSuccess: () => Effect.sync(() => acknowledged.add(id))
      })
    }))
    yield* Effect.gen(function*() {
      const fibers = yield* Effect.replicateEffect(Effect.forkChild(caller), callers)
      const proved = () => Array.from(failed.values()).filter((outcome) => outcome === "NotApplied").length
      yield* sql(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like '%ledger%' and pid <> pg_backend_pid()"
      ).pipe(
        Effect.andThen(Effect.sleep("20 millis")),
        Effect.repeat({ while: () => proved() < 40 }),
        Effect.provide(beside),
        Effect.timeout("40 seconds")
      )
      yield* Fiber.interruptAll(fibers)
    }).pipe(Effect.provide(layerAt(url, { pool: { max: 10 }, retry: Retry.never, breaker: false })))
    const present = new Set(yield* Effect.provide(numbers("select id from ledger"), beside))
    const wrong = (ids: Iterable<number>, expected: boolean) =>
      Array.from(ids).filter((id) => present.has(id) !== expected)
    const ids = (...outcomes: ReadonlyArray<Outcome.Outcome | undefined>) =>
      Array.from(failed).filter(([, outcome]) => outcomes.includes(outcome)).map(([id]) => id)
    assert.deepStrictEqual(wrong(acknowledged, true), [], "lost")
    assert.deepStrictEqual(wrong(ids("NotApplied", "NotSent"), false), [], "applied")
    assert.deepStrictEqual(ids(undefined), [], "without an outcome")
    // A checker that took every failure for a definite one would be found out only if there is something to find.
    assert.isAtLeast(ids("NotApplied").length, 40)
    assert.isBelow(ids("Unknown").length, ids("NotApplied").length)
  }), 60_000)
