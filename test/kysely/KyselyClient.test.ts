/** Kysely over this library, on real databases: its statements, its transactions, and what it may not do. */
import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { CamelCasePlugin, type Generated, sql as kysely } from "kysely"
import { Outcome, Transaction, TransactionError } from "watertight"
import { KyselyClient } from "watertight/kysely"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import { Faults } from "watertight/testing"
import { describeWith, freshDatabase } from "../support/index.ts"

interface Tables {
  readonly account: { readonly id: string; readonly cents: number }
  readonly entry: { readonly id: Generated<number>; readonly note_text: string }
}

const subjects = [
  {
    name: "postgresql" as const,
    needs: "url-postgresql" as const,
    live: Layer.unwrap(Effect.map(freshDatabase(), (url) => Postgres.layer({ url: Redacted.make(url) }))),
    tables: ["create table entry (id serial primary key, note_text varchar(20) not null)"]
  },
  {
    name: "mysql" as const,
    needs: "url-mysql" as const,
    live: Layer.unwrap(Effect.map(freshDatabase("mysql"), (url) => Mysql.layer({ url: Redacted.make(url) }))),
    tables: ["create table entry (id int primary key auto_increment, note_text varchar(20) not null)"]
  }
]

const count = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ n: number | bigint }>`select count(*) as n from account`
  return Number(row!.n)
})

/** The error of the program as it is, whatever an `Effect` does with it. */
const failure = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => Exit.isSuccess(exit) ? undefined : Cause.squash(exit.cause))

for (const { live, name, needs, tables } of subjects) {
  const bank = KyselyClient.make<Tables>(name)

  const setUp = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`drop table if exists account`
    yield* sql`drop table if exists entry`
    yield* sql`create table account (id varchar(20) primary key, cents int not null)`
    for (const table of tables) yield* sql.unsafe(table)
    yield* sql`insert into account values ('ann', 10), ('bob', 20)`
  })

  describeWith(needs)(`Kysely over ${name}`, () => {
    it.layer(live, { excludeTestServices: true, timeout: "60 seconds" })((it) => {
      it.effect("a query that is built → its rows", () =>
        Effect.gen(function*() {
          yield* setUp
          const query = bank.build.selectFrom("account").select(["id", "cents"]).where("cents", ">", 10)
          assert.deepStrictEqual(yield* bank.run(query), [{ id: "bob", cents: 20 }])
        }))

      it.effect("queries of `use` → rows, counts, keys, streams", () =>
        Effect.gen(function*() {
          yield* setUp
          const result = yield* bank.use(async (db) => {
            const updated = await db.updateTable("account").set({ cents: 1 }).executeTakeFirstOrThrow()
            const inserted = await db.insertInto("entry").values({ note_text: "first" }).executeTakeFirstOrThrow()
            const streamed: Array<string> = []
            for await (const { id } of db.selectFrom("account").select("id").orderBy("id").stream(1)) streamed.push(id)
            return { updated: updated.numUpdatedRows, insertId: inserted.insertId, streamed }
          })
          assert.strictEqual(result.updated, 2n)
          assert.strictEqual(result.insertId, name === "mysql" ? 1n : undefined)
          assert.deepStrictEqual(result.streamed, ["ann", "bob"])
        }))

      it.effect("a stream that is left early → its connection is free", () =>
        Effect.gen(function*() {
          yield* setUp
          for (let i = 0; i < 30; i++) {
            yield* bank.use(async (db) => {
              for await (const { id } of db.selectFrom("account").select("id").stream(1)) return id
              return undefined
            })
          }
          assert.strictEqual(yield* count, 2)
        }))

      it.effect("plugins → on what `run` gives as well", () =>
        Effect.gen(function*() {
          yield* setUp
          const camel = KyselyClient.make<
            { readonly entry: { readonly id: Generated<number>; readonly noteText: string } }
          >(
            name,
            { plugins: [new CamelCasePlugin()] }
          )
          yield* camel.run(camel.build.insertInto("entry").values({ noteText: "hello" }))
          assert.deepStrictEqual(yield* camel.run(camel.build.selectFrom("entry").select("noteText")), [{
            noteText: "hello"
          }])
        }))

      it.effect("inside a transaction → on its connection, and undone with it", () =>
        Effect.gen(function*() {
          yield* setUp
          const inside = Effect.gen(function*() {
            yield* bank.run(bank.build.deleteFrom("account").where("id", "=", "ann"))
            yield* bank.use((db) => db.deleteFrom("account").execute())
            assert.strictEqual(yield* count, 0)
            return yield* Effect.fail("no")
          })
          assert.strictEqual(yield* Effect.flip(Transaction.run(inside)), "no")
          assert.strictEqual(yield* count, 2)
        }))

      it.effect("a transaction of Kysely → committed, or undone by what is thrown", () =>
        Effect.gen(function*() {
          yield* setUp
          yield* bank.use((db) =>
            db.transaction().setIsolationLevel("serializable").execute(async (trx) => {
              await trx.insertInto("account").values({ id: "eve", cents: 1 }).execute()
              await trx.insertInto("account").values({ id: "fay", cents: 1 }).execute()
            })
          )
          assert.strictEqual(yield* count, 4)
          const error = yield* failure(bank.use((db) =>
            db.transaction().execute(async (trx) => {
              await trx.deleteFrom("account").execute()
              throw new Error("changed my mind")
            })
          ))
          assert.instanceOf(error, KyselyClient.KyselyError)
          assert.include((error as Error).message, "changed my mind")
          assert.strictEqual(yield* count, 4)
        }))

      it.effect("a transaction of Kysely inside a transaction → a savepoint of it", () =>
        Effect.gen(function*() {
          yield* setUp
          yield* Transaction.run(Effect.gen(function*() {
            yield* bank.run(bank.build.insertInto("account").values({ id: "eve", cents: 1 }))
            yield* Effect.ignore(bank.use((db) =>
              db.transaction().execute(async (trx) => {
                await trx.deleteFrom("account").execute()
                throw new Error("only this part")
              })
            ))
          }))
          assert.strictEqual(yield* count, 3)
        }))

      it.effect("a failed statement → the error of this library, with what it means", () =>
        Effect.gen(function*() {
          yield* setUp
          const error = yield* failure(
            bank.use((db) => db.insertInto("account").values({ id: "ann", cents: 1 }).execute())
          )
          assert.isTrue(isSqlError(error))
          assert.strictEqual((error as SqlError).reason._tag, "UniqueViolation")
          assert.strictEqual(Outcome.of(error)!.outcome, "NotApplied")
        }))

      it.effect("a failed query → the line where it is given to `run`", () =>
        Effect.gen(function*() {
          yield* setUp
          const error = yield* failure(bank.run(bank.build.insertInto("account").values({ id: "ann", cents: 3 })))
          assert.match((error as Error).stack!, /KyselyClient\.test\.ts:\d+/)
        }))

      it.effect("an interrupted fiber → its statement is cancelled, and its transaction undone", () =>
        Effect.gen(function*() {
          yield* setUp
          const sleep = name === "mysql" ? kysely`select sleep(60)` : kysely`select pg_sleep(60)`
          let isSlow = false
          const fiber = yield* Effect.forkChild(bank.use((db) =>
            db.transaction().execute(async (trx) => {
              await trx.deleteFrom("account").execute()
              isSlow = true
              await sleep.execute(trx)
            })
          ))
          while (!isSlow) yield* Effect.sleep("5 millis")
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(yield* count, 2)
        }))

      const refused: ReadonlyArray<
        readonly [
          what: string,
          reason: string,
          effect: Effect.Effect<unknown, unknown, SqlClient.SqlClient | Transaction.Manager>
        ]
      > = [
        [
          "a built query that is executed by itself",
          "NoFiber",
          Effect.tryPromise({
            try: () => bank.build.selectFrom("account").select("id").execute(),
            catch: (error) => error
          })
        ],
        [
          "several statements on a connection",
          "OneConnection",
          bank.use((db) =>
            db.connection().execute(async (one) => {
              await one.selectFrom("account").select("id").execute()
              await one.selectFrom("account").select("id").execute()
            })
          )
        ],
        [
          "a savepoint by name",
          "Savepoint",
          bank.use(async (db) => {
            const trx = await db.startTransaction().execute()
            try {
              await trx.savepoint("here").execute()
            } finally {
              await trx.rollback().execute()
            }
          })
        ]
      ]
      for (const [what, reason, effect] of refused) {
        it.effect(`${what} → refused`, () =>
          Effect.gen(function*() {
            yield* setUp
            const error = yield* failure(effect)
            assert.instanceOf(error, KyselyClient.KyselyError)
            assert.strictEqual((error as KyselyClient.KyselyError).reason, reason)
            assert.strictEqual(yield* count, 2)
          }))
      }

      it.effect("an isolation that the server does not have → refused before anything is sent", () =>
        Effect.gen(function*() {
          yield* setUp
          const error = yield* failure(
            bank.use((db) =>
              db.transaction().setIsolationLevel("snapshot").execute((trx) => trx.deleteFrom("account").execute())
            )
          )
          assert.include((error as Error).message, "isolation")
          assert.strictEqual(yield* count, 2)
        }))
    })
  })
}

describeWith("url-postgresql")("Kysely and a lost COMMIT", () => {
  const bank = KyselyClient.make<Tables>("postgresql")
  const live = Layer.unwrap(Effect.map(freshDatabase(), (url) =>
    Faults.layerProxy({
      url: Redacted.make(url),
      database: (url) => Postgres.layer({ url, controlTimeout: "1 second" })
    })))

  it.live(
    "a COMMIT whose answer is lost → found, and the promise succeeds; not applied → the typed reason",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table account (id varchar(20) primary key, cents int not null)`
        const insert = (id: string) =>
          bank.use((db) =>
            db.transaction().execute(async (trx) => {
              await trx.insertInto("account").values({ id, cents: 1 }).execute()
              await trx.updateTable("account").set({ cents: 2 }).execute()
            })
          )
        yield* Faults.loseCommit({ applied: true })
        yield* insert("ann")
        assert.strictEqual(yield* count, 1)
        yield* Faults.loseCommit({ applied: false })
        const error = yield* failure(insert("bob"))
        assert.strictEqual(TransactionError.find(error)?.reason._tag, "CommitNotApplied")
        assert.strictEqual(yield* count, 1)
      }).pipe(Effect.provide(live)),
    60_000
  )
})
