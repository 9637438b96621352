/** Statements in one round trip: what is written, and that COMMIT in their midst keeps its meaning. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { SqlClient } from "effect/sql"
import * as Statement from "effect/sql/Statement"
import { Batch, Outcome, Pool, Retry, Transaction } from "watertight"
import { Types } from "watertight/postgres"
import { describeWith, FaultProxy, freshDatabase, seed as makeSeed } from "../support/index.ts"
import { codeOf, layerAt, numbers, reasonOf, sqlFailure } from "./support.ts"

const rows = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ a: number }>`select a from t order by a`, (all) => all.map(({ a }) => a))

const add = (sql: SqlClient.SqlClient, a: number) => sql<{ a: number }>`insert into t values (${a}) returning a`
const put = (sql: SqlClient.SqlClient, a: number) => sql`insert into t values (${a})`

/** A table behind a proxy, statements that the server has seen, and what the client writes. */
const watched = <A, E, R>(
  f: (place: {
    readonly sql: SqlClient.SqlClient
    readonly proxy: FaultProxy.FaultProxy
    readonly writes: () => ReadonlyArray<string>
  }) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(yield* freshDatabase())
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table t (a int primary key deferrable initially deferred)`
      yield* Batch.run([add(sql, 0), put(sql, 1)])
      yield* sql`delete from t`
      let pieces: Array<string> = []
      yield* proxy.when((chunk) => {
        pieces.push(chunk.toString("latin1"))
        return false
      }, "hold")
      yield* f({
        sql,
        proxy,
        writes: () => {
          const seen = pieces
          pieces = []
          return seen
        }
      })
    }).pipe(Effect.provide(layerAt(proxy.url, { pool: { max: 2 } })))
  })

describeWith("url-postgresql")("a batch", () => {
  it.live("is one write: BEGIN, its statements and COMMIT", () =>
    watched(({ sql, writes }) =>
      Effect.gen(function*() {
        const [[first], second] = yield* Batch.run([add(sql, 1), put(sql, 2)], { isolation: "repeatable read" })
        assert.deepStrictEqual([first, second], [{ a: 1 }, []])
        const pieces = writes()
        assert.lengthOf(pieces, 1)
        assert.match(pieces[0]!, /BEGIN ISOLATION LEVEL REPEATABLE READ.*COMMIT/s)
        assert.deepStrictEqual(yield* rows(sql), [1, 2])
        assert.strictEqual((yield* Effect.flatMap(Pool.Pool, (pool) => pool.stats)).used, 0)
      })
    ))

  it.live("waits with COMMIT where more has to be known before", () =>
    watched(({ sql, writes }) =>
      Effect.gen(function*() {
        let a = 0
        const specs: ReadonlyArray<Transaction.Spec> = [{ resolve: "always" }, { deadline: "10 seconds" }]
        for (const spec of specs) {
          yield* Batch.run([add(sql, ++a), put(sql, ++a)], spec)
          assert.lengthOf(writes(), 2)
        }
        // A key is claimed first, and then all the rest follows.
        yield* Batch.run([add(sql, ++a)], { idempotencyKey: "first" })
        writes()
        yield* Batch.run([add(sql, ++a)], { idempotencyKey: "second" })
        assert.lengthOf(writes(), 2)
        // Whatever stands behind a transformer may send statements of its own.
        const transform: Statement.Transformer = (statement) => Effect.succeed(statement)
        yield* Effect.provideService(
          Batch.run([add(sql, ++a), put(sql, ++a)]),
          Statement.CurrentTransformer,
          transform as never
        )
        assert.isAtLeast(writes().length, 2)
        // In a part of another transaction there is nothing to commit.
        yield* Effect.flip(Transaction.run(
          Effect.andThen(
            Batch.run([add(sql, ++a), put(sql, ++a)], { nesting: "join" }),
            Effect.fail("no")
          )
        ))
        assert.deepStrictEqual(yield* rows(sql), [1, 2, 3, 4, 5, 6, 7, 8])
      })
    ))

  it.live("applies nothing when a statement fails, wherever it does", () =>
    watched(({ sql }) =>
      Effect.gen(function*() {
        yield* put(sql, 5)
        const failing: ReadonlyArray<readonly [code: string | undefined, statement: Statement.Statement<any>]> = [
          // When it is run, when it is bound, when it is described, and here.
          ["22012", sql`select 1 / ${0}::int`],
          ["22P02", sql`select ${"x"}::text::int`],
          ["42P01", sql`select * from nowhere`],
          [undefined, sql`insert into t values (${Types.value("int4", "no number")})`]
        ]
        for (const [code, statement] of failing) {
          for (const at of [0, 1, 2]) {
            for (const _ of ["new", "known"]) {
              const others = [put(sql, 1), put(sql, 2)]
              const error = yield* sqlFailure(Batch.run([...others.slice(0, at), statement, ...others.slice(at)]))
              assert.strictEqual(codeOf(error), code, `${code} at ${at}`)
              assert.strictEqual(Batch.indexOf(error), at)
              assert.isTrue(
                Outcome.isNotApplied(error) || code === undefined && Outcome.isNotSent(error),
                Outcome.of(error)?.outcome
              )
              assert.deepStrictEqual(yield* rows(sql), [5])
            }
          }
        }
        // COMMIT itself: the constraint is deferred.
        const error = yield* sqlFailure(Batch.run([put(sql, 1), put(sql, 5)]))
        assert.strictEqual(codeOf(error), "23505")
        assert.isUndefined(Batch.indexOf(error))
        assert.isTrue(Outcome.isNotApplied(error))
        assert.deepStrictEqual(yield* rows(sql), [5])
        assert.strictEqual((yield* Effect.flatMap(Pool.Pool, (pool) => pool.stats)).used, 0)
      })
    ))

  it.live("says what is known when the connection is cut, anywhere in the answer", () =>
    watched(({ proxy, sql }) =>
      Effect.gen(function*() {
        const outcomes: Record<string, number> = {}
        for (let at = 0, done = false; !done; at += 3) {
          const rule = yield* proxy.when("COMMIT", { middle: at })
          const exit = yield* Effect.exit(Batch.run([add(sql, at), put(sql, at + 1)], { retry: Retry.never }))
          yield* rule.remove
          // The rule may have waited for one more answer.
          const found = yield* Effect.retry(numbers(`select a from t where a in (${at}, ${at + 1})`), { times: 3 })
          assert.include([0, 2], found.length)
          const error = Exit.isFailure(exit) ? yield* sqlFailure(exit) : undefined
          const outcome = error === undefined ? "Applied" : Outcome.of(error)!.outcome
          const reason = error === undefined ? "success" : reasonOf(error)?._tag ?? "other"
          outcomes[reason] = (outcomes[reason] ?? 0) + 1
          if (outcome === "Applied") assert.lengthOf(found, 2, reason)
          // A server that finds the connection gone before COMMIT has its turn rolls back.
          else if (outcome === "NotApplied") assert.lengthOf(found, 0, reason)
          else assert.strictEqual(outcome, "Unknown", reason)
          if (reason === "success") assert.deepStrictEqual(Exit.isSuccess(exit) && exit.value[0], [{ a: at }])
          // More than there is of it.
          done = at > 300
        }
        // As long as the id has not arrived nobody can be asked; then the rows are there as well.
        assert.isAbove(outcomes["CommitUnknown"] ?? 0, 0)
        assert.isAbove(outcomes["success"] ?? 0, 3)
      })
    ))

  it.live("with a key is never in doubt, and lost rows are named", () =>
    watched(({ proxy, sql }) =>
      Effect.gen(function*() {
        yield* Batch.run([add(sql, -1)], { idempotencyKey: "first" })
        // The answers are kept back until the rows are there, and lost then. Cut at once, the server would now and then
        // find the connection gone before COMMIT has its turn.
        const lost = yield* proxy.when("COMMIT", "holdReply")
        const losing = yield* Effect.forkChild(sqlFailure(Batch.run([add(sql, 1)], { idempotencyKey: "lost" })))
        yield* lost.fired
        yield* Effect.repeat(rows(sql), { until: (found) => found.includes(1) })
        yield* proxy.cutAll
        const error = yield* Fiber.join(losing)
        assert.strictEqual(reasonOf(error)?._tag, "ResultsLost")
        assert.isTrue(Outcome.isApplied(error))
        assert.isFalse(error.isRetryable)
        yield* lost.remove
        const cut = yield* proxy.when("COMMIT", "before")
        const [[row]] = yield* Batch.run([add(sql, 2)], { idempotencyKey: "cut" })
        assert.strictEqual(row!.a, 2)
        assert.isAtLeast(cut.count(), 1)
        assert.deepStrictEqual(yield* rows(sql), [-1, 1, 2])
      })
    ))

  it.live("that is interrupted is there as a whole or not at all", () =>
    watched(({ sql }) =>
      Effect.gen(function*() {
        const random = makeSeed(20)
        const pause = (ticks: number): Effect.Effect<void> =>
          ticks === 0 ? Effect.void : Effect.andThen(Effect.yieldNow, pause(ticks - 1))
        const ended: Record<string, number> = {}
        for (let n = 0; n < 200; n++) {
          const slow = sql`select pg_sleep(${random.pick([0, 0.001, 0.03])}::float8)`
          const fiber = yield* Effect.forkChild(Batch.run([put(sql, 2 * n), slow, put(sql, 2 * n + 1)]), {
            startImmediately: true
          })
          yield* random.chance(0.5) ? pause(random.int(0, 20)) : Effect.sleep(random.int(0, 5))
          yield* Fiber.interrupt(fiber)
          const exit = yield* Fiber.await(fiber)
          ended[exit._tag] = (ended[exit._tag] ?? 0) + 1
        }
        // Whoever comes next finds a connection that is ready.
        const all = new Set(yield* rows(sql))
        for (let n = 0; n < 200; n++) {
          assert.strictEqual(all.has(2 * n), all.has(2 * n + 1), `${n}, seed ${random.value}`)
        }
        assert.isAbove(ended["Failure"] ?? 0, 20)
      })
    ))

  it.live("that is interrupted is cancelled on the server, and COMMIT skipped", () =>
    watched(({ sql }) =>
      Effect.gen(function*() {
        const pool = yield* Pool.Pool
        const fiber = yield* Effect.forkChild(Batch.run([put(sql, 1), sql`select pg_sleep(${10}::float8)`]))
        yield* Effect.sleep("100 millis")
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* rows(sql), [])
        assert.strictEqual((yield* pool.stats).used, 0)
      })
    ))

  it.live("gives each statement its time, and COMMIT its own", () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase()
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const slow = (seconds: number) => sql`select pg_sleep(${seconds}::float8)`
        yield* Batch.run([slow(0)])
        // Longer than a control statement may take, and than one statement may.
        yield* Batch.run([slow(0.7), slow(0.7), slow(0.7)])
        const error = yield* sqlFailure(Batch.run([slow(0), slow(3)]))
        assert.strictEqual(codeOf(error), "57014")
        assert.strictEqual(Batch.indexOf(error), 1)
      }).pipe(Effect.provide(layerAt(url, { statementTimeout: "1 second", controlTimeout: "1 second" })))
    }))
})

describeWith("url-postgresql")("statements that are each by themselves", () => {
  it.live("are one write on one connection", () =>
    watched(({ sql, writes }) =>
      Effect.gen(function*() {
        yield* Batch.each([sql`select 1 / ${1}::int as a`])
        writes()
        const results = yield* Batch.each([put(sql, 1), sql`select 1 / ${0}::int as a`, add(sql, 2)])
        assert.lengthOf(writes(), 1)
        assert.deepStrictEqual(results[0], Result.succeed([]))
        assert.deepStrictEqual(results[2], Result.succeed([{ a: 2 }]))
        const error = yield* sqlFailure(Effect.fromResult(results[1]))
        assert.strictEqual(Batch.indexOf(error), 1)
        assert.isTrue(Outcome.isNotApplied(error))
      })
    ))
})

describe("the types of a batch", () => {
  it("are those of its statements", () => {
    const typed = Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const [first, second] = yield* Batch.run([sql<{ a: number }>`select 1 as a`, sql<{ b: string }>`select '' as b`])
      const a: number | undefined = first[0]?.a
      const b: string | undefined = second[0]?.b
      const many = yield* Batch.run([1, 2].map((n) => sql<{ n: number }>`select ${n}::int as n`))
      const n: number | undefined = many[0]?.[0]?.n
      const [result] = yield* Batch.each([sql<{ a: number }>`select 1 as a`])
      const c: number | undefined = Result.isSuccess(result) ? result.success[0]?.a : undefined
      return { a, b, c, n }
    })
    assert.isTrue(Effect.isEffect(typed))
  })
})
