/**
 * Histories of clients that write and read on a primary with two standbys, one of which lags, are checked for what was
 * promised to them. Each check is shown failing for clients that go without the guard.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import { Causal, Reads } from "../../src/index.ts"
import { Postgres } from "../../src/postgres/index.ts"
import { describeWith } from "../support/needs.ts"
import { PostgresServer } from "../support/servers/index.ts"
import { none, now, ready, record, roundRobin } from "./clients.ts"
import * as Histories from "./histories.ts"

const lag = 3_000

const setUp = Effect.gen(function*() {
  const primary = yield* PostgresServer.make()
  const quick = yield* primary.standby()
  const slow = yield* primary.standby({ settings: { recovery_min_apply_delay: String(lag) } })
  yield* primary.query("create table counter (n int)")
  yield* primary.query("insert into counter values (0)")
  const layer = Postgres.layer({
    nodes: [primary, quick, slow].map(({ host, port }) => ({ host, port })),
    username: "postgres",
    database: "postgres",
    // Only the bounds of the reads are to keep them from the slow one.
    replicas: { probe: "200 millis", wait: "500 millis", maxStaleness: "10 minutes" }
  })
  return { primary, slow, layer }
})

/** Reads the number, wherever it goes. */
const look = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ n: number }>`select n from counter`
  return row!.n
})

const write = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ n: number }>`update counter set n = n + 1 returning n`
  return row!.n
})

const ask = (server: PostgresServer.PostgresServer) =>
  Effect.map(server.query("select n from counter"), ([row]) => row!["n"] as number)

describeWith("standby")("histories", () => {
  it.live("keep what was promised, and are caught where a guard is missing", () =>
    Effect.gen(function*() {
      const { layer, primary, slow } = yield* setUp
      yield* Effect.gen(function*() {
        yield* ready(3)
        const guarded = yield* record({ session: Causal.track, write, read: Reads.prefer(look) })
        assert.deepStrictEqual(Histories.readYourWrites(guarded), [])
        assert.deepStrictEqual(Histories.monotonic(guarded), [])

        const naive = yield* record({ session: none, write, read: roundRobin([primary, slow], ask) })
        assert.isAbove(Histories.readYourWrites(naive).length, 0)
        assert.isAbove(Histories.monotonic(naive).length, 0)

        // The slow one stands still for a while.
        yield* slow.query("select pg_wal_replay_pause()")
        const fresh = yield* record({ session: none, write, read: Reads.within("1500 millis")(look), bound: 1_500 })
        assert.deepStrictEqual(Histories.bounded(fresh), [])
        yield* Effect.repeat(Effect.sync(now), {
          until: (at) => at - fresh.writes[0]!.acknowledgedAt > 2_500,
          schedule: Schedule.spaced("50 millis")
        })
        const stale = yield* record({ session: none, write, read: roundRobin([slow], ask), bound: 1_500 })
        // What was written before the reads began counts as well.
        const all = { writes: [...fresh.writes, ...stale.writes], reads: stale.reads }
        assert.isAbove(Histories.bounded(all).length, 0)
        yield* slow.query("select pg_wal_replay_resume()")
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.scoped), 120_000)
})

describe("the checks", () => {
  const read = (value: number, startedAt: number, client = "a") => ({
    client,
    value,
    startedAt,
    endedAt: startedAt + 1
  })
  const writes = [{ client: "a", value: 1, acknowledgedAt: 10 }, { client: "b", value: 2, acknowledgedAt: 20 }]

  it("find a client that misses what it has written", () => {
    assert.strictEqual(Histories.readYourWrites({ writes, reads: [read(0, 11)] }).length, 1)
    assert.strictEqual(Histories.readYourWrites({ writes, reads: [read(0, 9), read(0, 11, "b")] }).length, 0)
  })

  it("find a client that goes back in time", () => {
    assert.strictEqual(Histories.monotonic({ writes, reads: [read(2, 1), read(1, 5)] }).length, 1)
    assert.strictEqual(Histories.monotonic({ writes, reads: [read(2, 1), read(1, 5, "b"), read(2, 6)] }).length, 0)
  })

  it("find a read that is older than it may be", () => {
    const bound = (value: number, startedAt: number) => ({ ...read(value, startedAt), bound: 5 })
    assert.strictEqual(Histories.bounded({ writes, reads: [bound(0, 15)] }).length, 1)
    assert.strictEqual(Histories.bounded({ writes, reads: [bound(0, 14), bound(1, 24)] }).length, 0)
  })
})
