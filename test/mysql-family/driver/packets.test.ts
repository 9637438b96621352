/**
 * Every packet that the server sends is dropped, doubled, truncated, replaced or cut, under every operation: each run
 * ends typed and in time, the pool is unharmed, and the process lives.
 */
import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { Bulk, Outcome, Transaction } from "watertight"
import { seed } from "../../support/index.ts"
import { connect, describeEach, onMariadb, run, subjects, table } from "../support.ts"
import { faults, make } from "./packetProxy.ts"

type Operation = (
  name: string
) => Effect.Effect<unknown, unknown, SqlClient.SqlClient | Transaction.Manager | Bulk.Bulk>

const withSql = <A, E, R>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(SqlClient.SqlClient, f)

const operations: { readonly [name: string]: Operation } = {
  "a prepared select": (name) => withSql((sql) => sql`select * from ${sql(name)} where id > ${0}`),
  "a select as text": (name) => withSql((sql) => sql`select * from ${sql(name)} where id > ${0}`.unprepared),
  "a write": (name) => withSql((sql) => sql`update ${sql(name)} set n = n + ${1} where id = 1`),
  "a stream": (name) => withSql((sql) => Stream.runDrain(sql`select * from ${sql(name)} where id > ${0}`.stream)),
  "several statements": (name) =>
    withSql((sql) => sql.unsafe(`select 1 as a; select * from ${name}; select 2 as b`).unprepared),
  "a transaction": (name) =>
    withSql((sql) =>
      Transaction.run(sql`update ${sql(name)} set n = n + 1 where id = 1`, { isolation: "serializable" })
    ),
  "a savepoint": (name) =>
    withSql((sql) =>
      Transaction.run(Transaction.run(sql`update ${sql(name)} set n = 0 where id = 1`, { nesting: "savepoint" }))
    ),
  "a bulk insert": (name) => Bulk.insert(name, [{ id: 11, n: 1 }, { id: 12, n: 2 }])
}

const failureOf = (exit: Exit.Exit<unknown, unknown>): SqlError | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  assert.isFalse(Cause.hasDies(exit.cause), Cause.pretty(exit.cause))
  const error = Option.getOrThrow(Cause.findErrorOption(exit.cause))
  const found = isSqlError(error) ? error : Outcome.find(error)
  assert.isDefined(found, `not typed: ${String(error)}`)
  return found
}

const longest = 20_000

/** `WATERTIGHT_PACKETS=all` takes every packet and every fault. */
const isWhole = process.env["WATERTIGHT_PACKETS"] === "all"

describeEach("packets of the server over $name", (subject) => {
  const layerOf = (url: string) =>
    subject.module.layer({
      url: Redacted.make(url),
      statementTimeout: "200 millis",
      controlTimeout: "400 millis",
      connectTimeout: "400 millis",
      breaker: false,
      pool: { max: 1, acquireTimeout: "3 seconds" }
    })

  it.live.each(Object.entries(operations))(
    "%s: a packet spoiled → typed, in time, and the pool goes on",
    ([, operation]) =>
      Effect.gen(function*() {
        const observer = yield* connect(subject)
        const name = yield* table(observer, "id int primary key, n int")
        const proxy = yield* make(subject.server.url())
        yield* Effect.gen(function*() {
          const fill = run(observer, `replace into ${name} values (1, 1), (2, 2), (3, 3)`)
          const clear = run(observer, `delete from ${name}`)
          const fresh = Effect.andThen(clear, fill)
          const steady = Effect.retry(withSql((sql) => sql`select 7 as n`), { times: 3 })
          yield* fresh
          yield* steady
          proxy.count()
          yield* operation(name)
          const packets = proxy.counted()
          assert.isAbove(packets, 0)
          const { shuffle, value } = seed(7)
          const all = Array.from({ length: packets }, (_, index) => faults.map((fault) => [index, fault] as const))
            .flat()
          for (const [index, fault] of isWhole ? all : shuffle(all).slice(0, 3)) {
            const where = `packet ${index} of ${packets}, ${fault}, seed ${value}`
            yield* fresh
            proxy.spoil(index, fault)
            const exit = yield* Effect.exit(Effect.timeoutOrElse(operation(name), {
              duration: longest,
              orElse: () => Effect.die(new Error(`no end: ${where}`))
            }))
            const error = failureOf(exit)
            if (error !== undefined) assert.isDefined(Outcome.of(error), `${where}: ${error.message}`)
            proxy.heal()
            // A packet that comes twice may be found by the statement after it.
            assert.deepStrictEqual(yield* steady, [{ n: 7 }], where)
          }
        }).pipe(Effect.provide(layerOf(proxy.url)))
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))),
    isWhole ? 600_000 : 60_000
  )

  it.live("connecting: each packet spoiled → typed and in time", () =>
    Effect.gen(function*() {
      const proxy = yield* make(subject.server.url())
      const counting = yield* Effect.scoped(
        Effect.map(connect(subject, { url: Redacted.make(proxy.url) }), () => proxy.counted())
      )
      assert.isAbove(counting, 3)
      const { shuffle } = seed(9)
      const all = Array.from({ length: counting }, (_, index) => faults.map((fault) => [index, fault] as const)).flat()
      yield* Effect.forEach(isWhole ? all : shuffle(all).slice(0, 6), ([index, fault]) =>
        Effect.scoped(Effect.gen(function*() {
          const own = yield* make(subject.server.url())
          own.spoil(index, fault)
          failureOf(
            yield* Effect.exit(Effect.scoped(connect(subject, {
              url: Redacted.make(own.url),
              connectTimeout: "400 millis"
            })))
          )
        })), { concurrency: 4, discard: true })
    }).pipe(Effect.scoped), 60_000)
}, isWhole ? subjects : onMariadb)
