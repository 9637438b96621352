import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { Outcome, Pool, PoolError, Retry, Transaction } from "watertight"
import { FaultProxy } from "../../support/index.ts"
import { failure, reasonOf, sqlFailure } from "../../transaction/support.ts"
import type { Options, Services } from "../dialects/dialects.ts"
import { connections, ids, Place, type Section, table, whenRunning } from "../suite.ts"

const insert = (name: string, id: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into ${sql(name)} (id) values (${id})`)

const untilAllAreLost = (pool: Pool.Pool) =>
  Effect.repeat(Effect.andThen(Effect.sleep("1 millis"), pool.stats), { until: ({ idle }) => idle === 0 })

const isNotSent = (error: unknown) => Outcome.of(error)?.outcome === "NotSent"

export const faults: Section = (test, dialect) => {
  /** Runs an effect on a client of its own that goes through a proxy. */
  const through = <A, E, R>(
    effect: (proxy: FaultProxy.FaultProxy) => Effect.Effect<A, E, R | Services>,
    { pool, ...options }: Options = {}
  ) =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* Place)
      return yield* effect(proxy).pipe(
        Effect.provide(Layer.fresh(dialect.at(proxy.url, { ...options, pool: { max: connections, ...pool } })))
      )
    })

  const sessionOf = Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => Effect.map(sql.unsafe(`select ${dialect.session}`).values, (rows) => rows[0]![0])
  )

  const kill = (session: unknown) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(dialect.kill(session)).unprepared)

  test.needing("connections")(
    "a transaction whose connection is killed is repeated on another, and one that repeats nothing fails",
    () =>
      Effect.gen(function*() {
        const name = yield* table("id int primary key")
        const killed = Effect.fnUntraced(function*(id: number, spec: Transaction.Spec) {
          let attempts = 0
          const exit = yield* Effect.exit(Transaction.run(
            Effect.gen(function*() {
              yield* insert(name, id)
              if (attempts++ === 0) {
                const session = yield* sessionOf
                yield* Transaction.run(kill(session), { nesting: "requiresNew" })
              }
              yield* insert(name, id + 1)
            }),
            spec
          ))
          return { attempts, exit }
        })
        const { attempts, exit } = yield* killed(1, {})
        assert.isTrue(Exit.isSuccess(exit), JSON.stringify(exit))
        assert.strictEqual(attempts, 2)
        const naive = yield* killed(3, { retry: Retry.never })
        assert.isTrue(Outcome.isNotApplied(yield* sqlFailure(naive.exit)))
        assert.deepStrictEqual(yield* ids(name), [1, 2])
      })
  )

  test.needing("connections")(
    "a write whose connection is killed whenever it runs fails at last, is not there, and costs nobody else",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const name = yield* table("id int primary key")
        const writer = yield* Effect.forkChild(
          sql.unsafe(`insert into ${name} (id) select length(${dialect.sleep(32)})`)
        )
        // A server that proves that it has undone the write gets it again, and is asked to end that one too.
        const killing = Effect.forever(Effect.flatMap(whenRunning(dialect, "sleep(32)"), kill))
        const error = yield* sqlFailure(Effect.raceFirst(Fiber.join(writer), killing))
        assert.isFalse(Outcome.of(error)?.outcome === "Applied")
        assert.deepStrictEqual(yield* ids(name), [])
      })
  )

  test.needing("wire")(
    "connections that are cut while nobody uses them cost nobody anything",
    () =>
      through((proxy) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const pool = yield* Pool.Pool
          const all = Effect.forEach([1, 2, 3, 4], () => Transaction.run(sql`select 1 as one`), {
            concurrency: "unbounded"
          })
          for (let round = 0; round < 3; round++) {
            yield* all
            yield* round === 1 ? proxy.finAll : proxy.cutAll
            yield* untilAllAreLost(pool)
            assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
          }
          // Whoever keeps one for himself does not get away with it.
          yield* Effect.scoped(Effect.gen(function*() {
            const kept = yield* sql.reserve
            yield* proxy.cutAll
            yield* sqlFailure(kept.execute("select 1 as one", [], undefined))
          }))
        })
      )
  )

  test.needing("wire")(
    "callers wait for a server that is away, as long as they said, and are served when it is back",
    () =>
      through((proxy) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const pool = yield* Pool.Pool
          yield* sql`select 1 as one`
          yield* proxy.refuse
          yield* proxy.cutAll
          yield* untilAllAreLost(pool)
          const error = yield* sqlFailure(sql`select 1 as one`)
          assert.isTrue(isNotSent(error), error.message)
          const { cause } = error.reason
          assert.isTrue(PoolError.isPoolError(cause) && cause.reason._tag === "AcquireTimeout", error.message)
          const waiting = yield* Effect.forkChild(
            Effect.forEach([1, 2, 3, 4, 5, 6, 7, 8], () => Effect.retry(sql`select 1 as one`, { while: isNotSent }), {
              concurrency: "unbounded"
            }),
            { startImmediately: true }
          )
          yield* proxy.heal
          assert.strictEqual((yield* Fiber.join(waiting)).length, 8)
        }), { pool: { acquireTimeout: "150 millis" } })
  )

  for (const fault of ["before", "after"] as const) {
    test.needing("wire")(
      `a transaction with a key is applied once when COMMIT is lost ${fault} the server has it`,
      () =>
        Effect.gen(function*() {
          const name = yield* table("id int")
          yield* through((proxy) =>
            Effect.gen(function*() {
              const sql = yield* SqlClient.SqlClient
              yield* Transaction.run(Effect.void, { idempotencyKey: `${name} ${fault}` })
              let ran = 0
              yield* proxy.when("COMMIT", fault)
              yield* Transaction.run(
                Effect.andThen(insert(name, 1), sql.afterCommit(Effect.sync(() => void ran++))),
                { idempotencyKey: `${name} of one` }
              )
              assert.strictEqual(ran, 1)
            })
          )
          assert.deepStrictEqual(yield* ids(name), [1])
        })
    )
  }

  test.needing("wire", "limits of sessions")(
    "a key is waited for longer than a statement may take, and not for an answer that was lost",
    () =>
      Effect.gen(function*() {
        const name = yield* table("id int")
        const limited = { statementTimeout: "500 millis" } as const
        const lost = through((proxy) =>
          Effect.gen(function*() {
            const spec = { idempotencyKey: `${name} lost` }
            yield* Transaction.run(Effect.void, { idempotencyKey: `${name} before` })
            yield* proxy.when(spec.idempotencyKey, "holdReply")
            yield* Transaction.run(insert(name, 1), spec)
          }), limited)
        const held = through(() =>
          Effect.gen(function*() {
            const spec = { idempotencyKey: `${name} held` }
            const claimed = yield* Latch.make()
            // Longer than a session waits without beginning anew.
            const body = Effect.andThen(claimed.open, Effect.andThen(Effect.sleep("7 seconds"), Effect.fail("no")))
            const holder = yield* Effect.forkChild(Effect.flip(Transaction.run(body, spec)))
            yield* claimed.await
            yield* Transaction.run(insert(name, 2), spec)
            assert.strictEqual(yield* Fiber.join(holder), "no")
          }), limited)
        yield* Effect.all([lost, held], { concurrency: "unbounded" })
        assert.deepStrictEqual(yield* ids(name), [1, 2])
      })
  )

  test.needing("wire")(
    "a COMMIT that is lost and not looked into is unknown; whoever just tries again does it twice",
    () =>
      Effect.gen(function*() {
        const name = yield* table("id int")
        yield* through((proxy) =>
          Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            let ran = 0
            yield* proxy.when("COMMIT", "after")
            const error = yield* sqlFailure(Transaction.run(
              Effect.andThen(insert(name, 1), sql.afterCommit(Effect.sync(() => void ran++))),
              { resolve: "never" }
            ))
            assert.strictEqual(reasonOf(error)?._tag, "CommitUnknown")
            assert.isTrue(Outcome.isUnknown(error))
            assert.isFalse(error.isRetryable)
            assert.strictEqual(ran, 0)
            assert.deepStrictEqual(yield* ids(name), [1])

            yield* proxy.when("COMMIT", "after")
            yield* Transaction.run(insert(name, 2), { resolve: "never", retry: Retry.never }).pipe(
              Effect.retry({ times: 1 })
            )
            assert.deepStrictEqual(yield* ids(name), [1, 2, 2])
          })
        )
      })
  )

  test.needing("wire")(
    "a server that is silent costs a caller no more than its patience",
    () =>
      through((proxy) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql`select 1 as one`
          yield* proxy.blackhole
          assert.strictEqual(
            yield* failure(Effect.timeoutOrElse(sql`select 2 as two`, {
              duration: "50 millis",
              orElse: () => Effect.fail("silence")
            })),
            "silence"
          )
          yield* proxy.heal
          assert.deepStrictEqual(yield* sql`select 3 as three`, [{ three: 3 }])
        }), { controlTimeout: "100 millis" })
  )
}
