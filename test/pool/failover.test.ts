import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Pool } from "watertight"
import { Postgres } from "watertight/postgres"
import { describeWith, FaultProxy, PostgresServer } from "../support/index.ts"

const pause = (millis: number) => Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, millis)))

/**
 * Writers go on while the primary is cut off in some way and the standby takes its place behind the same address.
 * `restore` makes the old node answer the test again.
 */
const drill = (
  cutOff: (primary: PostgresServer.PostgresServer, proxy: FaultProxy.FaultProxy) => {
    readonly begin: Effect.Effect<unknown, unknown>
    /** What gives way to the new node. */
    readonly move: Effect.Effect<unknown, unknown>
    readonly restore: Effect.Effect<unknown, unknown>
  }
) =>
  Effect.gen(function*() {
    const primary = yield* PostgresServer.make()
    yield* primary.query("create table entry (id int)")
    const standby = yield* primary.standby()
    // The address that moves.
    const address = { host: primary.host, port: primary.port }
    const proxy = yield* FaultProxy.make(address)
    const url = new URL(primary.url)
    url.host = `${proxy.host}:${proxy.port}`
    const fault = cutOff(primary, proxy)

    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* Pool.Pool
      const written: Array<{ readonly id: number; readonly at: number }> = []
      const slowest = { millis: 0 }
      let next = 0
      let stop = false
      const writer = Effect.gen(function*() {
        while (!stop) {
          const id = next++
          const from = performance.now()
          const exit = yield* Effect.exit(sql`insert into entry values (${id})`)
          slowest.millis = Math.max(slowest.millis, performance.now() - from)
          if (exit._tag === "Success") written.push({ id, at: performance.now() })
          yield* pause(2)
        }
      })
      const writers = yield* Effect.forEach(Array.from({ length: 16 }), () => Effect.forkChild(writer))
      yield* pause(500)
      assert.isAbove(written.length, 100)

      yield* fault.begin
      const lastOnOld = next
      address.port = standby.port
      yield* standby.promote
      yield* fault.move
      const promoted = performance.now()
      while (performance.now() < promoted + 10_000 && !written.some((entry) => entry.at > promoted)) yield* pause(20)
      yield* pause(300)
      stop = true
      for (const fiber of writers) yield* Fiber.join(fiber)

      const first = written.find((entry) => entry.at > promoted)
      assert.isDefined(first)
      // A second is what a quiet machine needs; one that is shared gets some more.
      assert.isBelow(first!.at - promoted, 8_000, "service was not back in time")
      // Whoever asked while nobody was there waited for the pool, no longer than its deadline.
      assert.isBelow(slowest.millis, 9_000)
      assert.isAtLeast((yield* pool.stats).closed.Lost, 1)

      yield* fault.restore
      const [old] = yield* primary.query("select coalesce(max(id), 0)::int as id from entry")
      assert.isAtMost((old as { readonly id: number }).id, lastOnOld)
      const rows = yield* standby.query("select id from entry")
      const kept = new Set(rows.map((row) => (row as { readonly id: number }).id))
      for (const entry of written) if (entry.at > promoted) assert.isTrue(kept.has(entry.id), `${entry.id} is lost`)
    }).pipe(
      Effect.provide(
        Postgres.layer({
          url: Redacted.make(url.href),
          statementTimeout: "500 millis",
          pool: { max: 8, acquireTimeout: "5 seconds" }
        })
      )
    )
  })

describeWith("standby")("A failover under load", () => {
  it.live(
    "is over within a second of the promotion when the primary dies, and nothing more is written to it",
    () => drill((primary) => ({ begin: primary.kill, move: Effect.void, restore: primary.start })),
    90_000
  )

  it.live(
    "is over within a second of the promotion when the network cuts the primary off, and nothing more is written to it",
    () =>
      drill((_, proxy) => ({
        begin: Effect.andThen(proxy.blackhole, pause(200)),
        // What was sent meanwhile is lost, and so are the connections; new ones lead to the new node.
        move: proxy.heal,
        // It has been there all the time.
        restore: Effect.void
      })),
    90_000
  )
})
