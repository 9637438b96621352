import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Adapter } from "../../src/Adapter.ts"
import { makeAdapter } from "../../src/pglite/Pglite.ts"
import type { Session } from "../../src/postgres/session/Session.ts"
import { lost, one, run, sqlFailure } from "../postgres/support.ts"

const open = (adapter: Adapter) =>
  Effect.acquireRelease(adapter.connect, (connection) => connection.close) as Effect.Effect<Session, never, Scope.Scope>

const dataDir = mkdtempSync(join(tmpdir(), "watertight-pglite-"))
const scope = Scope.makeUnsafe()

/** Starting one takes a second or two, so the tests share it and each has a session. */
const shared = Effect.runSync(Effect.cached(Effect.suspend(() => Scope.provide(makeAdapter({ dataDir }), scope))))

const session = Effect.flatMap(shared, open)

describe("an embedded database", { timeout: 60_000 }, () => {
  afterAll(() => rmSync(dataDir, { recursive: true, force: true }))

  it.effect("answers as PostgreSQL does", () =>
    Effect.gen(function*() {
      const adapter = yield* shared
      const db = yield* open(adapter)
      assert.strictEqual(adapter.driver, "pglite")
      assert.strictEqual(adapter.maxConnections, 1)
      assert.strictEqual(adapter.name, `pglite://${dataDir}/postgres`)
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

  it.effect("prepared statements are repaired", () =>
    Effect.gen(function*() {
      const db = yield* session
      assert.strictEqual(yield* one(db, "select $1::int", [1]), 1)
      yield* run(db, "do $$ begin execute 'deallocate all'; end $$")
      assert.strictEqual(yield* one(db, "select $1::int", [2]), 2)
      yield* run(db, "discard all")
      assert.strictEqual(yield* one(db, "select $1::int", [3]), 3)
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

  it.effect("keeps its data in a directory, and gives it the names that are asked for", () =>
    Effect.gen(function*() {
      yield* run(yield* session, "create table t as select 7 as a")
      yield* Scope.close(scope, Exit.void)
      const adapter = yield* makeAdapter({ dataDir, transformResultNames: (name) => name.toUpperCase() })
      const db = yield* open(adapter)
      assert.deepStrictEqual(yield* db.execute("select a from t", [], adapter.transformRows), [{ A: 7 }])
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
