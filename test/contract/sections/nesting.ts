/** What runs beside a nested transaction is not undone with it. */
import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import * as SqlResolver from "effect/sql/SqlResolver"
import * as Stream from "effect/Stream"
import { Bulk, Outcome, Retry, Transaction } from "watertight"
import { reasonOf, sqlFailure } from "../../transaction/support.ts"
import { ids, type Section, table } from "../suite.ts"

const insert = (name: string, id: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into ${sql(name)} (id) values (${id})`)

type Nest = <A, E, R>(
  body: Effect.Effect<A, E, R>
) => Effect.Effect<A, unknown, R | SqlClient.SqlClient | Transaction.Manager>

const nests: { readonly [name: string]: Nest } = {
  "Transaction.run": (body) => Transaction.run(body, { retry: Retry.never }),
  "sql.withTransaction": (body) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(body))
}

/** What an outer level may do beside a nested transaction. Each writes the row with the id 1. */
const siblings: {
  readonly [name: string]: (name: string) => Effect.Effect<unknown, unknown, SqlClient.SqlClient | Bulk.Bulk>
} = {
  "a statement": (name) => insert(name, 1),
  "an unprepared statement": (name) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(`insert into ${name} (id) values (1)`).unprepared),
  "values": (name) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into ${sql(name)} (id) values (1)`.values),
  "a stream": (name) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => Stream.runDrain(sql`insert into ${sql(name)} (id) values (1)`.stream)
    ),
  "a batch of a resolver": (name) => {
    const add = SqlResolver.void({
      Request: Schema.Struct({ id: Schema.Number }),
      execute: (rows) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into ${sql(name)} ${sql.insert(rows)}`)
    })
    return SqlResolver.request({ id: 1 }, add)
  },
  "another nested transaction": (name) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(insert(name, 1))),
  "Bulk": (name) => Bulk.insert(name, [{ id: 1 }])
}

export const nesting: Section = (test) => {
  for (const [way, nest] of Object.entries(nests)) {
    for (const [what, sibling] of Object.entries(siblings)) {
      test(`${way}, ${what} beside a nested transaction that fails: is kept`, () =>
        Effect.gen(function*() {
          const name = yield* table("id int primary key")
          const open = yield* Deferred.make<void>()
          const nested = nest(Effect.gen(function*() {
            yield* insert(name, 2)
            yield* Deferred.succeed(open, undefined)
            yield* Effect.sleep("30 millis")
            return yield* Effect.fail("no")
          }))
          yield* nest(
            Effect.all([Effect.andThen(Deferred.await(open), sibling(name)), Effect.ignore(nested)], {
              concurrency: "unbounded"
            })
          ).pipe(Effect.orDie)
          assert.deepStrictEqual(yield* ids(name), [1])
        }))
    }

    test(`${way}, a statement beside a nested transaction that is interrupted: is kept`, () =>
      Effect.gen(function*() {
        const name = yield* table("id int primary key")
        yield* nest(Effect.gen(function*() {
          const open = yield* Deferred.make<void>()
          const nested = yield* Effect.forkChild(
            nest(Effect.andThen(insert(name, 2), Effect.andThen(Deferred.succeed(open, undefined), Effect.never)))
          )
          yield* Deferred.await(open)
          const beside = yield* Effect.forkChild(insert(name, 1), { startImmediately: true })
          yield* Fiber.interrupt(nested)
          yield* Fiber.join(beside)
        })).pipe(Effect.orDie)
        assert.deepStrictEqual(yield* ids(name), [1])
      }))
  }

  test("three levels: each statement belongs to its own", () =>
    Effect.gen(function*() {
      const name = yield* table("id int primary key")
      const open = yield* Deferred.make<void>()
      const innermost = Transaction.run(Effect.gen(function*() {
        yield* insert(name, 3)
        yield* Deferred.succeed(open, undefined)
        yield* Effect.sleep("30 millis")
      }))
      const middle = Transaction.run(Effect.gen(function*() {
        yield* Effect.all([innermost, Effect.andThen(Deferred.await(open), insert(name, 2))], { concurrency: 2 })
        return yield* Effect.fail("no")
      }))
      yield* Transaction.run(
        Effect.all([Effect.ignore(middle), Effect.andThen(Deferred.await(open), insert(name, 1))], { concurrency: 2 })
      )
      assert.deepStrictEqual(yield* ids(name), [1])
    }))

  test("a nested transaction waits for a statement beside it: the statement fails at once or in time, and says why", () =>
    Effect.gen(function*() {
      const name = yield* table("id int primary key")
      const context = yield* Effect.context<SqlClient.SqlClient | Transaction.Manager>()
      yield* Transaction.run(Effect.gen(function*() {
        const outer = yield* Effect.context<SqlClient.SqlClient>()
        yield* Transaction.run(Effect.gen(function*() {
          const error = yield* sqlFailure(Effect.provideContext(insert(name, 1), outer))
          assert.strictEqual(reasonOf(error)?._tag, "NestedOpen")
          assert.include(error.message, "watertight_1")
          assert.isTrue(Outcome.isNotSent(error))
          yield* insert(name, 2)
        }))
      })).pipe(Effect.provideContext(context))
      assert.deepStrictEqual(yield* ids(name), [2])
    }))

  test("a fiber outlives the nested transaction that forked it: its statements fail, and say why", () =>
    Effect.gen(function*() {
      const name = yield* table("id int primary key")
      yield* Transaction.run(Effect.gen(function*() {
        const over = yield* Deferred.make<void>()
        const late = yield* Transaction.run(
          Effect.forkDetach(Effect.andThen(Deferred.await(over), Effect.flip(insert(name, 1))))
        )
        yield* Deferred.succeed(over, undefined)
        const error = yield* Fiber.join(late)
        assert.strictEqual(reasonOf(error)?._tag, "NestedEnded")
        // Also while another nested transaction is open at the same depth.
        const again = yield* Transaction.run(
          Effect.forkDetach(Effect.andThen(Effect.sleep("10 millis"), Effect.flip(insert(name, 1))))
        )
        yield* Transaction.run(Effect.map(Fiber.join(again), (error) => {
          assert.strictEqual(reasonOf(error)?._tag, "NestedEnded")
        }))
      }))
      assert.deepStrictEqual(yield* ids(name), [])
    }))

  for (const nesting of ["join", "mandatory"] as const) {
    test(`${nesting}: a part that fails and is ignored takes the whole along`, () =>
      Effect.gen(function*() {
        const name = yield* table("id int primary key")
        const part = Transaction.run(Effect.andThen(insert(name, 2), Effect.fail("no")), { nesting })
        const error = yield* sqlFailure(
          Transaction.run(Effect.andThen(insert(name, 1), Effect.ignore(part)), { retry: Retry.never })
        )
        assert.strictEqual(reasonOf(error)?._tag, "JoinFailed")
        assert.isTrue(Outcome.isNotApplied(error))
        assert.deepStrictEqual(yield* ids(name), [])
        // Inside a nested transaction only that one.
        yield* Transaction.run(
          Effect.andThen(insert(name, 1), Effect.ignore(Transaction.run(Effect.ignore(part))))
        )
        assert.deepStrictEqual(yield* ids(name), [1])
      }))

    test(`${nesting}: a part that misses its deadline is not applied, as it says`, () =>
      Effect.gen(function*() {
        const name = yield* table("id int primary key")
        const part = Transaction.run(Effect.andThen(insert(name, 2), Effect.never), { nesting, deadline: "50 millis" })
        let inner: unknown
        yield* Effect.exit(Transaction.run(
          Effect.catch(part, (error) =>
            Effect.sync(() => {
              inner = error
            })),
          { retry: Retry.never }
        ))
        assert.isTrue(Outcome.isNotApplied(inner))
        assert.deepStrictEqual(yield* ids(name), [])
      }))
  }
}
