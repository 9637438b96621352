/** Idempotency keys: a transaction is applied once, whatever happens and whoever asks for it again. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { Outcome, Retry, Transaction } from "watertight"
import { describeWith, freshDatabase, PostgresServer } from "../support/index.ts"
import { layerAt, numbers, reasonOf, sqlFailure } from "./support.ts"

const insert = (id: number) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into t (id) values (${id})`)
const rows = numbers("select id from t order by id")
const keys = Effect.map(
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql<{ key: string }>`select key from ${sql(Transaction.keyTable)} order by key`
  ),
  (rows) => rows.map(({ key }) => key)
)

const fresh = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient | Transaction.Manager>) =>
  Effect.flatMap(freshDatabase(), (url) =>
    Effect.andThen(
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table t (id int not null)`),
      effect
    ).pipe(Effect.provide(layerAt(url))))

it.live("the second time it says that it was applied before, and does nothing", () =>
  fresh(Effect.gen(function*() {
    yield* Transaction.run(insert(1), { idempotencyKey: "a" })
    const error = yield* sqlFailure(Transaction.run(insert(2), { idempotencyKey: "a" }))
    const reason = reasonOf(error)
    assert.strictEqual(reason?._tag === "AlreadyApplied" ? reason.idempotencyKey : undefined, "a")
    assert.isTrue(Outcome.isApplied(error))
    assert.isFalse(error.isRetryable)
    yield* Transaction.run(insert(3), { idempotencyKey: "b" })
    assert.deepStrictEqual(yield* rows, [1, 3])
    assert.deepStrictEqual(yield* keys, ["a", "b"])
  })))

it.live("a transaction that failed does not use its key up", () =>
  fresh(Effect.gen(function*() {
    yield* Effect.ignore(Transaction.run(Effect.andThen(insert(1), Effect.fail("no")), { idempotencyKey: "a" }))
    yield* Transaction.run(insert(2), { idempotencyKey: "a" })
    assert.deepStrictEqual(yield* rows, [2])
  })))

for (const isolation of ["read committed", "repeatable read", "serializable"] as const) {
  it.live(`of many at the same time one is applied (${isolation})`, () =>
    fresh(Effect.gen(function*() {
      const exits = yield* Effect.forEach(
        Array.from({ length: 8 }, (_, i) => i),
        (i) => Effect.exit(Transaction.run(insert(i), { idempotencyKey: "a", isolation })),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
      for (const exit of exits) {
        if (Exit.isSuccess(exit)) continue
        assert.strictEqual(reasonOf(yield* sqlFailure(exit))?._tag, "AlreadyApplied")
      }
      assert.strictEqual((yield* rows).length, 1)
    })))
}

it.live("the second waits for the first, and takes its place if that fails", () =>
  fresh(Effect.gen(function*() {
    const inserted = yield* Deferred.make<void>()
    const first = yield* Effect.forkChild(Effect.exit(Transaction.run(
      Effect.gen(function*() {
        yield* insert(1)
        yield* Deferred.succeed(inserted, undefined)
        yield* Effect.sleep("200 millis")
        return yield* Effect.fail("no")
      }),
      { idempotencyKey: "a" }
    )))
    yield* Deferred.await(inserted)
    yield* Transaction.run(insert(2), { idempotencyKey: "a" })
    yield* Fiber.join(first)
    assert.deepStrictEqual(yield* rows, [2])
  })))

it.live("a wait that an administrator cancels is not begun anew", () =>
  fresh(Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const claimed = yield* Deferred.make<void>()
    const spec = { idempotencyKey: "a" }
    const first = yield* Effect.forkChild(
      Transaction.run(Effect.andThen(Deferred.succeed(claimed, undefined), Effect.never), spec)
    )
    yield* Deferred.await(claimed)
    const second = yield* Effect.forkChild(sqlFailure(Transaction.run(insert(2), spec)))
    yield* sql`select pg_cancel_backend(pid) from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`.pipe(
      Effect.repeat({ until: (rows) => rows.length > 0 })
    )
    assert.strictEqual((yield* Fiber.join(second)).reason._tag, "StatementTimeoutError")
    yield* Fiber.interrupt(first)
  })))

it.live("keys are forgotten when they are old, and then it can be applied again", () =>
  fresh(Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* Transaction.run(insert(1), { idempotencyKey: "a" })
    yield* sql`update ${sql(Transaction.keyTable)} set created_at = now() - interval '2 days'`
    yield* Transaction.run(insert(2), { idempotencyKey: "b" })
    yield* Transaction.prune("1 day")
    assert.deepStrictEqual(yield* keys, ["b"])
    yield* Transaction.run(insert(3), { idempotencyKey: "a" })
    assert.deepStrictEqual(yield* rows, [1, 2, 3])
  })))

it.live("many that need the table for the first time make it once", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table t (id int not null)`).pipe(
      Effect.provide(layerAt(url))
    )
    yield* Effect.forEach(
      [1, 2, 3, 4, 5],
      (id) => Transaction.run(insert(id), { idempotencyKey: `${id}` }).pipe(Effect.provide(Layer.fresh(layerAt(url)))),
      { concurrency: "unbounded" }
    )
    assert.strictEqual((yield* Effect.provide(keys, layerAt(url))).length, 5)
  }))

describeWith("postgresql")("a role without rights", () => {
  it.live(
    "whoever may not make a table can use one that is there",
    () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.make()
        yield* server.query("create role app login")
        yield* server.query("revoke create on schema public from public")
        yield* server.query("create table t (id int not null)")
        yield* server.query("grant insert, select on t to app")
        const app = layerAt(server.url.replace("postgres@", "app@"))
        const work = Transaction.run(insert(1), { idempotencyKey: "a", retry: Retry.never })
        const error = yield* sqlFailure(work.pipe(Effect.provide(app)))
        assert.isTrue(Outcome.isNotApplied(error))
        assert.include(error.message, Transaction.keyTable)
        yield* server.query(
          `create table ${Transaction.keyTable} (key text primary key, created_at timestamptz default now())`
        )
        yield* server.query(`grant insert, select on ${Transaction.keyTable} to app`)
        yield* work.pipe(Effect.provide(app))
        const again = yield* sqlFailure(work.pipe(Effect.provide(app)))
        assert.strictEqual(reasonOf(again)?._tag, "AlreadyApplied")
      }),
    60_000
  )
})
