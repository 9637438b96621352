/** Whoever is interrupted anywhere in a transaction leaves nothing behind: here, in the pool, or on the server. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Pool, Transaction } from "watertight"
import { freshDatabase, seed as makeSeed } from "../support/index.ts"
import { layerAt } from "./support.ts"

const connections = 5
const workers = 20

const ticks = (count: number) =>
  Effect.callback<void>((resume) => {
    const tick = (left: number): void => void (left === 0 ? resume(Effect.void) : setImmediate(() => tick(left - 1)))
    tick(count)
  })

/** Where it was when it was interrupted. */
type Phase = "waiting" | "body" | "savepoint" | "committing" | "rolling back" | "done"

/** Writes two rows or none, and says where it is. */
const operation = Effect.fnUntraced(
  function*(id: number, kind: "plain" | "nested" | "failing", at: (phase: Phase) => void) {
    const sql = yield* SqlClient.SqlClient
    const body = Effect.gen(function*() {
      at("body")
      yield* sql`insert into t (id) values (${id})`
      if (kind === "nested") {
        at("savepoint")
        yield* Transaction.run(sql`insert into t (id) values (${id})`)
        yield* Effect.ignore(
          Transaction.run(Effect.andThen(sql`insert into t (id) values (${-id})`, Effect.fail("no")))
        )
      } else {
        yield* sql`insert into t (id) values (${id})`
      }
      at(kind === "failing" ? "rolling back" : "committing")
      if (kind === "failing") yield* Effect.fail("no")
    })
    at("waiting")
    yield* Effect.ignore(Transaction.run(body))
    at("done")
  }
)

it.live(
  "10,000 interruptions at random leave no connection, no transaction, no waiter and no half transaction",
  () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase()
      const seed = makeSeed(5)
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* Pool.Pool
        yield* sql`create table t (id int not null)`
        const phases: Partial<Record<Phase, number>> = {}
        let runs = 0
        const worker = Effect.fnUntraced(function*() {
          const random = seed.fork()
          while (runs < 10_000) {
            const id = ++runs
            let phase: Phase = "waiting"
            const kind = random.pick(["plain", "nested", "failing"] as const)
            const fiber = yield* Effect.forkChild(operation(id, kind, (at) => phase = at), { startImmediately: true })
            // Most of them get their connection, and then have some milliseconds to live.
            while (phase === ("waiting" as Phase) && random.chance(0.9)) yield* ticks(1)
            yield* ticks(random.int(0, random.chance(0.5) ? 4 : 40))
            phases[phase] = (phases[phase] ?? 0) + 1
            yield* Fiber.interrupt(fiber)
          }
        })
        yield* Effect.all(Array.from({ length: workers }, worker), { concurrency: "unbounded" })

        // Nobody waits, and everything is back once it has been cleaned up.
        yield* Effect.repeat(pool.stats, { while: ({ idle, total }) => idle !== total })
        const { used, waiting } = yield* pool.stats
        assert.deepStrictEqual({ used, waiting }, { used: 0, waiting: 0 }, `seed ${seed.value}`)
        const open = yield* sql`
        select state, query from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'`
        assert.deepStrictEqual(open, [], `seed ${seed.value}`)
        // All connections still work, at the same time.
        const all = yield* Effect.forEach(
          Array.from({ length: connections }, (_, i) => i),
          (i) => Transaction.run(sql`select ${i}::int as i, pg_sleep(0.01)`),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(all.length, connections)
        // Twice or not at all.
        assert.deepStrictEqual(
          yield* sql`select id, count(*)::int as n from t group by id having count(*) <> 2 or id < 0`,
          [],
          `seed ${seed.value}`
        )
        // It has been everywhere.
        for (const phase of ["waiting", "body", "savepoint", "committing", "rolling back"] as const) {
          assert.isAbove(phases[phase] ?? 0, 50, JSON.stringify(phases))
        }
      }).pipe(Effect.provide(layerAt(url, { pool: { max: connections } })))
    }),
  120_000
)

it.live("the same check finds a transaction that is only rolled back when it fails", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    yield* Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`create table t (id int not null)`
      const naive = Effect.scoped(Effect.gen(function*() {
        const connection = yield* sql.reserve
        const run = (statement: string) => connection.executeUnprepared(statement, [], undefined)
        yield* run("begin")
        yield* Effect.matchEffect(run("insert into t (id) values (1)"), {
          onFailure: () => run("rollback"),
          onSuccess: () => run("commit")
        })
      }))
      const watch = Effect.flatMap(SqlClient.SqlClient, (watcher) =>
        watcher`select 1 from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`)
        .pipe(Effect.provide(layerAt(url)))
      let open: ReadonlyArray<unknown> = []
      for (let i = 0; i < 2000 && open.length === 0; i++) {
        const fiber = yield* Effect.forkChild(naive, { startImmediately: true })
        yield* ticks(i % 10)
        yield* Fiber.interrupt(fiber)
        // The next one on the same connection may end what this one has left open.
        if (i % 20 === 19) {
          open = yield* watch
        }
      }
      assert.isNotEmpty(open)
    }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: connections })))
  }), 60_000)
