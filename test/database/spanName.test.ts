/** What the spans of statements are called, and who is said to have a connection. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import { SpanPropagationEnabled } from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { Database, Pool, Transaction } from "watertight"
import { Adapter } from "../../src/Adapter.ts"
import { summaryOf } from "../../src/database/summary.ts"
import { FakeAdapter } from "../../src/testing/FakeAdapter.ts"

describe("a summary", () => {
  for (
    const [sql, expected] of [
      ["select * from city where id = 1", "select city"],
      ["SELECT a FROM \"Shop\".\"City\" c JOIN x ON true", "select Shop.City"],
      ["select name, (select 1) from only city", "select city"],
      ["select 1", "select"],
      ["(select 1 from a) union (select 2 from b)", "select a"],
      ["-- why\ninsert into shop.item (a) values ($1)", "insert shop.item"],
      ["insert ignore into `item` values (?)", "insert item"],
      ["update only account set cents = 1 from x", "update account"],
      ["delete from account where id in (select id from x)", "delete account"],
      ["with a as (select * from x), b as (update y set z = 1 returning *) delete from c using a", "delete c"],
      ["with a as (select * from x) select * from a", "select a"],
      ["merge into stock using x on true when matched then delete", "merge stock"],
      ["create unique index concurrently i on t (a)", "create i"],
      ["create table if not exists t (a int)", "create t"],
      ["call tidy_up()", "call tidy_up"],
      ["truncate t", "truncate t"],
      ["explain select 1", "explain"],
      ["", "statement"]
    ] as const
  ) it(sql, () => assert.strictEqual(summaryOf(sql), expected))
})

const setUp = Effect.gen(function*() {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const context = yield* Layer.build(
    Database.layerOf(Layer.succeed(Adapter, new FakeAdapter()), { pool: { startup: "lazy", max: 2 } })
  )
  return {
    spans,
    names: () => spans.filter(({ kind }) => kind === "client").map(({ name }) => name),
    run: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      effect.pipe(Effect.provide(context), Effect.provideService(Tracer.Tracer, tracer))
  }
})

const statement = Effect.flatMap(SqlClient, (sql) => sql`select * from city where id = ${1}`)

describe("the span of a statement", () => {
  for (
    const [way, effect] of [
      ["plain", statement],
      ["in a transaction", Transaction.run(statement)],
      ["with a fragment", Effect.flatMap(SqlClient, (sql) => sql`select * from city where ${sql.in("id", [1, 2])}`)],
      ["unsafe", Effect.flatMap(SqlClient, (sql) => sql.unsafe("select * from city where id = 7"))],
      ["values", Effect.flatMap(SqlClient, (sql) => sql`select * from city where id = ${1}`.values)],
      ["unprepared", Effect.flatMap(SqlClient, (sql) => sql.unsafe("select * from city").unprepared)],
      ["stream", Effect.flatMap(SqlClient, (sql) => Stream.runDrain(sql`select * from city where id = ${1}`.stream))]
    ] as const
  ) {
    it.effect(`${way} → operation and table, no value`, () =>
      Effect.gen(function*() {
        const { names, run, spans } = yield* setUp
        yield* run(Effect.ignore(effect as Effect.Effect<unknown, unknown, SqlClient | Transaction.Manager>))
        assert.deepStrictEqual(names(), ["select city"])
        const span = spans.find(({ kind }) => kind === "client")!
        assert.strictEqual(span.attributes.get("db.query.summary"), "select city")
        assert.include(String(span.attributes.get("db.query.text")), "select * from city")
      }))
  }
})

describe("who has a connection", () => {
  for (
    const [name, effect, expected] of [
      [
        "a transaction with a name",
        (body: Effect.Effect<void>) => Transaction.run(body, { name: "slow report" }),
        "slow report"
      ],
      [
        "a transaction without a name in a span",
        (body: Effect.Effect<void>) => Effect.withSpan(Transaction.run(body), "report"),
        "report"
      ]
    ] as const
  ) {
    it.effect(`${name} → "${expected}"`, () =>
      Effect.gen(function*() {
        const { run } = yield* setUp
        yield* run(Effect.gen(function*() {
          const pool = yield* Pool.Pool
          const open = yield* Deferred.make<void>()
          const body = Effect.andThen(Effect.ignore(statement), Deferred.await(open)) as Effect.Effect<void>
          yield* Effect.forkChild(
            Effect.provideService(effect(body), SpanPropagationEnabled, true) as Effect.Effect<void>,
            { startImmediately: true }
          )
          const { holders } = yield* Effect.repeat(
            Effect.andThen(Effect.yieldNow, pool.activity),
            { until: ({ holders }) => holders.length > 0 }
          )
          assert.deepStrictEqual(holders.map(({ span }) => span), [expected])
          yield* Deferred.succeed(open, undefined)
        }))
      }))
  }
})
