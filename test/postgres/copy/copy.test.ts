import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Sink from "effect/Sink"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { Bulk, Outcome, Pool, Retry, Transaction, type TransactionError } from "watertight"
import { Copy, Script, type Sessions } from "watertight/postgres"
import { describeWith, FaultProxy, freshDatabase, PostgresServer, seed } from "../../support/index.ts"
import { database, databaseAt } from "../clientSupport.ts"
import { fields, sqlFailure } from "../support.ts"

const text = (pieces: ReadonlyArray<Uint8Array>): string => Buffer.concat(pieces).toString()

const lines = (count: number) => Stream.range(1, count).pipe(Stream.map((n) => `${n}\trow ${n}\n`))

/** Any way to load rows. */
type Loading<A> = Effect.Effect<A, SqlError | Bulk.BulkError, Sessions.Sessions | Bulk.Bulk>

/** Nothing is left behind: every connection is idle and answers. */
const isClean = Effect.gen(function*() {
  const sql = yield* SqlClient
  const pool = yield* Pool.Pool
  yield* sql`select 1`
  const stats = yield* pool.stats
  assert.strictEqual(stats.used, 0)
})

it.layer(database({ maxConnections: 2 }), { excludeTestServices: true })("COPY", (it) => {
  it.effect("text, CSV and binary, in and out", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table formats (id int primary key, "na""me" text)`
      const columns = ["id", "na\"me"]
      const csv = yield* Stream.make("name,x\n1,\"a,b\"\n", "2,\n", "3,\"\"\n").pipe(
        Stream.run(Copy.sink({ table: "formats", columns, format: "csv", header: true }))
      )
      assert.deepStrictEqual(csv, { rows: 3, bytes: 23 })
      assert.deepStrictEqual(yield* sql`select * from formats order by id`, [
        { id: 1, "na\"me": "a,b" },
        { id: 2, "na\"me": null },
        { id: 3, "na\"me": "" }
      ])
      for (const format of ["text", "csv", "binary"] as const) {
        const data = yield* Stream.runCollect(Copy.stream({ table: "formats", columns, format }))
        yield* sql`truncate formats`
        const copied = yield* Stream.run(Stream.fromArray(data), Copy.sink({ table: "formats", columns, format }))
        assert.strictEqual(copied.rows, 3, format)
        assert.deepStrictEqual(yield* sql`select count(*)::int as n, max("na""me") as m from formats`, [
          { n: 3, m: "a,b" }
        ])
      }
      const query = yield* Stream.runCollect(
        Copy.stream({ query: "select id from formats where id < 3 order by id", delimiter: "'", null: "\\n'" })
      ).pipe(Effect.result)
      assert.strictEqual(query._tag, "Failure")
      const good = yield* Stream.runCollect(
        Copy.stream({ query: "values (1, null), (2, 'x')", format: "csv", delimiter: "'", null: "it\\s", quote: "~" })
      )
      assert.strictEqual(text(good), "1'it\\s\n2'x\n")
      yield* isClean
    }))

  it.effect("belongs to the transaction around it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table inside (id int, name text)`
      const failed = yield* lines(1000).pipe(
        Stream.run(Copy.sink({ table: "inside" })),
        Effect.andThen(sql`select count(*)::int as n from inside`),
        Effect.flatMap(([row]) => Effect.fail(row!["n"])),
        Transaction.run(),
        Effect.flip
      )
      assert.strictEqual(failed as unknown, 1000)
      assert.deepStrictEqual(yield* sql`select * from inside`, [])
      yield* lines(10).pipe(Stream.run(Copy.sink({ table: "inside" })), Transaction.run())
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from inside`, [{ n: 10 }])
    }))

  it.effect("stopping the stream early, at any row", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const source = { query: "select n, repeat('x', 100) from generate_series(1, 200000) n" }
      for (const rows of [0, 1, 2, 999, 5000, 150_000]) {
        const taken = yield* Copy.stream(source).pipe(Stream.take(rows), Stream.runCollect)
        assert.strictEqual(taken.length, rows)
        assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
        yield* Effect.gen(function*() {
          yield* sql`create temporary table if not exists mark (n int) on commit drop`
          const taken = yield* Copy.stream(source).pipe(Stream.take(rows), Stream.runCollect)
          assert.strictEqual(taken.length, rows)
          yield* sql`insert into mark values (${rows})`
          assert.deepStrictEqual(yield* sql`select n from mark`, [{ n: rows }])
        }).pipe(Transaction.run())
      }
      yield* isClean
    }), 60_000)

  it.effect("an input that fails leaves no row and says so", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table half (id int, name text)`
      const boom = yield* lines(50_000).pipe(
        Stream.concat(Stream.fail("boom")),
        Stream.run(Copy.sink({ table: "half" })),
        Effect.flip
      )
      assert.strictEqual(boom, "boom")
      assert.deepStrictEqual(yield* sql`select * from half`, [])
      yield* isClean
    }))

  it.effect("interruption leaves no row and a connection that works", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const pool = yield* Pool.Pool
      yield* sql`create table cut (id int, name text)`
      const created = (yield* pool.stats).created
      for (const after of [1, 100, 20_000]) {
        const reached = yield* Deferred.make<void>()
        const fiber = yield* lines(after).pipe(
          Stream.concat(Stream.unwrap(Effect.as(Deferred.succeed(reached, undefined), Stream.never))),
          Stream.run(Copy.sink({ table: "cut" })),
          Effect.forkChild
        )
        yield* Deferred.await(reached)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* sql`select * from cut`, [])
      }
      yield* isClean
      assert.isAtMost((yield* pool.stats).created - created, 1)
    }))

  it.effect("an error of the server names the row and the column, and not the value", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table typed (id int primary key, name text)`
      const error = yield* lines(70_000).pipe(
        Stream.concat(Stream.make("s3cret\tx\n")),
        Stream.run(Copy.sink({ table: "typed" })),
        sqlFailure
      )
      assert.notInclude(error.message, "s3cret")
      assert.include(error.message, "row 70001, column \"id\"")
      const extent = Copy.extentOf(error)!
      assert.strictEqual(extent.row, 70_001)
      assert.strictEqual(extent.column, "id")
      assert.isAbove(extent.bytes, 65_536)
      assert.isTrue(Outcome.isNotApplied(error))
      assert.deepStrictEqual(yield* sql`select * from typed`, [])
      // The error may be there long before the data has ended.
      const early = yield* Stream.make("1\tx\n1\ty\n").pipe(
        Stream.concat(lines(500_000)),
        Stream.run(Copy.sink({ table: "typed" })),
        sqlFailure
      )
      assert.strictEqual(early.reason._tag, "UniqueViolation")
      yield* isClean
    }), 60_000)

  it.effect("the wrong direction, no COPY at all, two in one", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table wrong (id int)`
      for (
        const attempt of [
          Stream.run(Stream.make("1\n"), Copy.sink("copy wrong to stdout")),
          Stream.run(Stream.make("1\n"), Copy.sink("select 1")),
          Stream.run(Stream.make("1\n"), Copy.sink("")),
          Stream.run(Stream.make("1\n"), Copy.sink("copy wrong from stdin; copy wrong from stdin")),
          Stream.run(Stream.make("1\n"), Copy.sink("copy wrong fr\0om stdin")),
          Stream.runDrain(Copy.stream("copy wrong from stdin")),
          Stream.runDrain(Copy.stream("select 1")),
          Stream.runDrain(Copy.stream({ table: "nobody" }))
        ]
      ) {
        yield* sqlFailure(attempt)
        yield* isClean
        assert.deepStrictEqual(yield* sql`select * from wrong`, [])
      }
    }))

  it.effect("holds back a source that is faster than its reader", () =>
    Effect.gen(function*() {
      const before = process.memoryUsage.rss()
      let peak = 0
      const rows = yield* Copy.stream({
        query: "select n, repeat('x', 1000) from generate_series(1, 150000) n"
      }).pipe(
        Stream.tap(() => Effect.sync(() => peak = Math.max(peak, process.memoryUsage.rss()))),
        Stream.mapEffect((row, n) =>
          n % 20_000 === 0 ? Effect.as(Effect.sleep("30 millis"), row) : Effect.succeed(row)
        ),
        Stream.run(Sink.count)
      )
      assert.strictEqual(rows, 150_000)
      assert.isBelow(peak - before, 120 * 1024 * 1024)
    }), 60_000)
})

it.layer(database({ maxConnections: 2 }), { excludeTestServices: true })("COPY in a transaction", (it) => {
  it.effect("a failure that is swallowed is the cause of what COMMIT says", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table swallowed (id int primary key)`
      const copies: ReadonlyArray<Loading<unknown>> = [
        Stream.make("1\n", "1\n").pipe(Stream.run(Copy.sink({ table: "swallowed" }))),
        Bulk.insert("swallowed", [{ id: 1 }, { id: 1 }]),
        Stream.runDrain(Copy.stream({ query: "select 1 / 0" })),
        Script.run("select 1 / 0")
      ]
      for (const copy of copies) {
        const error = yield* sqlFailure(Transaction.run(Effect.result(copy)))
        const aborted = error.reason.cause as TransactionError.TransactionError
        assert.strictEqual(aborted.reason._tag, "Aborted")
        const { cause } = aborted.reason as TransactionError.Aborted
        assert.include(["23505", "22012"], fields(cause!).code)
        // In a savepoint that is rolled back it is nobody's cause.
        yield* Transaction.run(Effect.andThen(Effect.result(Transaction.run(copy)), sql`select 1`))
        const poisoned = yield* sqlFailure(Transaction.run(Effect.andThen(Effect.result(copy), copy)))
        assert.strictEqual(
          (poisoned.reason.cause as TransactionError.TransactionError).reason._tag,
          "Poisoned",
          poisoned.message
        )
      }
      assert.deepStrictEqual(yield* sql`select * from swallowed`, [])
    }))

  it.effect("after the end of the transaction there is no COPY on its connection", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table late (id int)`
      const ended = yield* Deferred.make<void>()
      const copy = Stream.make("1\n").pipe(Stream.run(Copy.sink({ table: "late" })))
      const fiber = yield* Transaction.run(
        Effect.forkDetach(Effect.andThen(Deferred.await(ended), sqlFailure(copy)))
      )
      yield* Deferred.succeed(ended, undefined)
      const error = yield* Fiber.join(fiber)
      assert.isTrue(Outcome.isNotApplied(error) || Outcome.isNotSent(error))
      assert.deepStrictEqual(yield* sql`select * from late`, [])
    }))
})

it.live("a lost COMMIT of a transaction whose only write was a COPY is found", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    const proxy = yield* FaultProxy.make(url)
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table alone (run int, n int)`
      for (const [run, fault] of (["before", "after"] as const).entries()) {
        const copies: ReadonlyArray<Loading<{ readonly rows: number }>> = [
          Stream.make(`${run};1\n`).pipe(Stream.run(Copy.sink({ table: "alone", delimiter: ";" }))),
          Stream.make(`${run}\t2\n`).pipe(
            Stream.run(Copy.sink("set local work_mem = '5MB'; copy alone from stdin -- x"))
          ),
          Bulk.insert("alone", [{ run, n: 3 }])
        ]
        for (const copy of copies) {
          const rule = yield* proxy.when("Q\u0000\u0000\u0000\u000bCOMMIT\u0000", fault)
          const exit = yield* Effect.result(Transaction.run(copy, { retry: Retry.never }))
          assert.strictEqual(rule.count(), 1)
          if (exit._tag === "Success") assert.strictEqual(exit.success.rows, 1)
          else assert.isTrue(Outcome.isNotApplied(exit.failure), exit.failure.message)
          assert.strictEqual(exit._tag, fault === "after" ? "Success" : "Failure")
        }
      }
      // Whoever does not ask for the id cannot know.
      yield* proxy.when("Q\u0000\u0000\u0000\u000bCOMMIT\u0000", "before")
      const unknown = yield* Transaction.run(Bulk.insert("alone", [{ run: 2, n: 1 }]), {
        retry: Retry.never,
        resolve: "never"
      }).pipe(sqlFailure)
      assert.isTrue(Outcome.isUnknown(unknown))
      assert.deepStrictEqual(yield* sql`select run, count(*)::int as n from alone group by 1`, [{ run: 1, n: 3 }])
    }).pipe(Effect.provide(databaseAt(proxy.url, { maxConnections: 2 })))
  }).pipe(Effect.scoped))

it.live(
  "a connection that is cut anywhere: all rows or none, and no connection is lost",
  () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase()
      const proxy = yield* FaultProxy.make(url)
      const random = seed(6)
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient
        const pool = yield* Pool.Pool
        yield* sql`create table fire (run int, id int, name text)`
        const rows = 2_000
        const countOf = (run: number) =>
          Effect.map(sql`select count(*)::int as n from fire where run = ${run}`, ([row]) => row!["n"] as number)
        /** Strikes when so many bytes have gone to the server. */
        const cutAt = (bytes: number, fault: FaultProxy.Fault) => {
          let seen = 0
          return proxy.when((chunk) => (seen += chunk.length) >= bytes, fault)
        }
        const ways: ReadonlyArray<(run: number) => Loading<unknown>> = [
          (run) =>
            Stream.range(1, rows).pipe(
              Stream.map((n) => `${run}\t${n}\trow ${n}\n`),
              Stream.rechunk(random.int(1, 200)),
              Stream.run(Copy.sink({ table: "fire" }))
            ),
          (run) => Bulk.insert("fire", Array.from({ length: rows }, (_, id) => ({ run, id, name: `row ${id}` }))),
          (run) =>
            Bulk.insert(
              "fire",
              Stream.range(1, rows).pipe(
                Stream.map((id) => ({ run, id, name: "x".repeat(id % 200) })),
                Stream.rechunk(100)
              )
            )
        ]
        for (let run = 0; run < 48; run++) {
          const fault = random.pick(["before", "after", "afterFin"] as const)
          const bytes = random.int(0, 90_000)
          const at = `seed ${random.value}, run ${run}: ${fault} ${bytes}`
          const rule = yield* cutAt(bytes, fault)
          const result = yield* Effect.result(ways[run % ways.length]!(run))
          yield* rule.remove
          const there = yield* Effect.retry(countOf(run), { times: 3 })
          assert.isTrue(there === 0 || there === rows, `${there} rows, ${at}`)
          if (result._tag === "Success") assert.strictEqual(there, rows, at)
          else {
            const error = result.failure as SqlError
            assert.strictEqual(error._tag, "SqlError", at)
            if (Outcome.isNotApplied(error) || Outcome.isNotSent(error)) assert.strictEqual(there, 0, at)
            // One that fails before the COPY has got nowhere.
            if (rule.count() > 0 && bytes > 5_000) {
              const extent = Copy.extentOf(error)
              assert.isDefined(extent, at)
              assert.include(error.message, `${extent!.bytes} bytes sent`, at)
            }
          }
          assert.strictEqual((yield* pool.stats).used, 0, at)
        }
        yield* isClean
        // Statements in turn, each a transaction of its own, do not stand this.
        yield* cutAt(20_000, "before")
        yield* Effect.ignore(Effect.forEach(
          Array.from({ length: rows / 100 }, (_, batch) => batch),
          (batch) =>
            sql`insert into fire select 100, n, repeat('x', ${batch}) from generate_series(1, 100) n`.pipe(
              Effect.andThen(sql`select ${"x".repeat(2_000)}::text`)
            ),
          { discard: true }
        ))
        const naive = yield* countOf(100)
        assert.isTrue(naive > 0 && naive < rows, `${naive} rows`)
      }).pipe(Effect.provide(databaseAt(proxy.url, { maxConnections: 3 })))
    }).pipe(Effect.scoped),
  120_000
)

it.live("data that is cut off on its way out is a failure that says how far it got", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    const proxy = yield* FaultProxy.make(url)
    const random = seed(7)
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient
      const pool = yield* Pool.Pool
      const query = "select n, repeat('x', 100) as x from generate_series(1, 2000) n"
      for (let run = 0; run < 12; run++) {
        const middle = random.int(0, 200_000)
        const at = `seed ${random.value}, run ${run}: ${middle}`
        yield* proxy.when("TO STDOUT", { middle })
        const reading = run % 2 === 0 ? Stream.runDrain(Copy.stream({ query })) : Stream.runDrain(Copy.rows({ query }))
        const error = yield* sqlFailure(run % 3 === 0 ? Transaction.run(reading, { retry: Retry.never }) : reading)
        assert.strictEqual(error.reason._tag, "ConnectionError", at)
        const extent = Copy.extentOf(error)!
        assert.isAtMost(extent.bytes, middle, at)
        assert.include(error.message, `${extent.bytes} bytes received`, at)
        assert.deepStrictEqual(yield* Effect.retry(sql`select 1 as one`, { times: 3 }), [{ one: 1 }], at)
        assert.strictEqual((yield* pool.stats).used, 0, at)
      }
    }).pipe(Effect.provide(databaseAt(proxy.url, { maxConnections: 2 })))
  }).pipe(Effect.scoped))

describeWith("postgresql")("a server of its own", () => {
  it.live(
    "a server that is killed under a COPY has all of its rows afterwards, or none",
    () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.make()
        yield* server.query("create table killed (run int, id int)")
        const rows = 30_000
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient
          const pool = yield* Pool.Pool
          // The last kill comes when everything was sent and the end of the data was not.
          for (const [run, killAt] of [1, 10_000, rows].entries()) {
            const error = yield* Stream.range(1, rows).pipe(
              Stream.mapEffect((n) => Effect.as(n === killAt ? server.kill : Effect.void, `${run}\t${n}\n`)),
              Stream.run(Copy.sink({ table: "killed" })),
              sqlFailure
            )
            // The end of the data may have been sent before anybody could notice the death of the server.
            const honest = Outcome.isNotSent(error) || Outcome.isNotApplied(error) ||
              (killAt === rows && Outcome.isUnknown(error))
            assert.isTrue(honest, error.message)
            yield* server.start
            const count = yield* Effect.retry(sql`select count(*)::int as n from killed`, {
              schedule: Schedule.spaced("50 millis"),
              times: 100
            })
            assert.deepStrictEqual(count, [{ n: 0 }])
          }
          assert.deepStrictEqual(yield* Stream.make("7\t7\n").pipe(Stream.run(Copy.sink({ table: "killed" }))), {
            rows: 1,
            bytes: 4
          })
          assert.strictEqual((yield* pool.stats).used, 0)
        }).pipe(Effect.provide(databaseAt(server.url, { maxConnections: 2 })))
      }).pipe(Effect.scoped),
    60_000
  )
})
