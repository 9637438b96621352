/** Reads that never go back in time, on a real primary with a standby that lags. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Schedule, Stream } from "effect"
import { SqlClient } from "effect/sql"
import type { Causality } from "../../src/Adapter.ts"
import * as Cluster from "../../src/cluster/Cluster.ts"
import * as Token from "../../src/cluster/token.ts"
import { Causal, Reads, Transaction } from "../../src/index.ts"
import { Postgres } from "../../src/postgres/index.ts"
import { describeWith } from "../support/needs.ts"
import { PostgresServer } from "../support/servers/index.ts"

const setUp = (settings: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const primary = yield* PostgresServer.make()
    const standby = yield* primary.standby({ settings })
    yield* primary.query("create table item (id serial primary key, note text)")
    const layer = Postgres.layer({
      nodes: [primary, standby].map(({ host, port }) => ({ host, port })),
      username: "postgres",
      database: "postgres",
      replicas: { probe: "200 millis", wait: "5 seconds" }
    })
    return { primary, standby, layer }
  })

const ready = Effect.gen(function*() {
  const found = yield* Effect.serviceOption(Cluster.Cluster)
  if (found._tag === "None") throw new Error("no cluster")
  yield* Effect.repeat(found.value.topology, {
    until: ({ nodes }) => nodes.some(({ staleMillis, status }) => status === "Replica" && staleMillis < Infinity),
    schedule: Schedule.spaced("20 millis")
  })
  return found.value
})

const newest = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ id: number; port: number }>`
    select coalesce(max(id), 0) as id, current_setting('port')::int as port from item`
  return row!
})

const insert = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ id: number }>`insert into item (note) values ('x') returning id`
  return row!.id
})

const writes = {
  statement: insert,
  transaction: insert.pipe(Transaction.run()),
  "transaction that does not wait for the disk": Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`set local synchronous_commit = off`
    return yield* insert
  }).pipe(Transaction.run())
}

describeWith("standby")("a standby that is behind", () => {
  for (const [name, write] of Object.entries(writes)) {
    it.live(`has what a ${name} has written, when it is read`, () =>
      Effect.gen(function*() {
        const { layer, standby } = yield* setUp({ recovery_min_apply_delay: "700" })
        yield* Effect.gen(function*() {
          yield* ready
          // Without a region the read comes too early: the standby is really behind.
          const id = yield* write
          assert.isBelow((yield* newest.pipe(Reads.replica)).id, id)
          for (let i = 0; i < 3; i++) {
            const [written, read] = yield* Effect.all([write, newest.pipe(Reads.replica)]).pipe(Causal.track)
            assert.isAtLeast(read.id, written)
            assert.strictEqual(read.port, standby.port)
          }
          // Also in a transaction that sees one moment, and in another process.
          const token = yield* Effect.andThen(write, Causal.token).pipe(Causal.track)
          const { id: latest } = yield* newest
          assert.isBelow(token!.length, 128)
          const moment = Transaction.run({ access: "read only", isolation: "repeatable read", reads: Reads.replica })
          assert.isAtLeast((yield* newest.pipe(moment, Causal.after(token))).id, latest)
        }).pipe(Effect.provide(layer))
      }).pipe(Effect.scoped), 60_000)
  }

  it.live(
    "that does not get there is left for the primary, within the time that a read waits",
    () =>
      Effect.gen(function*() {
        const { layer, primary, standby } = yield* setUp()
        yield* Effect.gen(function*() {
          yield* ready
          yield* standby.query("select pg_wal_replay_pause()")
          const [id, read] = yield* Effect.all([insert, newest.pipe(Reads.prefer)]).pipe(Causal.track)
          assert.strictEqual(read.port, primary.port)
          assert.strictEqual(read.id, id)
          const token = yield* Effect.andThen(insert, Causal.token).pipe(Causal.track)
          const error = yield* newest.pipe(Reads.replica, Causal.after(token), Effect.flip)
          assert.include(error.message, "had no replica")
          yield* standby.query("select pg_wal_replay_resume()")
          assert.strictEqual((yield* newest.pipe(Reads.replica, Causal.after(token))).port, standby.port)
        }).pipe(Effect.provide(layer))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live("a token that was made up costs a read on the primary at the most", () =>
    Effect.gen(function*() {
      const { layer, primary, standby } = yield* setUp()
      yield* Effect.gen(function*() {
        const cluster = yield* ready
        const { positions: [real] } = Token.read((yield* Effect.andThen(insert, Causal.token).pipe(Causal.track))!)
        for (
          const [position, port] of [
            [{ ...real!, value: "99999999999999" }, primary.port],
            [{ ...real!, generation: 99 }, primary.port],
            [{ ...real!, lineage: "another" }, standby.port]
          ] as const
        ) {
          const token = Token.write({ positions: [position], isDoubtful: false })
          assert.strictEqual((yield* newest.pipe(Reads.prefer, Causal.after(token))).port, port, token)
        }
        assert.strictEqual((yield* newest.pipe(Reads.prefer, Causal.after(""))).port, standby.port)
        const malformed = Token.write({ positions: [{ ...real!, value: "1'; drop table item" }], isDoubtful: false })
        for (const token of ["x", "1.a.b.c", "~~~", "1.%E0.1.1", "x".repeat(10_000), malformed]) {
          // It may have stood for something. What the primary has answered settles it.
          const [first, second] = yield* Effect.all([newest, newest]).pipe(Reads.prefer, Causal.after(token))
          assert.deepStrictEqual([first.port, second.port], [primary.port, standby.port], token)
        }
        // Each is told once, and counted.
        assert.deepStrictEqual((yield* cluster.topology).unusableTokens, {
          Unreadable: 6,
          Foreign: 0,
          OtherGeneration: 1,
          Ahead: 1
        })
        const told = yield* Effect.forkChild(Stream.runHead(cluster.events), { startImmediately: true })
        yield* newest.pipe(Reads.prefer, Causal.after("x"))
        assert.deepInclude(Option.getOrThrow(yield* Fiber.join(told)), { _tag: "TokenUnusable", reason: "Unreadable" })
        // Writes go on.
        assert.isAbove(yield* insert, 0)
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.scoped), 60_000)
})

/** Positions that are numbers. */
const numbers: Causality = {
  commit: () => Effect.die("not asked for"),
  position: () => Effect.die("not asked for"),
  reached: () => Effect.die("not asked for"),
  isPosition: (value) => /^\d+$/.test(value),
  join: (a, b) => Number(a) > Number(b) ? a : b,
  includes: (at, wanted) => Number(at) >= Number(wanted)
}

describe("regions", () => {
  const at = (value: string) => ({ lineage: "x", generation: 1, value })

  it("are one where one is inside of another", () =>
    Effect.gen(function*() {
      const token = (value: string) => Token.write({ positions: [at(value)], isDoubtful: false })
      const all = yield* Effect.gen(function*() {
        yield* Causal.after(Effect.void, token("9"))
        yield* Causal.after(Effect.void, token("4"))
        return yield* Effect.flatMap(Effect.service(Causal.Current), (region) =>
          Effect.sync(() => region!.floor("x", numbers)))
      }).pipe(Causal.after(token("7")))
      assert.deepStrictEqual(all, at("9"))
    }).pipe(Effect.runPromise))

  it("go to the primary after a doubt, until its answer to a later question", () => {
    const region = new Causal.Region()
    Causal.introduce("db", numbers)
    assert.isFalse(region.isPinned("db"))
    region.doubt("db")
    assert.isTrue(region.isPinned("db"))
    assert.isFalse(region.isPinned("other"))
    const { asked } = region
    region.doubt("db")
    region.settle("db", asked)
    assert.isTrue(region.isPinned("db"))
    assert.isTrue(Token.read(region.token!).isDoubtful)
    region.settle("db", region.asked)
    assert.isFalse(region.isPinned("db"))
    assert.isUndefined(region.token)
  })

  it("go to the primary when it has not got the place itself", () => {
    const region = new Causal.Region()
    region.advance(at("9"), numbers)
    region.compare("db", at("8"), numbers)
    assert.isTrue(region.isPinned("db"))
    region.compare("db", at("9"), numbers)
    assert.isFalse(region.isPinned("db"))
  })

  it("go to the primary for a place of a database that this process has under another name", () => {
    const region = new Causal.Region()
    region.advance({ lineage: "name-abc", generation: undefined, value: "1" }, numbers)
    assert.isTrue(region.isPinned("db"))
    Causal.introduce("elsewhere", { ...numbers, lineage: "name-abc" })
    assert.isFalse(region.isPinned("db"))
  })
})

describe("tokens", () => {
  it("are read as they were written, with all characters that a position may have", () => {
    const positions = [
      { lineage: "7431", generation: 3, value: "123" },
      { lineage: "a.b~c", generation: undefined, value: "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5,\n x" }
    ]
    for (const isDoubtful of [false, true]) {
      const token = Token.write({ positions, isDoubtful })
      assert.match(token, /^[\w.~%-]+$/)
      assert.deepStrictEqual(Token.read(token), { positions, isDoubtful, isReadable: true })
    }
  })

  it("that would not fit send reads to the primary", () => {
    const token = Token.write({
      positions: [{ lineage: "x", generation: 1, value: "1".repeat(3_000) }],
      isDoubtful: false
    })
    assert.deepStrictEqual(Token.read(token), { positions: [], isDoubtful: true, isReadable: true })
  })

  it("rise within a generation, and never fall to an older one", () => {
    const region = new Causal.Region()
    const causality = { ...numbers, lineage: undefined }
    const at = (generation: number, value: string) => region.advance({ lineage: "x", generation, value }, causality)
    at(1, "5")
    at(1, "3")
    assert.strictEqual(region.floor("x", causality)?.value, "5")
    at(2, "4")
    at(1, "9")
    assert.deepStrictEqual(region.floor("x", causality), { lineage: "x", generation: 2, value: "4" })
  })
})
