/** Whoever is interrupted anywhere in a transaction leaves nothing behind: here, in the pool, or on the server. */
import { assert } from "@effect/vitest"
import { Effect, Fiber, type Layer, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import { Pool, Transaction } from "watertight"
import { freshDatabase, seed as makeSeed, type ServerError } from "../../support/index.ts"
import { layerAt } from "../support.ts"

export const connections = 5
const workers = 20

/** Where transactions are interrupted. */
export interface Place {
  readonly url: Effect.Effect<string, ServerError, Scope.Scope>
  readonly layer: (
    url: string,
    options: { readonly pool: Pool.Options }
  ) => Layer.Layer<SqlClient.SqlClient | Pool.Pool | Transaction.Manager, unknown>
  /** The chance that one more tick is waited for a connection. */
  readonly patience: number
  /** The transactions that are open in the database, and the other statements that run. */
  readonly open: string
  /** Waits for 10 ms. */
  readonly wait: string
}

export const postgres: Place = {
  url: Effect.suspend(() => freshDatabase()),
  patience: 0.9,
  layer: layerAt,
  open: "select state, query from pg_stat_activity " +
    "where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'",
  wait: "select pg_sleep(0.01)"
}

export const ticks = (count: number) =>
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

/** Interrupts transactions at random, and checks what is left of them. */
export const run = Effect.fnUntraced(function*(place: Place, count: number) {
  const url = yield* place.url
  const seed = makeSeed(5)
  yield* Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const pool = yield* Pool.Pool
    yield* sql`create table t (id int not null)`
    const phases: Partial<Record<Phase, number>> = {}
    let runs = 0
    const worker = Effect.fnUntraced(function*() {
      const random = seed.fork()
      while (runs < count) {
        const id = ++runs
        let phase: Phase = "waiting"
        const kind = random.pick(["plain", "nested", "failing"] as const)
        const fiber = yield* Effect.forkChild(operation(id, kind, (at) => phase = at), { startImmediately: true })
        // Most of them get their connection, and then have some milliseconds to live.
        while (phase === ("waiting" as Phase) && random.chance(place.patience)) yield* ticks(1)
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
    const open = yield* sql.unsafe(place.open)
    assert.deepStrictEqual(open, [], `seed ${seed.value}`)
    // All connections still work, at the same time.
    const all = yield* Effect.forEach(
      Array.from({ length: connections }),
      () => Transaction.run(sql.unsafe(place.wait)),
      { concurrency: "unbounded" }
    )
    assert.strictEqual(all.length, connections)
    // Twice or not at all.
    assert.deepStrictEqual(
      yield* sql`select id, count(*) as n from t group by id having count(*) <> 2 or id < 0`,
      [],
      `seed ${seed.value}`
    )
    // It has been everywhere.
    for (const phase of ["waiting", "body", "savepoint", "committing", "rolling back"] as const) {
      assert.isAbove(phases[phase] ?? 0, count / 500, JSON.stringify(phases))
    }
  }).pipe(Effect.provide(place.layer(url, { pool: { max: connections } })))
})
