/** What is asked for together at the beginning of a transaction goes in one cycle with BEGIN: one write, one answer. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { Outcome, StatementTimeout, Transaction } from "watertight"
import { Postgres } from "watertight/postgres"
import { FaultProxy, freshDatabase } from "../../support/index.ts"
import { codeOf, failure, layerAt, reasonOf, sqlFailure } from "../../transaction/support.ts"
import { connector, fields, one, run, working } from "../support.ts"

const together = <A, E, R>(effects: ReadonlyArray<Effect.Effect<A, E, R>>) =>
  Effect.all(effects, { concurrency: "unbounded" })

/** What a client writes, piece by piece, since it was asked last. */
const watching = Effect.fnUntraced(function*(proxy: FaultProxy.FaultProxy) {
  let pieces: Array<string> = []
  yield* proxy.when((chunk) => {
    pieces.push(chunk.toString("latin1"))
    return false
  }, "hold")
  return () => {
    const seen = pieces
    pieces = []
    return seen
  }
})

const sessions = Effect.gen(function*() {
  const proxy = yield* FaultProxy.make(yield* freshDatabase())
  const open = yield* connector({ url: Redacted.make(proxy.url) })
  const session = yield* open
  yield* run(session, "create table t (a int)")
  const writes = yield* watching(proxy)
  return { open, session, writes }
})

const lazy = { lazy: true } as const
const insert = "insert into t values ($1)"
const select = "select $1::int as a"
const divide = "select 1 / $1::int as a"
const all = "select array(select a from t order by a)"

describe("a transaction over a pool", () => {
  it.effect("asks for what does not depend on answers in one write, and commits in another", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (a int)`
        const statements = [sql`insert into t values (${1})`, sql`select count(*)::int as a from t`]
        const first = together(statements)
        // The server describes them.
        yield* Transaction.run(first)
        const writes = yield* watching(proxy)
        for (
          const body of [
            first,
            // Whoever comes later finds the transaction begun.
            Effect.andThen(statements[1]!, together(statements))
          ]
        ) {
          yield* Transaction.run(body)
          const pieces = writes()
          assert.include(pieces[0], "BEGIN")
          assert.include(pieces.at(-1), "COMMIT")
          assert.lengthOf(pieces, body === first ? 2 : 3)
        }
        assert.strictEqual((yield* statements[1]!)[0]!["a"], 3)
      }).pipe(Effect.provide(Postgres.layer({ url: Redacted.make(proxy.url), pool: { max: 1 } })))
    }))

  it.live("knows its id all the same: a COMMIT without answer is found out about", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (a int)`
        const count = sql`select count(*)::int as a from t`
        const body = together([count, sql`insert into t values (${1})`, count])
        yield* Transaction.run(body)
        for (const [fault, rows] of [["after", 2], ["before", 3]] as const) {
          const rule = yield* proxy.when("COMMIT", fault)
          // What is found to be missing is repeated.
          yield* Transaction.run(body)
          assert.isAtLeast(rule.count(), 1)
          yield* rule.remove
          assert.deepStrictEqual(yield* count, [{ a: rows }])
        }
      }).pipe(Effect.provide(layerAt(proxy.url)))
    }))

  it.effect("tells each statement what became of it, and why the transaction is none any more", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (a int primary key)`
        const add = (a: number) => sql`insert into t values (${a}) returning a`
        yield* Transaction.run(together([add(1), sql`select ${1}::int as a`]))
        const exits: Array<Exit.Exit<ReadonlyArray<unknown>, SqlError>> = []
        const error = yield* sqlFailure(Transaction.run(Effect.gen(function*() {
          exits.push(...(yield* together([add(2), add(1), sql`select ${3}::int as a`].map(Effect.exit))))
          // It was swallowed, and is told at the end.
          assert.strictEqual(reasonOf(yield* failure(add(5)))?._tag, "Poisoned")
        })))
        assert.strictEqual(reasonOf(error)?._tag, "Aborted")
        assert.deepStrictEqual(exits[0], Exit.succeed([{ a: 2 }]))
        const unique = yield* failure(exits[1]!)
        assert.strictEqual(codeOf(unique), "23505")
        const skipped = yield* failure(exits[2]!)
        assert.strictEqual(reasonOf(skipped)?._tag, "Poisoned")
        assert.strictEqual(Outcome.of(skipped)?.outcome, "NotApplied")
        assert.deepStrictEqual(yield* sql`select a from t`, [{ a: 1 }])
      }).pipe(Effect.provide(Postgres.layer({ url: Redacted.make(proxy.url), pool: { max: 1 } })))
    }))
})

describe("a cycle", () => {
  it.effect("gives each statement its own answer", () =>
    Effect.gen(function*() {
      const { session, writes } = yield* sessions
      yield* run(session, select, [1])
      yield* run(session, insert, [0])
      yield* run(session, "")
      writes()
      yield* session.begin(lazy)
      const answers = yield* together([
        run(session, select, [1]),
        run(session, insert, [1]),
        run(session, select, [2]),
        run(session, insert, [2]),
        run(session, "")
      ])
      assert.deepStrictEqual(answers, [[{ a: 1 }], [], [{ a: 2 }], [], []])
      assert.lengthOf(writes(), 1)
      yield* session.commit
      assert.deepStrictEqual(yield* one(session, all), [0, 1, 2])
      assert.isTrue(session.isReady)
    }))

  for (const at of [0, 1, 2, 3]) {
    it.effect(`whose statement ${at} fails skips those behind it, and they run afterwards`, () =>
      Effect.gen(function*() {
        const { open } = yield* sessions
        const first = yield* open
        const texts = [0, 1, 2, 3].map((n) => `${at === n ? divide : select} /* ${n} */`)
        for (const text of texts) yield* run(first, text, [1])
        for (const named of [true, false]) {
          // One that knows how they are answered, and has no name for them yet: a `Parse` is skipped too.
          const session = yield* open
          const execute = (text: string, value: number) =>
            named ? run(session, text, [value]) : session.executeUnprepared(text, [value], undefined)
          for (const _ of [1, 2]) {
            yield* session.begin(lazy)
            const exits = yield* together(texts.map((text, n) => Effect.exit(execute(text, at === n ? 0 : n))))
            for (const [n, exit] of exits.entries()) {
              if (n < at) assert.deepStrictEqual(exit, Exit.succeed([{ a: n }]))
              else assert.strictEqual(fields(yield* failure(exit)).code, n === at ? "22012" : "25P02")
            }
            assert.isTrue(session.inTransaction)
            yield* session.rollback
            assert.isTrue(session.isReady)
          }
          for (const text of texts) yield* execute(text, 1)
        }
      }))
  }

  it.live("goes on for the others when one of its statements is interrupted", () =>
    Effect.gen(function*() {
      const { session } = yield* sessions
      yield* run(session, insert, [0])
      const slow = "select pg_sleep($1::float8)"
      yield* run(session, slow, [0])
      for (const interrupted of [0, 1]) {
        yield* session.begin(lazy)
        const fibers = yield* Effect.forEach(
          [run(session, slow, [0.1]), run(session, insert, [interrupted]), run(session, slow, [0.1])],
          (effect) => Effect.forkChild(effect, { startImmediately: true })
        )
        yield* working(session)
        yield* Fiber.interrupt(fibers[interrupted]!)
        const exits = yield* together(fibers.map((fiber) => Fiber.await(fiber)))
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 2)
        yield* session.commit
      }
      // What was under way is left to finish.
      assert.deepStrictEqual(yield* one(session, all), [0, 0, 1])
    }))

  it.live("gives each of its statements the time of one", () =>
    Effect.gen(function*() {
      const { open } = yield* sessions
      const session = yield* open
      const slow = "select pg_sleep($1::float8)"
      yield* run(session, slow, [0])
      const limited = StatementTimeout.within("1 second")
      // The limit is set ahead of the first one.
      yield* limited(run(session, slow, [0]))
      yield* session.begin(lazy)
      yield* limited(together([0.6, 0.6, 0.6].map((seconds) => run(session, slow, [seconds]))))
      const exits = yield* limited(together([0, 3, 0].map((seconds) => Effect.exit(run(session, slow, [seconds])))))
      assert.isTrue(Exit.isSuccess(exits[0]!))
      assert.strictEqual(fields(yield* failure(exits[1]!)).code, "57014")
      assert.strictEqual(fields(yield* failure(exits[2]!)).code, "25P02")
      yield* session.rollback
      assert.isTrue(session.isReady)
    }))

  it.effect("has no part in what leaves something behind, or copies", () =>
    Effect.gen(function*() {
      const { session, writes } = yield* sessions
      const odd = ["set application_name to 'a'", "copy t from stdin", "listen a"]
      for (const text of odd) yield* Effect.exit(run(session, text))
      yield* run(session, insert, [0])
      for (const text of odd) {
        writes()
        yield* session.begin(lazy)
        const exits = yield* together([run(session, insert, [1]), run(session, text), run(session, insert, [2])]
          .map(Effect.exit))
        assert.isTrue(Exit.isSuccess(exits[0]!))
        assert.strictEqual(Exit.isSuccess(exits[1]!), !text.startsWith("copy"), text)
        assert.isAtLeast(writes().length, 3)
        yield* session.rollback
        yield* session.reset
      }
      assert.deepStrictEqual(yield* one(session, all), [0])
    }))
})
