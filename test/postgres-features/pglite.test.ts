import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, Introspection, Transaction } from "watertight"
import { Pglite } from "watertight/pglite"
import { AdvisoryLock, Arrays, Copy, Script, Server, Types } from "watertight/postgres"

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
})
