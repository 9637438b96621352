/** What a transaction does, statement by statement, on a real server. */
import { assert, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { Outcome, Pool, PoolError, Retry, Transaction } from "watertight"
import { failure, freshLayer, numbers, reasonOf, sqlFailure } from "./support.ts"

const Live = Layer.unwrap(Effect.gen(function*() {
  const database = freshLayer({ pool: { max: 5 } })
  return Layer.provideMerge(
    Layer.effectDiscard(Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.andThen(
        sql`create table t (id int not null, constraint positive check (id > 0))`,
        sql`create table parent (id int primary key)`
      ))),
    database
  )
}))

const insert = (id: number) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into t (id) values (${id})`)
const rows = numbers("select id from t order by id")
const clear = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`truncate t`)

it.layer(Live, { timeout: 30_000, excludeTestServices: true })("Transaction", (it) => {
  const test = <E>(
    name: string,
    effect: Effect.Effect<void, E, SqlClient.SqlClient | Transaction.Manager | Pool.Pool>
  ) => it.effect(name, () => Effect.andThen(clear, effect))

  // -------------------------------------------------------------------------------------------------------------------
  // The table at the head of Transaction.ts
  // -------------------------------------------------------------------------------------------------------------------

  test(
    "a body that succeeds is committed, and its value returned",
    Effect.gen(function*() {
      const value = yield* Transaction.run(Effect.as(insert(1), "done"))
      assert.strictEqual(value, "done")
      assert.deepStrictEqual(yield* rows, [1])
    })
  )

  test(
    "a body that fails is rolled back, and its failure unchanged",
    Effect.gen(function*() {
      const error = yield* failure(Transaction.run(Effect.andThen(insert(1), Effect.fail("no" as const))))
      assert.strictEqual(error, "no")
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  test(
    "a body that dies is rolled back, and its defect unchanged",
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Transaction.run(Effect.andThen(insert(1), Effect.die("bug"))))
      assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === "bug")
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  test(
    "a body that is interrupted is rolled back",
    Effect.gen(function*() {
      const inserted = yield* Deferred.make<void>()
      const body = Effect.andThen(insert(1), Effect.andThen(Deferred.succeed(inserted, undefined), Effect.never))
      const fiber = yield* Effect.forkChild(Transaction.run(body))
      yield* Deferred.await(inserted)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  test(
    "a failure that was swallowed makes COMMIT fail with it as the cause",
    Effect.gen(function*() {
      const error = yield* sqlFailure(Transaction.run(
        Effect.andThen(insert(1), Effect.ignore(insert(-1)))
      ))
      const reason = reasonOf(error)
      assert.strictEqual(reason?._tag, "Aborted")
      assert.include(reason?._tag === "Aborted" ? reason.cause?.message : "", "positive")
      assert.isTrue(Outcome.isNotApplied(error))
      assert.isFalse(error.isRetryable)
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  test(
    "a statement after a failure that was swallowed says which one that was",
    Effect.gen(function*() {
      const error = yield* sqlFailure(Transaction.run(
        Effect.andThen(Effect.ignore(insert(-1)), insert(2))
      ))
      const reason = reasonOf(error)
      assert.strictEqual(reason?._tag, "Poisoned")
      assert.include(reason?._tag === "Poisoned" ? reason.cause?.message : "", "positive")
      assert.isTrue(Outcome.isNotApplied(error))
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  test(
    "statements sent together: those behind the failure say which one that was",
    Effect.gen(function*() {
      const errors = yield* Transaction.run(
        Effect.andThen(
          Effect.forEach([-1, 2, 3], (id) => Effect.flip(insert(id)), { concurrency: "unbounded" }),
          (errors) => Effect.fail(errors)
        )
      ).pipe(Effect.flip)
      assert.isArray(errors)
      if (!Array.isArray(errors)) return
      assert.deepStrictEqual(errors.map((error) => reasonOf(error)?._tag), [undefined, "Poisoned", "Poisoned"])
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  // -------------------------------------------------------------------------------------------------------------------
  // Nesting
  // -------------------------------------------------------------------------------------------------------------------

  test(
    "a nested transaction that fails takes nothing else along",
    Effect.gen(function*() {
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert(1)
        yield* Effect.ignore(Transaction.run(Effect.andThen(insert(2), insert(-1))))
        yield* Transaction.run(insert(3))
      }))
      assert.deepStrictEqual(yield* rows, [1, 3])
    })
  )

  test(
    "a nested transaction that swallowed a failure fails with it, and the outer one goes on",
    Effect.gen(function*() {
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert(1)
        const error = yield* sqlFailure(Transaction.run(Effect.andThen(insert(2), Effect.ignore(insert(-1)))))
        assert.strictEqual(reasonOf(error)?._tag, "Aborted")
        yield* insert(3)
      }))
      assert.deepStrictEqual(yield* rows, [1, 3])
    })
  )

  test(
    "a nested transaction that is interrupted takes nothing else along",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert(1)
        yield* Effect.ignore(
          Transaction.run(Effect.andThen(insert(2), sql`select pg_sleep(10)`)).pipe(Effect.timeout("50 millis"))
        )
        yield* insert(3)
      }))
      assert.deepStrictEqual(yield* rows, [1, 3])
    })
  )

  test(
    "savepoints do not pile up",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        yield* Transaction.run(insert(1))
        yield* Effect.ignore(Transaction.run(insert(-1)))
        const error = yield* sqlFailure(sql`release savepoint watertight_1`)
        assert.include(error.message, "does not exist")
        return yield* Effect.fail("enough" as const)
      })).pipe(Effect.ignore)
    })
  )

  test(
    "withTransaction of the client nests in Transaction.run, and the other way round",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Transaction.run(Effect.andThen(insert(1), Effect.ignore(sql.withTransaction(insert(-1)))))
      yield* sql.withTransaction(Effect.andThen(insert(2), Effect.ignore(Transaction.run(insert(-1)))))
      assert.deepStrictEqual(yield* rows, [1, 2])
    })
  )

  test(
    "join shares the fate of the outer one",
    Effect.gen(function*() {
      yield* Effect.ignore(Transaction.run(Effect.gen(function*() {
        yield* Transaction.run(insert(1), { nesting: "join" })
        return yield* Effect.fail("no")
      })))
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  test(
    "requiresNew is on its own",
    Effect.gen(function*() {
      yield* Effect.ignore(Transaction.run(Effect.gen(function*() {
        yield* insert(1)
        yield* Transaction.run(insert(2), { nesting: "requiresNew" })
        return yield* Effect.fail("no")
      })))
      assert.deepStrictEqual(yield* rows, [2])
    })
  )

  test(
    "mandatory and never say what is wrong",
    Effect.gen(function*() {
      const outside = yield* sqlFailure(Transaction.run(insert(1), { nesting: "mandatory" }))
      assert.strictEqual(reasonOf(outside)?._tag, "NotInTransaction")
      const inside = yield* sqlFailure(Transaction.run(Transaction.run(insert(1), { nesting: "never" })))
      assert.strictEqual(reasonOf(inside)?._tag, "AlreadyInTransaction")
      assert.isTrue(Outcome.isNotSent(inside))
      yield* Transaction.run(Transaction.run(insert(1), { nesting: "mandatory" }))
      assert.deepStrictEqual(yield* rows, [1])
    })
  )

  test(
    "a nested transaction cannot have more than the one around it",
    Effect.gen(function*() {
      const nest = (outer: Transaction.Spec, inner: Transaction.Spec) =>
        Effect.map(
          sqlFailure(Transaction.run(Transaction.run(Effect.void, inner), outer)),
          (error) => reasonOf(error)?._tag
        )
      assert.strictEqual(yield* nest({ isolation: "repeatable read" }, { isolation: "serializable" }), "Incompatible")
      assert.strictEqual(yield* nest({}, { isolation: "serializable" }), "Incompatible")
      assert.strictEqual(yield* nest({ access: "read only" }, { access: "read write" }), "Incompatible")
      assert.strictEqual(yield* nest({}, { idempotencyKey: "k" }), "Incompatible")
      yield* Transaction.run(Transaction.run(Effect.void, { isolation: "read committed" }), {
        isolation: "serializable"
      })
    })
  )

  // -------------------------------------------------------------------------------------------------------------------
  // The specification
  // -------------------------------------------------------------------------------------------------------------------

  const show = (setting: string) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => Effect.map(sql.unsafe(`show ${setting}`).values, (rows) => rows[0]![0])
    )

  test(
    "isolation, access and deferrable hold for this transaction, and leak nowhere",
    Effect.gen(function*() {
      for (const isolation of ["read uncommitted", "read committed", "repeatable read", "serializable"] as const) {
        assert.strictEqual(yield* Transaction.run(show("transaction_isolation"), { isolation }), isolation)
      }
      const spec = { isolation: "serializable", access: "read only", deferrable: true } as const
      assert.strictEqual(yield* Transaction.run(show("transaction_read_only"), spec), "on")
      assert.strictEqual(yield* Transaction.run(show("transaction_deferrable"), spec), "on")
      assert.strictEqual(yield* Transaction.run(show("transaction_isolation")), "read committed")
      assert.strictEqual(yield* Transaction.run(show("transaction_read_only")), "off")
      const outside = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => show("transaction_isolation"), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(new Set(outside), new Set(["read committed"]))
    })
  )

  test(
    "what is asked for goes before a BEGIN for all transactions, and what is not does not",
    Effect.gen(function*() {
      const serializable = Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL SERIALIZABLE")
      assert.strictEqual(yield* serializable(Transaction.run(show("transaction_isolation"))), "serializable")
      assert.strictEqual(
        yield* serializable(Transaction.run(show("transaction_isolation"), { isolation: "repeatable read" })),
        "repeatable read"
      )
    })
  )

  test(
    "what runs after the commit, or beside the transaction, is not begun like it",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const seen: Array<unknown> = []
      const look = Effect.orDie(
        Effect.map(sql.withTransaction(show("transaction_isolation")), (isolation) => void seen.push(isolation))
      )
      yield* Transaction.run(
        Effect.andThen(sql.afterCommit(look), Transaction.run(look, { nesting: "requiresNew" })),
        { isolation: "serializable", idempotencyKey: "begun like it" }
      )
      assert.deepStrictEqual(seen, ["read committed", "read committed"])
    })
  )

  test(
    "a write in a read only transaction fails for good",
    Effect.gen(function*() {
      const error = yield* sqlFailure(Transaction.run(insert(1), { access: "read only" }))
      const verdict = Outcome.of(error)
      assert.strictEqual(verdict?.outcome, "NotApplied")
      assert.strictEqual(verdict?.scope, "Never")
      assert.deepStrictEqual(Retry.attempts(error), [])
    })
  )

  // -------------------------------------------------------------------------------------------------------------------
  // Misuse
  // -------------------------------------------------------------------------------------------------------------------

  test(
    "a fiber that outlives its transaction is told so",
    Effect.gen(function*() {
      const late = yield* Transaction.run(Effect.gen(function*() {
        yield* insert(1)
        return yield* Effect.forkDetach(Effect.andThen(Effect.sleep("50 millis"), sqlFailure(insert(2))))
      }))
      const error = yield* Fiber.join(late)
      assert.strictEqual(PoolError.fromSqlError(error)?.reason._tag, "LeaseEnded")
      assert.isTrue(Outcome.isNotSent(error))
      assert.deepStrictEqual(yield* rows, [1])
    })
  )

  test(
    "what a fiber sends while the transaction ends is no part of it, and runs nowhere else",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      // A fiber that sends one statement after the other, through the end of the transaction. Each is new to the
      // server, so that there are two steps to it and the end may come between them.
      const busy = (id: number): Effect.Effect<void, unknown> =>
        Effect.flatMap(sql.unsafe(`insert into t (id) values (${id})`), () => busy(id + 1))
      for (let round = 1; round <= 50; round++) {
        const fibers = yield* Transaction.run(Effect.gen(function*() {
          const fibers = yield* Effect.forEach([1, 2, 3], (n) => Effect.forkDetach(busy(n * 100_000 + round * 1000)))
          yield* Effect.sleep("3 millis")
          return yield* Effect.fail(fibers)
        })).pipe(Effect.flip)
        if (!Array.isArray(fibers)) return assert.fail(String(fibers))
        for (const fiber of fibers) yield* Effect.exit(Fiber.join(fiber))
        assert.deepStrictEqual(yield* rows, [])
      }
    })
  )

  test(
    "a COMMIT by hand ends the transaction, and what follows is not sent",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const body = Effect.gen(function*() {
        yield* insert(1)
        yield* sql`commit`
        yield* insert(2)
      })
      const error = yield* sqlFailure(Transaction.run(body))
      assert.strictEqual(reasonOf(error)?._tag, "EndedInside")
      assert.isTrue(Outcome.isUnknown(error))
      assert.strictEqual(
        reasonOf(yield* sqlFailure(Transaction.run(Effect.ignore(body))))?._tag,
        "EndedInside"
      )
      assert.deepStrictEqual(yield* rows, [1, 1])
    })
  )

  test(
    "afterCommit runs after the commit only",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const seen: Array<ReadonlyArray<number>> = []
      const look = Effect.orDie(Effect.map(rows, (ids) => void seen.push(ids)))
      yield* Transaction.run(Effect.andThen(sql.afterCommit(look), insert(1)))
      yield* Effect.ignore(Transaction.run(Effect.andThen(sql.afterCommit(look), insert(-1))))
      yield* Effect.ignore(Transaction.run(Effect.andThen(sql.afterCommit(look), Effect.ignore(insert(-1)))))
      assert.deepStrictEqual(seen, [[1]])
    })
  )

  // -------------------------------------------------------------------------------------------------------------------
  // Deadlines
  // -------------------------------------------------------------------------------------------------------------------

  test(
    "a deadline covers the body",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const error = yield* sqlFailure(
        Transaction.run(Effect.andThen(insert(1), sql`select pg_sleep(10)`), { deadline: "100 millis" })
      )
      const reason = reasonOf(error)
      assert.strictEqual(reason?._tag === "DeadlineExceeded" ? reason.during : undefined, "body")
      assert.isTrue(Outcome.isNotApplied(error))
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  test(
    "a deadline covers waiting for a connection",
    Effect.gen(function*() {
      const pool = yield* Pool.Pool
      yield* Effect.scoped(Effect.gen(function*() {
        for (let i = 0; i < 5; i++) yield* pool.reserve
        const error = yield* sqlFailure(Transaction.run(insert(1), { deadline: "100 millis" }))
        const reason = reasonOf(error)
        assert.strictEqual(reason?._tag === "DeadlineExceeded" ? reason.during : undefined, "acquire")
      }))
      assert.deepStrictEqual(yield* rows, [])
    })
  )

  test(
    "a nested deadline takes only the nested transaction along",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert(1)
        const error = yield* sqlFailure(
          Transaction.run(Effect.andThen(insert(2), sql`select pg_sleep(10)`), { deadline: "50 millis" })
        )
        assert.strictEqual(reasonOf(error)?._tag, "DeadlineExceeded")
        yield* insert(3)
      }))
      assert.deepStrictEqual(yield* rows, [1, 3])
    })
  )
})
