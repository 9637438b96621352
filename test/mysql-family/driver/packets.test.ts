/**
 * Every packet that the server sends is dropped, doubled, truncated, replaced or cut, under every operation: each run
 * ends typed and in time, with an outcome that is true, the pool is unharmed, and the process lives.
 */
import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { Bulk, Transaction } from "watertight"
import { seed } from "../../support/index.ts"
import { isWhole, type Operation, type Plan, problemsOf } from "../../support/messageLoss.ts"
import * as MessageProxy from "../../support/messageProxy.ts"
import { connect, describeEach, one, run, type Subject, table } from "../support.ts"

type Services = SqlClient.SqlClient | Transaction.Manager | Bulk.Bulk

const withSql = <A, E, R>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(SqlClient.SqlClient, f)

/** How many packets of an operation are spoiled by default. What differs between the servers is little. */
const few: { readonly [name in Subject["server"]["name"]]: number } = { MariaDB: 3, MySQL: 1 }

let keys = 0

const operations: { readonly [name: string]: Operation<Services> } = {
  "a prepared select": {
    run: (name) => withSql((sql) => sql`select * from ${sql(name)} where id > ${0}`)
  },
  "a select as text": {
    run: (name) => withSql((sql) => sql`select * from ${sql(name)} where id > ${0}`.unprepared)
  },
  "a write": {
    run: (name) => withSql((sql) => sql`update ${sql(name)} set n = n + ${1} where id = 1`),
    writes: true
  },
  "a stream": {
    run: (name) => withSql((sql) => Stream.runDrain(sql`select * from ${sql(name)} where id > ${0}`.stream))
  },
  "several statements": {
    run: (name) => withSql((sql) => sql.unsafe(`select 1 as a; select * from ${name}; select 2 as b`).unprepared)
  },
  "statements at once": {
    run: (name) =>
      withSql((sql) =>
        Effect.all([sql`select 1`, sql`select * from ${sql(name)}`, sql`select 2`], { concurrency: "unbounded" })
      )
  },
  "a statement that is left": {
    run: () => withSql((sql) => Effect.timeoutOption(sql`select sleep(0.15)`, "30 millis"))
  },
  "a transaction": {
    run: (name) =>
      withSql((sql) =>
        Transaction.run(sql`update ${sql(name)} set n = n + 1 where id = 1`, { isolation: "serializable" })
      ),
    writes: true
  },
  "a transaction on a session that is used for them": {
    run: (name) =>
      withSql((sql) =>
        Effect.andThen(
          Effect.repeat(Transaction.run(sql`select * from ${sql(name)}`), { times: 3 }),
          Transaction.run(Effect.andThen(sql`update ${sql(name)} set n = n + 1 where id = 1`, sql`select 1`))
        )
      ),
    writes: true
  },
  "a statement by itself between them": {
    run: (name) =>
      withSql((sql) =>
        Effect.andThen(
          Effect.repeat(Transaction.run(sql`select * from ${sql(name)}`), { times: 3 }),
          sql`update ${sql(name)} set n = n + 1 where id = 1`
        )
      ),
    writes: true
  },
  "a transaction with a key": {
    run: (name) =>
      withSql((sql) =>
        Transaction.run(sql`update ${sql(name)} set n = n + 1 where id = 1`, {
          idempotencyKey: `${name} ${keys++}`
        })
      ),
    writes: true
  },
  "a transaction that is given up": {
    run: (name) =>
      withSql((sql) =>
        Effect.ignore(
          Transaction.run(Effect.andThen(sql`update ${sql(name)} set n = n + 1 where id = 2`, Effect.fail("no")))
        )
      )
  },
  "a savepoint": {
    run: (name) =>
      withSql((sql) =>
        Transaction.run(
          Transaction.run(sql`update ${sql(name)} set n = n + 1 where id = 1`, { nesting: "savepoint" })
        )
      ),
    writes: true
  },
  "a bulk insert": { run: (name) => Bulk.insert(name, [{ id: 11, n: 1 }, { id: 12, n: 2 }]) }
}

describeEach("packets of the server over $name", (subject) => {
  // A proxy cannot look into what it cannot read.
  const open = { sslmode: "disable", allowPublicKeyRetrieval: true } as const

  const layerOf = (url: string) =>
    Layer.provideMerge(
      subject.module.layer({
        url: Redacted.make(url),
        ...open,
        statementTimeout: "200 millis",
        controlTimeout: "400 millis",
        connectTimeout: "400 millis",
        resolveTimeout: "2 seconds",
        breaker: false,
        pool: { max: 1, acquireTimeout: "3 seconds" }
      }),
      Logger.layer([])
    )

  it.live.each(Object.entries(operations))(
    "%s: a packet spoiled → typed, in time, with a true outcome, and the pool goes on",
    ([, operation]) =>
      Effect.gen(function*() {
        const observer = yield* connect(subject)
        const plan: Plan<Services> = {
          url: subject.server.url(),
          framing: MessageProxy.mysqlPackets,
          layer: layerOf,
          table: table(observer, "id int primary key, n int"),
          refill: (name) =>
            Effect.andThen(
              run(observer, `delete from ${name}`),
              run(observer, `insert into ${name} values (1, 1), (2, 2), (3, 3)`)
            ),
          look: (name) => Effect.map(one(observer, `select n from ${name} where id = 1`), Number)
        }
        assert.deepStrictEqual(yield* problemsOf(plan, operation, few[subject.server.name]), [])
      }),
    isWhole ? 1_200_000 : 60_000
  )

  it.live("connecting: each packet spoiled → typed and in time", () =>
    Effect.gen(function*() {
      const proxy = yield* MessageProxy.make(MessageProxy.mysqlPackets, subject.server.url())
      const counting = yield* Effect.scoped(
        Effect.map(connect(subject, { url: Redacted.make(proxy.url), ...open }), () => proxy.counted())
      )
      assert.isAbove(counting, 3)
      const { shuffle } = seed(9)
      const all = Array.from(
        { length: counting },
        (_, index) => MessageProxy.faults.map((fault) => [index, fault] as const)
      ).flat()
      yield* Effect.forEach(isWhole ? all : shuffle(all).slice(0, 2 * few[subject.server.name]), (which) =>
        Effect.scoped(Effect.gen(function*() {
          const own = yield* MessageProxy.make(MessageProxy.mysqlPackets, subject.server.url())
          own.spoil(which)
          const exit = yield* Effect.exit(Effect.scoped(connect(subject, {
            url: Redacted.make(own.url),
            ...open,
            connectTimeout: "400 millis"
          })))
          if (Exit.isSuccess(exit)) {
            return
          }
          assert.isFalse(Cause.hasDies(exit.cause), Cause.pretty(exit.cause))
          assert.isTrue(isSqlError(Option.getOrThrow(Cause.findErrorOption(exit.cause))), which.join())
        })), { concurrency: 4, discard: true })
    }).pipe(Effect.scoped), 60_000)
})
