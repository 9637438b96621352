/** Deadlines, interruptions and options of transactions. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { SqlClient } from "effect/sql"
import * as Stream from "effect/Stream"
import { Evidence, InvalidOptions, Outcome, Pool, Retry, Transaction } from "watertight"
import { Copy } from "watertight/postgres"
import { FaultProxy, freshDatabase } from "../support/index.ts"
import { failure, freshLayer, layerAt, reasonOf, sqlFailure } from "./support.ts"

const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const startedAt = performance.now()
    return Effect.map(effect, (value) => [value, performance.now() - startedAt] as const)
  })

const commit = "Q\u0000\u0000\u0000\u000bCOMMIT\u0000"

const query = (statement: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement))

/** The live clock with another time of day. */
const shifted = (millis: () => number): Clock.Clock => {
  const live = Clock.Clock.defaultValue()
  return Object.assign(Object.create(live) as Clock.Clock, {
    currentTimeMillisUnsafe: () => live.currentTimeMillisUnsafe() + millis(),
    currentTimeMillis: Effect.sync(() => live.currentTimeMillisUnsafe() + millis())
  })
}

describe("ROLLBACK of a body that has failed", () => {
  const nestings = {
    "Transaction.run": (body: Effect.Effect<never, unknown, SqlClient.SqlClient>) => Transaction.run(body),
    "sql.withTransaction": (body: Effect.Effect<never, unknown, SqlClient.SqlClient>) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(body)),
    "a savepoint": (body: Effect.Effect<never, unknown, SqlClient.SqlClient>) =>
      Transaction.run(Effect.andThen(query("select 1"), Transaction.run(body)))
  }
  for (const [name, run] of Object.entries(nestings)) {
    it.live(`${name}, the server does not answer: an interruption is honoured at once`, () =>
      Effect.gen(function*() {
        const proxy = yield* FaultProxy.make(yield* freshDatabase())
        yield* Effect.gen(function*() {
          const body = Effect.gen(function*() {
            yield* query("select 1")
            yield* proxy.blackhole
            return yield* Effect.fail("domain")
          })
          const [, millis] = yield* elapsed(Effect.exit(Effect.timeout(run(body), "300 millis")))
          assert.isBelow(millis, 2_500)
        }).pipe(Effect.provide(layerAt(proxy.url, { controlTimeout: "5 seconds" })))
      }), 30_000)
  }
})

it.layer(freshLayer({ pool: { max: 1, pipelineDepth: 1 } }), { excludeTestServices: true })("a deadline", (it) => {
  it.effect("no connection is free: covers the table of idempotency keys too", () =>
    Effect.gen(function*() {
      const pool = yield* Pool.Pool
      const held = yield* Effect.forkChild(Effect.scoped(Effect.andThen(pool.reserve, Effect.never)))
      yield* Effect.repeat(pool.stats, { until: (stats) => stats.used === 1 })
      const [error, millis] = yield* elapsed(
        sqlFailure(Transaction.run(query("select 1"), { deadline: "200 millis", idempotencyKey: "a" }))
      )
      assert.strictEqual(reasonOf(error)?._tag, "DeadlineExceeded")
      assert.isTrue(Outcome.isNotSent(error))
      assert.isBelow(millis, 3_000)
      yield* Fiber.interrupt(held)
    }))

  for (const hours of [-1, 1]) {
    it.effect(`the clock is set by ${hours} h: neither ends it nor removes it`, () => {
      let shift = 0
      return Effect.gen(function*() {
        let bodies = 0
        yield* Transaction.run(
          Effect.suspend(() => {
            shift = hours * 3_600_000
            return ++bodies === 1
              ? query("do $$ begin raise exception using errcode = '40001'; end $$")
              : query("select 1")
          }),
          { deadline: "30 seconds" }
        )
        assert.strictEqual(bodies, 2)
        const error = yield* sqlFailure(Transaction.run(
          Effect.suspend(() => {
            shift = 0
            return Effect.never
          }),
          { deadline: "100 millis" }
        ))
        assert.strictEqual(reasonOf(error)?._tag, "DeadlineExceeded")
      }).pipe(Effect.provideService(Clock.Clock, shifted(() => shift)))
    })
  }

  it.effect("the deadline of the policy is shorter: it holds", () =>
    Effect.gen(function*() {
      let bodies = 0
      const conflict = Effect.suspend(() => {
        bodies++
        return query("do $$ begin raise exception using errcode = '40001'; end $$")
      })
      yield* failure(
        Transaction.run(conflict, { deadline: "1 hour", retry: { ...Retry.defaults, deadline: "1 millis" } })
      )
      assert.isAtMost(bodies, 2)
    }))
})

describe("COMMIT", () => {
  it.live("lost before the server had it: the failure says that it was not applied", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        yield* query("create table t (id int)")
        yield* proxy.when(commit, "before")
        const error = yield* sqlFailure(
          Transaction.run(query("insert into t values (1)"), { retry: Retry.never, resolve: "always" })
        )
        assert.strictEqual(Outcome.of(error)?.outcome, "NotApplied")
        assert.strictEqual(reasonOf(error)?._tag, "CommitNotApplied")
        assert.notInclude(error.message, "may or may not")
        assert.deepStrictEqual(yield* query("select * from t"), [])
      }).pipe(Effect.provide(layerAt(proxy.url)))
    }), 30_000)
})

describe("BEGIN that travels with a COPY", () => {
  const load = Stream.run(Stream.make("1\n"), Copy.sink({ table: "t", columns: ["id"] }))

  it.live("on a session that is gone: is judged, and the transaction is repeated", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        yield* query("create table t (id int)")
        yield* proxy.when("BEGIN", "before", { times: 1 })
        const error = yield* sqlFailure(Transaction.run(load, { retry: Retry.never }))
        assert.isTrue(Outcome.isNotApplied(error), error.message)
        yield* proxy.when("BEGIN", "before", { times: 1 })
        yield* Transaction.run(load)
        assert.deepStrictEqual(yield* query("select id from t"), [{ id: 1 }])
      }).pipe(Effect.provide(layerAt(proxy.url)))
    }), 30_000)
})

it.layer(freshLayer({ budget: { capacity: 0.35 }, pool: { max: 12 } }), { excludeTestServices: true })(
  "the budget",
  (it) => {
    it.effect("callers that leave before they are done earn no repetitions for others", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const leaving = Effect.all(
          Array.from({ length: 10 }, () =>
            Effect.timeoutOption(sql.withTransaction(sql`select pg_sleep(1)`), "5 millis")),
          { concurrency: "unbounded" }
        )
        let bodies = 0
        const conflict = Effect.suspend(() => {
          bodies++
          return sql`do $$ begin raise exception 'x' using errcode = '40001'; end $$`
        })
        for (let i = 0; i < 4; i++) {
          yield* leaving
          yield* sqlFailure(Transaction.run(conflict))
        }
        // A repetition after a conflict takes a tenth.
        assert.strictEqual(bodies, 4 + 3)
      }))
  }
)

it.layer(freshLayer(), { excludeTestServices: true })("options that cannot work", (it) => {
  const wrong: ReadonlyArray<readonly [string, unknown, RegExp]> = [
    ["isolation", { isolation: "serializable; drop table victim" }, /isolation/],
    ["isolation", { isolation: "serialisable" }, /did you mean "serializable"/],
    ["access", { access: "readonly" }, /access/],
    ["deferrable", { deferrable: "yes" }, /deferrable/],
    ["nesting", { nesting: "required" }, /nesting/],
    ["resolve", { resolve: true }, /resolve/],
    ["deadline", { deadline: "soon" }, /deadline/],
    ["deadline", { deadline: -1 }, /deadline/],
    ["statementTimeout", { statementTimeout: 0 }, /statementTimeout/],
    ["retry", { retry: 3 }, /Retry\.Policy/],
    ["retry.deadline", { retry: { ...Retry.defaults, deadline: "soon" } }, /retry/],
    ["idempotencyKey", { idempotencyKey: "" }, /idempotencyKey/],
    ["an unknown name", { isolaton: "serializable" }, /did you mean `isolation`/]
  ]
  for (const [option, spec, message] of wrong) {
    it.effect(`${option}, wrong in the way of ${message}: refused before anything is sent`, () =>
      Effect.gen(function*() {
        let ran = false
        const error = yield* sqlFailure(Transaction.run(
          Effect.sync(() => {
            ran = true
          }),
          spec as Transaction.Spec
        ))
        assert.instanceOf(error.reason.cause, InvalidOptions)
        assert.match(error.message, message)
        assert.isTrue(Outcome.isNotSent(error))
        assert.isFalse(error.isRetryable)
        assert.isFalse(Evidence.of(error).sent)
        assert.isFalse(ran)
      }))
  }
})
