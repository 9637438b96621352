import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import { Database, Health, Pools } from "watertight"
import { Postgres } from "watertight/postgres"
import { freshDatabase, postgresUrl } from "../../support/index.ts"

const current = Effect.flatMap(
  SqlClient,
  (sql) => Effect.map(sql<{ name: string }>`select current_database() as name`, (rows) => rows[0]!.name)
)

const nameOf = (url: string): string => new URL(url).pathname.slice(1)

it.live(
  "each tenant gets the database of its own, within one budget of connections on the server",
  () =>
    Effect.gen(function*() {
      const [a, b] = [yield* freshDatabase(), yield* freshDatabase()]
      const pools = yield* Pools.make({
        lookup: (url: string) => Postgres.layer({ url: Redacted.make(url), applicationName: "tenants" }),
        budget: 4
      })
      assert.strictEqual(yield* pools.use(a)(current), nameOf(a))
      assert.strictEqual(yield* pools.use(b)(current), nameOf(b))

      const sessions = pools.use(a)(Effect.flatMap(SqlClient, (sql) =>
        Effect.map(
          sql<
            { count: number }
          >`select count(*)::int as count from pg_stat_activity where application_name = 'tenants'`,
          (rows) => rows[0]!.count
        )))
      let most = 0
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, i) => i),
        (i) =>
          Effect.flatMap(
            pools.use(i % 2 === 0 ? a : b)(
              Effect.flatMap(SqlClient, (sql) =>
                sql.withTransaction(Effect.andThen(sql`select pg_sleep(0.002)`, current)))
            ),
            (name) =>
              Effect.sync(() => {
                assert.strictEqual(name, nameOf(i % 2 === 0 ? a : b))
              })
          ).pipe(Effect.tap(() =>
            i % 20 !== 0 ? Effect.void : Effect.map(sessions, (count) => {
              most = Math.max(most, count)
            })
          )),
        { concurrency: 32, discard: true }
      )
      assert.isAbove(most, 1)
      assert.isAtMost(most, 4)
      const stats = yield* pools.stats
      assert.isAtMost(stats.budget.used, 4)
      assert.strictEqual(stats.checkouts, stats.checkins)
      assert.strictEqual(stats.failed.AcquireTimeout, 0)
      assert.isFalse(Health.isCritical(yield* pools.health))
    }),
  60_000
)

it.live(
  "a refreshed tenant connects with the new password, and the old connections end with their last user",
  () =>
    Effect.gen(function*() {
      const admin = yield* Layer.build(Postgres.layer({ url: Redacted.make(postgresUrl()) }))
      const sql = yield* Effect.provide(SqlClient, admin)
      const url = yield* freshDatabase()
      const role = `rotated_${nameOf(url)}`
      yield* Effect.acquireRelease(
        sql.unsafe(`create role ${role} login password 'first'`),
        () => Effect.orDie(sql.unsafe(`drop role ${role}`))
      )
      let password = "first"
      const pools = yield* Pools.make({
        lookup: (url: string) =>
          Layer.unwrap(Effect.sync(() => {
            const target = new URL(url)
            target.username = role
            target.password = password
            return Postgres.layer({ url: Redacted.make(target.href) })
          }))
      })
      const pid = Effect.flatMap(
        SqlClient,
        (sql) => Effect.map(sql<{ pid: number }>`select pg_backend_pid() as pid`, (rows) => rows[0]!.pid)
      )
      const before = yield* pools.use(url)(pid)
      yield* sql.unsafe(`alter role ${role} password 'second'`)
      password = "second"
      assert.strictEqual(yield* pools.use(url)(pid), before)
      yield* pools.refresh(url)
      assert.notStrictEqual(yield* pools.use(url)(pid), before)
      assert.strictEqual((yield* pools.use(url)(Database.Database)).name.includes("second"), false)
    }),
  60_000
)
