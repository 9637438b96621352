import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, Introspection, Outcome, Transaction } from "watertight"
import { Pglite } from "watertight/pglite"
import { AdvisoryLock, Arrays, Copy, Notifications, Script, Server, Types } from "watertight/postgres"
import { fields, sqlFailure } from "../postgres/support.ts"

it.layer(Pglite.layer(), { excludeTestServices: true, timeout: "60 seconds" })("on the embedded database", (it) => {
  it.effect("bulk, COPY, types, scripts, introspection and locks of transactions", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* Script.run(
        "create type mood as enum ('sad', 'ok'); create table pet (id int primary key, m mood, r int4range)"
      )
      const pets = Array.from(
        { length: 3_000 },
        (_, id) => ({ id, m: id % 2 ? "sad" : null, r: Types.range(id, id + 1) })
      )
      assert.strictEqual((yield* Bulk.insert("pet", Stream.fromArray(pets))).rows, 3_000)
      assert.deepStrictEqual(yield* Bulk.upsert("pet", [{ id: 1, m: "ok" }, { id: 9_000, m: "ok" }]), {
        inserted: 1,
        updated: 1,
        bad: []
      })
      assert.deepStrictEqual(yield* sql`select * from pet where id = ${Arrays.any("int4", [1, 2])} order by id`, [
        { id: 1, m: "ok", r: Types.range(1, 2) },
        { id: 2, m: null, r: Types.range(2, 3) }
      ])
      const rows = yield* Stream.runCollect(Copy.rows({ table: "pet" }))
      assert.strictEqual(rows.length, 3_001)
      const db = yield* Introspection.Introspection
      assert.isTrue(yield* db.hasColumn("pet", "m"))
      yield* AdvisoryLock.inTransaction("k").pipe(Transaction.run())
      assert.isAtLeast(yield* Server.version, 150_000)
    }), 60_000)

  it.effect("COPY in every format, and what can go wrong with it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table copied (id int primary key, name text)`
      const lines = Stream.range(1, 20_000).pipe(Stream.map((n) => `${n}\trow ${n}\n`))
      const { bytes, rows } = yield* Stream.run(lines, Copy.sink({ table: "copied" }))
      assert.strictEqual(rows, 20_000)
      assert.isAbove(bytes, 200_000)
      for (const format of ["text", "csv", "binary"] as const) {
        const data = yield* Stream.runCollect(Copy.stream({ table: "copied", format }))
        yield* sql`truncate copied`
        const back = yield* Stream.run(Stream.fromArray(data), Copy.sink({ table: "copied", format }))
        assert.strictEqual(back.rows, 20_000, format)
      }
      const total = sql`select count(*)::int as n from copied`
      const twice = yield* sqlFailure(Stream.run(Stream.make("30000\tx\n", "7\ty\n"), Copy.sink({ table: "copied" })))
      assert.strictEqual(fields(twice).code, "23505")
      assert.strictEqual(Copy.extentOf(twice)!.row, 2)
      assert.isTrue(Outcome.isNotApplied(twice))
      const unfit = yield* sqlFailure(Stream.run(Stream.make("30000\tx\n", "s3cret\n"), Copy.sink({ table: "copied" })))
      assert.notInclude(unfit.message, "s3cret")
      const boom = yield* lines.pipe(
        Stream.concat(Stream.fail("boom")),
        Stream.run(Copy.sink({ table: "copied" })),
        Effect.flip
      )
      assert.strictEqual(boom, "boom")
      for (
        const wrong of [
          "copy nobody from stdin",
          "copy copied to stdout -- from stdin",
          "select 'from stdin'",
          "copy copied from stdin; copy copied from stdin"
        ]
      ) yield* sqlFailure(Stream.run(Stream.make("30000\tx\n"), Copy.sink(wrong)))
      assert.deepStrictEqual(
        yield* Script.run("select 'from stdin' as text"),
        yield* Script.run(
          "select 'from ' || 'stdin' as text"
        )
      )
      assert.deepStrictEqual(yield* total, [{ n: 20_000 }])
      const undone = Stream.run(Stream.make("30000\tx\n"), Copy.sink({ table: "copied" })).pipe(
        Effect.andThen(total),
        Effect.flatMap(([row]) => Effect.fail(row!["n"])),
        Transaction.run()
      )
      assert.strictEqual(yield* Effect.flip(undone) as Effect.Effect<unknown>, 20_001)
      assert.deepStrictEqual(yield* total, [{ n: 20_000 }])
    }))

  it.effect("notifications, also after what ends the listening", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const scope = yield* Scope.make()
      const queue = yield* Scope.provide(Notifications.subscribe("a", "b \"c"), scope)
      const next = Effect.map(
        Queue.take(queue),
        (event) => event._tag === "Gap" ? "gap" : `${event.channel}:${event.payload}`
      )
      yield* Notifications.notify("a", "1")
      assert.strictEqual(yield* next, "a:1")
      yield* Notifications.notify("b \"c")
      assert.strictEqual(yield* next, "b \"c:")
      // A reset of the session, and settings that have one follow.
      yield* sql`unlisten *`
      yield* sql`set work_mem = '5MB'`
      yield* Notifications.notify("a", "2")
      assert.strictEqual(yield* next, "a:2")
      const late = yield* Effect.flip(Transaction.run(Effect.gen(function*() {
        const late = yield* Scope.provide(Notifications.subscribe("late"), scope)
        yield* Notifications.notify("a", "never")
        return yield* Effect.fail(late)
      })))
      const inside = yield* Transaction.run(Effect.gen(function*() {
        const inside = yield* Scope.provide(Notifications.subscribe("inside"), scope)
        yield* Notifications.notify("inside", "3")
        yield* Notifications.notify("late", "4")
        assert.strictEqual(yield* Queue.size(inside), 0)
        return inside
      }))
      assert.strictEqual((yield* Queue.take(inside) as Effect.Effect<Notifications.Notification>).payload, "3")
      assert.strictEqual(
        (yield* Queue.take(late as typeof inside) as Effect.Effect<Notifications.Notification>).payload,
        "4"
      )
      yield* Notifications.notify("a", "5")
      assert.strictEqual(yield* next, "a:5")
      yield* sqlFailure(Notifications.subscribe(""))
      yield* Scope.close(scope, Exit.void)
      yield* Notifications.notify("a", "6")
    }))

  it.effect("what listens through PgClient keeps nobody from the connection", () =>
    Effect.gen(function*() {
      const pg = yield* PgClient.PgClient
      const queue = yield* pg.listen("mail")
      assert.deepStrictEqual(yield* pg`select 1 as one`, [{ one: 1 }])
      yield* pg.notify("mail", "1")
      const { channel, payload } = yield* Queue.take(queue)
      assert.deepStrictEqual([channel, payload], ["mail", "1"])
    }))

  it.effect("a lock of a session says what to take instead", () =>
    Effect.gen(function*() {
      const error = yield* sqlFailure(AdvisoryLock.withLock(Effect.void, "k"))
      assert.include(error.message, "AdvisoryLock.inTransaction")
      yield* AdvisoryLock.inTransaction("k").pipe(Transaction.run())
    }))
})
