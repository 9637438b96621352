import { assert, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Stream, Tracer } from "effect"
import { SqlClient, Statement } from "effect/sql"
import { Postgres } from "watertight/postgres"
import { postgresUrl } from "../support/index.ts"

const DatabaseLive = (options: Partial<Postgres.LayerOptions> = {}) =>
  Postgres.layer({ url: Redacted.make(postgresUrl()), ...options })

it.layer(DatabaseLive())("a statement", (it) => {
  it.effect("can be run again, and each time with its own parameters", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const plus = (n: number) => sql`select ${n}::int + 1 as n`
      const two = plus(1)
      assert.deepStrictEqual(yield* two, [{ n: 2 }])
      assert.deepStrictEqual(yield* plus(10), [{ n: 11 }])
      assert.deepStrictEqual(yield* two, [{ n: 2 }])
      assert.deepStrictEqual(yield* Effect.all([plus(5), plus(6)], { concurrency: 2 }), [[{ n: 6 }], [{ n: 7 }]])
    }))

  it.effect("takes every kind of value as a parameter", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const date = new Date(1_700_000_000_000)
      const [row] = yield* sql`select ${null}::text as a, ${true} as b, ${"x"} as c, ${1.5} as d, ${date} as e,
        ${[1, 2]} as f, ${new Uint8Array([1, 2])} as g, ${2n} as h`
      assert.deepStrictEqual(row, {
        a: null,
        b: true,
        c: "x",
        d: 1.5,
        e: date,
        f: [1, 2],
        g: new Uint8Array([1, 2]),
        h: 2n
      })
    }))

  it.effect("is a fragment of another one, as often as it is put there", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const where = sql`n > ${1} and n < ${4}`
      assert.isTrue(Statement.isFragment(where))
      const rows = yield* sql`select n from generate_series(1, ${9}) as n where ${where} order by n`
      assert.deepStrictEqual(rows, [{ n: 2 }, { n: 3 }])
      const twice = yield* sql`select ${1}::int as a where exists (${sql`select ${1}`}) and ${sql.in("a", [1])} is null`
        .pipe(Effect.flip)
      assert.strictEqual(twice._tag, "SqlError")
      assert.deepStrictEqual(sql`select ${7}`.compile(), ["select $1", [7]])
      assert.deepStrictEqual(sql`select ${sql("na\"me")} from x where ${sql.and(["a", sql`b = ${2}`])}`.compile(), [
        "select \"na\"\"me\" from x where (a AND b = $1)",
        [2]
      ])
      assert.deepStrictEqual(sql`insert into x ${sql.insert({ a: 1, b: "c" })}`.compile()[1], [1, "c"])
    }))

  it.effect("has all its other ways to run", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const statement = sql`select ${3}::int as n`
      assert.deepStrictEqual(yield* statement.values, [[3]])
      assert.deepStrictEqual(yield* statement.unprepared, [{ n: 3 }])
      assert.deepStrictEqual(yield* statement.valuesUnprepared, [[3]])
      assert.deepStrictEqual(yield* statement.withoutTransform, [{ n: 3 }])
      assert.deepStrictEqual(yield* Stream.runCollect(statement.stream), [{ n: 3 }])
      assert.include(yield* statement.raw as Effect.Effect<any>, { command: "SELECT", rowCount: 1 })
      assert.deepStrictEqual(yield* sql.unsafe("select $1::int as n", [4]), [{ n: 4 }])
      assert.deepStrictEqual(yield* sql.safe`select ${5}::int as n`, [{ n: 5 }])
    }))

  it.effect("belongs to the transaction around it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const pid = sql<{ pid: number }>`select pg_backend_pid() as pid, ${1}::int as one`
      const pids = yield* sql.withTransaction(Effect.all([pid, pid, sql.withTransaction(pid)]))
      assert.strictEqual(new Set(pids.map((rows) => rows[0]!.pid)).size, 1)
    }))

  it.effect("is seen by a tracer with its text, and by a transformer before it runs", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      yield* sql`select ${1}::int`.pipe(Effect.withTracer(tracer))
      assert.strictEqual(spans[0]?.attributes.get("db.query.text"), "select $1::int")
      assert.strictEqual(spans[0]?.attributes.get("db.system.name"), "postgresql")

      const rows = yield* sql`select ${1}::int as n`.pipe(
        Effect.provideService(Statement.CurrentTransformer, (_, sql) => Effect.succeed(sql`select ${2}::int as n`))
      )
      assert.deepStrictEqual(rows, [{ n: 2 }])
    }))

  it.effect("fails with an error that can be handled by its reason, and names no parameter", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const error = yield* Effect.flip(sql`select ${"secret-value"}::int`)
      assert.strictEqual(error._tag, "SqlError")
      const handled = yield* sql`select * from no_such_table where a = ${1}`.pipe(
        Effect.catchReason("SqlError", "SqlSyntaxError", () => Effect.succeed("handled"))
      )
      assert.strictEqual(handled, "handled")
    }))
})

it.layer(Layer.fresh(DatabaseLive({
  transformQueryNames: (name) => name.toUpperCase(),
  transformResultNames: (name) => `_${name}`
})))("names that are transformed", (it) => {
  it.effect("are so in every statement, inside and outside of transactions", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      assert.deepStrictEqual(yield* sql`select ${1}::int as n`, [{ _n: 1 }])
      assert.deepStrictEqual(yield* sql.withTransaction(sql`select ${1}::int as n`), [{ _n: 1 }])
      assert.deepStrictEqual(yield* sql`select ${1}::int as n`.withoutTransform, [{ n: 1 }])
      assert.deepStrictEqual(yield* sql.withoutTransforms()`select ${1}::int as n`, [{ n: 1 }])
      assert.deepStrictEqual(sql`${sql("a")}`.compile()[0], "\"A\"")
    }))
})
