import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Adapter } from "../../src/Adapter.ts"
import { RolledBack } from "../../src/core/RolledBack.ts"
import { makeAdapter } from "../../src/pglite/Pglite.ts"
import type { Session } from "../../src/postgres/internal/Session.ts"
import { fields, lost, one, run, sqlFailure } from "../postgres/support.ts"

const open = (adapter: Adapter) =>
  Effect.acquireRelease(adapter.connect, (connection) => connection.close) as Effect.Effect<Session, never, Scope.Scope>

/** Starting one takes a second or two, so the tests share it and each has a session. */
const shared = Effect.runSync(Effect.cached(Effect.suspend(() => Scope.provide(makeAdapter(), Scope.makeUnsafe()))))

const session = Effect.flatMap(shared, open)

describe("an embedded database", { timeout: 60_000 }, () => {
  it.effect("answers as PostgreSQL does", () =>
    Effect.gen(function*() {
      const adapter = yield* shared
      const db = yield* open(adapter)
      assert.strictEqual(adapter.driver, "pglite")
      assert.strictEqual(adapter.maxConnections, 1)
      assert.strictEqual(adapter.name, "pglite://memory/postgres")
      assert.match(db.parameters.get("server_version")!, /^\d+/)
      for (const n of [1, 2, 3]) {
        assert.deepStrictEqual(
          yield* run(db, "select $1::int as n, $2::text as s, '(1,2)'::point as p, $3::jsonb as j", [n, "é", "[1]"]),
          [{ n, s: "é", p: { x: 1, y: 2 }, j: [1] }]
        )
      }
      assert.strictEqual((yield* db.executeRaw("select 1 as one", [])).rowCount, 1)
      yield* db.ping
      assert.isTrue(db.isReady)
    }))

  it.effect("errors are typed and cost nothing", () =>
    Effect.gen(function*() {
      const db = yield* session
      const error = yield* sqlFailure(run(db, "select * from nowhere"))
      assert.strictEqual(error.reason._tag, "SqlSyntaxError")
      assert.strictEqual(fields(error).code, "42P01")
      assert.strictEqual(fields(yield* sqlFailure(run(db, "select 1/$1::int", [0]))).code, "22012")
      assert.strictEqual(yield* one(db, "select 1"), 1)
    }))

  it.effect("transactions and savepoints", () =>
    Effect.gen(function*() {
      const db = yield* session
      yield* run(db, "create temp table t (a int primary key)")
      yield* db.begin({ isolation: "serializable" })
      yield* run(db, "insert into t values (1)")
      yield* db.savepoint("sp")
      assert.strictEqual((yield* sqlFailure(run(db, "insert into t values (1)"))).reason._tag, "UniqueViolation")
      yield* db.rollbackSavepoint("sp")
      yield* db.commit
      yield* db.begin({})
      yield* run(db, "insert into t values (2)")
      yield* db.rollback
      yield* db.begin({})
      yield* sqlFailure(run(db, "insert into t values (1)"))
      assert.instanceOf((yield* sqlFailure(db.commit)).reason.cause, RolledBack)
      assert.deepStrictEqual(yield* db.executeValues("select a from t", []), [[1]])
      assert.isTrue(db.isReady)
    }))

  it.effect("prepared statements are repaired", () =>
    Effect.gen(function*() {
      const db = yield* session
      assert.strictEqual(yield* one(db, "select $1::int", [1]), 1)
      yield* run(db, "do $$ begin execute 'deallocate all'; end $$")
      assert.strictEqual(yield* one(db, "select $1::int", [2]), 2)
      yield* run(db, "discard all")
      assert.strictEqual(yield* one(db, "select $1::int", [3]), 3)
    }))

  it.effect("many fibers", () =>
    Effect.gen(function*() {
      const db = yield* session
      const values = yield* Effect.all(
        Array.from({ length: 200 }, (_, n) =>
          Effect.exit(one(db, n % 7 === 0 ? "select 1/0" : "select $1::int", n % 7 === 0 ? [] : [n]))),
        { concurrency: "unbounded" }
      )
      values.forEach((exit, n) =>
        assert.strictEqual(exit._tag, n % 7 === 0 ? "Failure" : "Success")
      )
    }))

  it.effect("streams through portals, inside and outside of a transaction", () =>
    Effect.gen(function*() {
      const db = yield* session
      const series = db.executeStream("select i, repeat('x', 100) from generate_series(1, 50000) i", [], undefined)
      assert.strictEqual(yield* Stream.runCount(series), 50_000)
      assert.strictEqual(yield* Stream.runCount(Stream.take(series, 10)), 10)
      assert.strictEqual(yield* one(db, "select 1"), 1)
      yield* db.begin({})
      const rows = yield* series.pipe(
        Stream.take(200),
        Stream.mapEffect((row: any) => one(db, "select $1::int * 2", [row.i])),
        Stream.runCollect
      )
      assert.strictEqual(rows[199], 400)
      assert.strictEqual(yield* Stream.runCount(series), 50_000)
      yield* db.commit
      assert.strictEqual((yield* run(db, "select repeat('x', 100) from generate_series(1, 100000)")).length, 100_000)
    }))

  it.effect("interruption gives the result up and leaves the session good", () =>
    Effect.gen(function*() {
      const db = yield* session
      const fiber = yield* Effect.forkChild(run(db, "select count(*) from generate_series(1, 300000)"), {
        startImmediately: true
      })
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      yield* db.reset
      assert.strictEqual(yield* one(db, "select 1"), 1)
      yield* db.cancel
    }))

  it.effect("scripts, notices and notifications", () =>
    Effect.gen(function*() {
      const db = yield* session
      const notices: Array<string | undefined> = []
      db.onNotice((fields) => notices.push(fields.message))
      const results = yield* db.script("select 1 as a; do $$ begin raise notice 'hi'; end $$; select 2 as b")
      assert.deepStrictEqual(results.map((result) => result.rows), [[{ a: 1 }], [], [{ b: 2 }]])
      assert.deepStrictEqual(notices, ["hi"])
      const queue = yield* db.listen("news")
      yield* run(db, "select pg_notify('news', 'hello')")
      assert.strictEqual((yield* Queue.take(queue)).payload, "hello")
    }))

  it.effect("sessions come and go, the data stays, and nothing else does", () =>
    Effect.gen(function*() {
      const adapter = yield* shared
      const first = (yield* adapter.connect) as Session
      yield* run(first, "create table if not exists kept (a int)")
      yield* run(first, "insert into kept values (1)")
      yield* run(first, "set application_name = 'left behind'")
      yield* first.begin({})
      yield* run(first, "insert into kept values (2)")
      first.destroy("for the test")
      assert.isFalse(lost(yield* sqlFailure(run(first, "select 1"))).sent)
      const second = yield* open(adapter)
      assert.isFalse(second.inTransaction)
      assert.deepStrictEqual(yield* second.executeValues("select a from kept", []), [[1]])
      assert.notStrictEqual(yield* one(second, "show application_name"), "left behind")
      yield* run(second, "drop table kept")
    }))

  it.effect("keeps its data in a directory", () =>
    Effect.gen(function*() {
      const dataDir = mkdtempSync(join(tmpdir(), "watertight-pglite-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(dataDir, { recursive: true, force: true })))
      yield* Effect.scoped(Effect.gen(function*() {
        const db = yield* open(yield* makeAdapter({ dataDir }))
        yield* run(db, "create table t (a int)")
        yield* run(db, "insert into t values (7)")
      }))
      const db = yield* open(yield* makeAdapter({ dataDir }))
      assert.strictEqual(yield* one(db, "select a from t"), 7)
    }))

  it.effect("a directory that cannot be used is a typed error", () =>
    Effect.gen(function*() {
      const file = join(tmpdir(), `watertight-pglite-${process.pid}`)
      writeFileSync(file, "")
      const error = yield* sqlFailure(makeAdapter({ dataDir: join(file, "sub") }))
      assert.strictEqual(error.reason._tag, "ConnectionError")
      assert.isFalse(error.isRetryable)
      rmSync(file)
    }))
})
