import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as SqlClient from "effect/sql/SqlClient"
import { Introspection, Outcome, Pool, Retry, Transaction } from "watertight"
import { failure, reasonOf, sqlFailure } from "../../transaction/support.ts"
import { ids, type Section, table } from "../suite.ts"

const levels = ["read uncommitted", "read committed", "repeatable read", "serializable"] as const

/** Adds to a number by reading it first, which loses an addition if nothing prevents it. */
const add = (name: string, id: number, lock: string, meet: Effect.Effect<void> = Effect.void) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql<{ n: number }>`select n from ${sql(name)} where id = ${id} ${sql.literal(lock)}`
    yield* meet
    yield* sql`update ${sql(name)} set n = ${row!.n + 1} where id = ${id}`
  })

/** Runs two transactions that wait for each other half way, the first time. */
const pair = Effect.fnUntraced(function*<E, R>(
  body: (mine: 0 | 1, meet: Effect.Effect<void>) => Effect.Effect<void, E, R>,
  spec: Transaction.Spec
) {
  const there = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()])
  const one = (mine: 0 | 1) => {
    const meet = Effect.andThen(Deferred.succeed(there[mine], undefined), Deferred.await(there[1 - mine]!))
    return Effect.exit(Transaction.run(body(mine, meet), spec))
  }
  return yield* Effect.all([one(0), one(1)], { concurrency: 2 })
})

const sum = (name: string) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => Effect.map(sql`select sum(n) from ${sql(name)}`.values, (rows) => Number(rows[0]![0]))
  )

const insert = (name: string, id: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into ${sql(name)} (id) values (${id})`)

export const transactions: Section = (test, dialect) => {
  test("are there as a whole, or not at all", () =>
    Effect.gen(function*() {
      const pool = yield* Pool.Pool
      const name = yield* table("id int primary key")
      assert.strictEqual(
        yield* Transaction.run(Effect.as(Effect.andThen(insert(name, 1), insert(name, 2)), "done")),
        "done"
      )
      const failed = yield* Effect.flip(Transaction.run(Effect.andThen(insert(name, 3), Effect.fail("mine"))))
      assert.strictEqual(failed, "mine")
      const died = yield* Effect.exit(Transaction.run(Effect.andThen(insert(name, 4), Effect.die("mine"))))
      assert.isTrue(Exit.hasDies(died))
      const started = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        Transaction.run(
          Effect.andThen(insert(name, 5), Effect.andThen(Deferred.succeed(started, undefined), Effect.never))
        )
      )
      yield* Deferred.await(started)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* ids(name), [1, 2])
      assert.strictEqual((yield* pool.stats).used, 0)
    }))

  test("nest by savepoints, of which each can be undone", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert(name, 1)
        yield* Transaction.run(insert(name, 2))
        yield* Effect.ignore(Transaction.run(Effect.andThen(
          Effect.andThen(insert(name, 3), Transaction.run(insert(name, 4))),
          Effect.fail("no")
        )))
        // What the server refuses inside a savepoint costs no more than the savepoint.
        const error = yield* sqlFailure(sql.withTransaction(insert(name, 1)))
        assert.strictEqual(error.reason._tag, "UniqueViolation")
        yield* Transaction.run(insert(name, 5), { nesting: "join" })
        const refused = yield* sqlFailure(Transaction.run(Effect.void, { nesting: "never" }))
        assert.strictEqual(reasonOf(refused)?._tag, "AlreadyInTransaction")
      }))
      assert.deepStrictEqual(yield* ids(name), [1, 2, 5])
      assert.strictEqual(
        reasonOf(yield* sqlFailure(Transaction.run(Effect.void, { nesting: "mandatory" })))?._tag,
        "NotInTransaction"
      )
    }))

  test("have the level and the access that were asked for, and the next one has not", () =>
    Effect.gen(function*() {
      const name = yield* table("id int primary key")
      for (const [n, isolation] of levels.entries()) {
        const error = yield* sqlFailure(Transaction.run(insert(name, n), { isolation, access: "read only" as never }))
        assert.isTrue(Outcome.isNotApplied(error), error.message)
        yield* Transaction.run(insert(name, n), { isolation })
      }
      assert.deepStrictEqual(yield* ids(name), [0, 1, 2, 3])
    }))

  test.needing("connections")("are not seen before they are committed", () =>
    Effect.gen(function*() {
      const name = yield* table("id int primary key")
      const [outside] = yield* Transaction.run(Effect.gen(function*() {
        yield* insert(name, 1)
        assert.deepStrictEqual(yield* ids(name), [1])
        return yield* Effect.all([Transaction.run(ids(name), { nesting: "requiresNew" })])
      }))
      assert.deepStrictEqual(outside, [])
      assert.deepStrictEqual(yield* ids(name), [1])
    }))

  test("say so when a failure that was swallowed has cost them everything", () =>
    Effect.gen(function*() {
      const name = yield* table("id int primary key")
      const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
        yield* insert(name, 1)
        yield* Effect.ignore(insert(name, 1))
      })))
      assert.strictEqual(Exit.isSuccess(exit), dialect.survivesErrors)
      assert.deepStrictEqual(yield* ids(name), dialect.survivesErrors ? [1] : [])
      if (Exit.isFailure(exit)) assert.isTrue(Outcome.isNotApplied(yield* sqlFailure(exit)))
    }))

  test("lose no update that they lock", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key, n int not null")
      yield* sql`insert into ${sql(name)} ${sql.insert([{ id: 1, n: 0 }, { id: 2, n: 0 }, { id: 3, n: 0 }])}`
      yield* Effect.forEach(
        Array.from({ length: 60 }, (_, i) => i),
        (i) => Transaction.run(add(name, 1 + i % 3, "for update")),
        { concurrency: "unbounded", discard: true }
      )
      assert.strictEqual(yield* sum(name), 60)
    }))

  test.needing("connections")(
    "that are serializable are repeated until none has lost an update, and less than that loses one",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const name = yield* table("id int primary key, n int not null")
        yield* sql`insert into ${sql(name)} ${sql.insert({ id: 1, n: 0 })}`
        const both = (isolation: Transaction.Spec["isolation"]) =>
          pair((_, meet) => add(name, 1, "", meet), { isolation })
        assert.isTrue((yield* both("serializable")).every(Exit.isSuccess))
        assert.strictEqual(yield* sum(name), 2)
        assert.isTrue((yield* both("read committed")).every(Exit.isSuccess))
        assert.strictEqual(yield* sum(name), 3)
      })
  )

  test.needing("connections")(
    "that wait for each other are repeated, unless nothing is to be",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const name = yield* table("id int primary key, n int not null")
        yield* sql`insert into ${sql(name)} ${sql.insert([{ id: 1, n: 0 }, { id: 2, n: 0 }])}`
        // The same two rows in opposite order.
        const both = (spec: Transaction.Spec) =>
          pair((mine, meet) =>
            Effect.gen(function*() {
              yield* sql.unsafe(dialect.seeDeadlocks)
              yield* sql`update ${sql(name)} set n = n + 1 where id = ${1 + mine}`
              yield* meet
              yield* sql`update ${sql(name)} set n = n + 1 where id = ${2 - mine}`
            }), spec)
        assert.isTrue((yield* both({})).every(Exit.isSuccess))
        assert.strictEqual(yield* sum(name), 4)
        assert.strictEqual((yield* both({ retry: Retry.never })).filter(Exit.isSuccess).length, 1)
        assert.strictEqual(yield* sum(name), 6)
      })
  )

  test("end at their deadline, and nothing of them is there", () =>
    Effect.gen(function*() {
      const name = yield* table("id int primary key")
      const error = yield* sqlFailure(
        Transaction.run(Effect.andThen(insert(name, 1), Effect.never), { deadline: "50 millis" })
      )
      assert.strictEqual(reasonOf(error)?._tag, "DeadlineExceeded")
      assert.deepStrictEqual(yield* ids(name), [])
    }))

  test("with a key are applied once", () =>
    Effect.gen(function*() {
      const name = yield* table("id int primary key")
      const spec = { idempotencyKey: `${name}: an order 😀` }
      yield* Transaction.run(insert(name, 1), spec)
      assert.strictEqual(reasonOf(yield* sqlFailure(Transaction.run(insert(name, 2), spec)))?._tag, "AlreadyApplied")
      assert.deepStrictEqual(yield* ids(name), [1])
    }))

  test("have callbacks that run after COMMIT, when the connection is given back, and only then", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      const seen: Array<unknown> = []
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert(name, 1)
        yield* sql.afterCommit(Effect.orDie(Effect.map(ids(name), (found) => seen.push(found))))
        yield* Transaction.run(insert(name, 2))
        seen.push("body")
      }))
      yield* failure(
        Transaction.run(Effect.andThen(sql.afterCommit(Effect.sync(() => seen.push("never"))), Effect.fail("no")))
      )
      assert.deepStrictEqual(seen, ["body", [1, 2]])
    }))

  test.needing("DDL in transactions")(
    "a table that is made in a transaction goes with it",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const db = yield* Introspection.Introspection
        yield* Effect.gen(function*() {
          yield* sql`create table born (id int)`
          assert.isTrue(yield* db.hasTable("born"))
          return yield* Effect.fail("no")
        }).pipe(Transaction.run(), Effect.flip)
        assert.isFalse(yield* db.hasTable("born"))
      })
  )
}
