/** Reads that never go back in time, on a real primary of MySQL or MariaDB with replicas that lag. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import { Causal, Pool, Reads, Transaction } from "watertight"
import type { ReplicaOptions } from "../../../src/cluster/ClusterAdapter.ts"
import * as Token from "../../../src/cluster/token.ts"
import * as Place from "../../../src/mysql-family/cluster/position.ts"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import { unwrap } from "../../../src/pool/LeasedConnection.ts"
import { none, now, ready, record, roundRobin } from "../../cluster/clients.ts"
import * as Histories from "../../cluster/histories.ts"
import { Replication } from "../../support/index.ts"
import { describeEach, type Subject } from "../support.ts"

const setUp = (subject: Subject, replicas: ReplicaOptions, count = 1) =>
  Effect.gen(function*() {
    const { nodes } = yield* Replication.make(subject.server.shared as "mysql" | "mariadb", { replicas: count })
    const [primary, ...others] = nodes as [Replication.Node, ...Array<Replication.Node>]
    yield* primary.query("create table item (id int primary key auto_increment, note varchar(9))", [], "test")
    yield* primary.query("create table counter (n int)", [], "test")
    yield* primary.query("insert into counter values (0)", [], "test")
    for (const replica of others) yield* replica.catchUp(primary)
    const layer = Layer.provideMerge(
      subject.module.layer({
        nodes: nodes.map(({ host, port }) => ({ host, port })),
        username: primary.user,
        password: Redacted.make(primary.password),
        database: "test",
        allowPublicKeyRetrieval: true,
        replicas: { probe: "200 millis", ...replicas }
      }),
      Logger.layer([])
    )
    return { primary, others, layer }
  })

const newest = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ id: number; port: number }>`
    select coalesce(max(id), 0) as id, @@port as port from item`
  return row!
})

/** Writes and tells the number of what was written, without asking the primary. */
const insert = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const ok = (yield* sql`insert into item (note) values ('x')`.raw) as { readonly insertId: number }
  return ok.insertId
})

const increase = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`update counter set n = n + 1`
  const [row] = yield* sql<{ n: number }>`select n from counter`
  return row!.n
}).pipe(Transaction.run())

const look = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ n: number }>`select n from counter`
  return row!.n
})

const writes = { statement: insert, transaction: insert.pipe(Transaction.run()) }

describeEach("a replica that is behind, with $name,", (subject) => {
  /** Where the server tells by itself, nobody has to ask, and it is no change of the session. */
  const tellsWhatItWrote = Effect.gen(function*() {
    const pool = yield* Pool.Pool
    yield* pool.use((connection) =>
      Effect.gen(function*() {
        const session = unwrap(connection) as Session
        yield* session.executeRaw("insert into item (note) values (?)", ["told"])
        const tells = subject.driver.tellsWritten && subject.server.shared === "mysql"
        assert.strictEqual(Place.isPosition(session.driver.written ?? ""), tells)
        if (tells) assert.isTrue(session.isReady)
        yield* session.execute("select 1", [], undefined)
        assert.isUndefined(session.driver.written)
      })
    )
  })

  it.live(
    "has what was written when it is read, or the primary serves",
    () =>
      Effect.gen(function*() {
        const { layer, others: [replica], primary } = yield* setUp(subject, { wait: "10 seconds" })
        yield* Effect.gen(function*() {
          yield* ready(2)
          yield* tellsWhatItWrote
          yield* replica!.delay(1)
          for (const write of Object.values(writes)) {
            // Without a region the read comes too early: the replica is really behind.
            const id = yield* write
            assert.isBelow((yield* newest.pipe(Reads.replica)).id, id)
            for (let i = 0; i < 2; i++) {
              const [written, read] = yield* Effect.all([write, newest.pipe(Reads.replica)]).pipe(Causal.track)
              assert.isAtLeast(read.id, written)
              assert.strictEqual(read.port, replica!.port)
            }
            // Also in a transaction that sees one moment, and in another process.
            const token = yield* Effect.andThen(write, Causal.token).pipe(Causal.track)
            const { id: latest } = yield* newest
            assert.isBelow(token!.length, 160)
            const moment = Transaction.run({ access: "read only", isolation: "repeatable read", reads: Reads.replica })
            assert.isAtLeast((yield* newest.pipe(moment, Causal.after(token))).id, latest)
          }
          yield* replica!.delay(0)
        }).pipe(Effect.provide(layer))

        const impatient = subject.module.layer({
          nodes: [primary, replica!].map(({ host, port }) => ({ host, port })),
          username: primary.user,
          password: Redacted.make(primary.password),
          database: "test",
          allowPublicKeyRetrieval: true,
          replicas: { probe: "200 millis", wait: "300 millis" }
        })
        yield* Effect.gen(function*() {
          yield* ready(2)
          yield* Effect.repeat(newest.pipe(Reads.replica), {
            until: ({ port }) => port === replica!.port,
            schedule: Schedule.spaced("20 millis")
          })
          yield* replica!.standStill
          const [id, read] = yield* Effect.all([insert, newest.pipe(Reads.prefer)]).pipe(Causal.track)
          assert.deepStrictEqual(read, { id, port: primary.port })
          const token = yield* Effect.andThen(insert, Causal.token).pipe(Causal.track)
          const error = yield* newest.pipe(Reads.replica, Causal.after(token), Effect.flip)
          assert.include(error.message, "had no replica")
          yield* replica!.goOn
          yield* replica!.catchUp(primary)
          assert.strictEqual((yield* newest.pipe(Reads.replica, Causal.after(token))).port, replica!.port)

          // What comes from outside.
          const { positions: [real] } = Token.read(token!)
          const ahead = Place.normal(
            subject.server.shared === "mysql" ? "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7" : "0-9-999999999"
          )!
          for (
            const position of [
              { ...real!, value: ahead },
              { ...real!, value: "1'); drop table item" },
              { ...real!, value: "@@server_id" },
              { ...real!, lineage: "name-other" }
            ]
          ) {
            const forged = Token.write({ positions: [position], isDoubtful: false })
            const [first, second] = yield* Effect.all([newest, newest]).pipe(Reads.prefer, Causal.after(forged))
            assert.strictEqual(first.port, primary.port, forged)
            const isSettled = !Place.isPosition(position.value)
            assert.strictEqual(second.port, isSettled ? replica!.port : primary.port, forged)
          }
          assert.isAbove(yield* insert, 0)
        }).pipe(Effect.provide(impatient))
      }).pipe(Effect.scoped),
    240_000
  )
})

describeEach("histories, with $name,", (subject) => {
  it.live("keep what was promised, and are caught where a guard is missing", () =>
    Effect.gen(function*() {
      // Only the bounds of the reads are to keep them from the slow one.
      const replicas = { wait: "500 millis", maxStaleness: "10 minutes" } as const
      const { layer, others, primary } = yield* setUp(subject, replicas, 2)
      const slow = others[1]!
      const ask = (node: Replication.Node) =>
        Effect.map(node.query("select n from counter", [], "test"), ([row]) => Number(row!["n"]))
      yield* Effect.gen(function*() {
        yield* ready(3)
        yield* slow.delay(3)
        const guarded = yield* record({ session: Causal.track, write: increase, read: Reads.prefer(look) })
        assert.deepStrictEqual(Histories.readYourWrites(guarded), [])
        assert.deepStrictEqual(Histories.monotonic(guarded), [])

        const naive = yield* record({ session: none, write: increase, read: roundRobin([primary, slow], ask) })
        assert.isAbove(Histories.readYourWrites(naive).length, 0)
        assert.isAbove(Histories.monotonic(naive).length, 0)

        // The slow one stands still for a while.
        yield* slow.standStill
        const read = Reads.within("1500 millis")(look)
        const fresh = yield* record({ session: none, write: increase, read, bound: 1_500 })
        assert.deepStrictEqual(Histories.bounded(fresh), [])
        yield* Effect.repeat(Effect.sync(now), {
          until: (at) => at - fresh.writes[0]!.acknowledgedAt > 2_500,
          schedule: Schedule.spaced("50 millis")
        })
        const stale = yield* record({ session: none, write: increase, read: roundRobin([slow], ask), bound: 1_500 })
        // What was written before the reads began counts as well.
        const all = { writes: [...fresh.writes, ...stale.writes], reads: stale.reads }
        assert.isAbove(Histories.bounded(all).length, 0)
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.scoped), 240_000)
})

describe("places", () => {
  const one = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
  const two = "4e11fa47-71ca-11e1-9e33-c80aa9429562"

  it("are read and written in one form", () => {
    for (
      const [text, normal] of [
        [`${one}:1-3:4:9`, `${one}:1-4:9`],
        [`${one.toUpperCase()}:7,\n ${two}:1`, `${one}:7,${two}:1`],
        [`${one}:1-3:5-7,${one}:4`, `${one}:1-7`],
        [`${one}:1-3:blue:2-4`, `${one}:1-3,${one}:blue:2-4`],
        ["0-1-5,1-2-9", "0-1-5,1-2-9"],
        [`galera:${one}:12`, `galera:${one}:12`]
      ] as const
    ) assert.strictEqual(Place.normal(text), normal)
    for (
      const text of ["", "x", "1", "0-1", `${one}`, `${one}:`, `${one}:1-`, `${one}:1;2`, "0-1-2'", `galera:${one}:x`]
    ) assert.isUndefined(Place.normal(text), text)
  })

  it("are compared and joined by what they have", () => {
    for (
      const [at, wanted, has] of [
        [`${one}:1-9`, `${one}:5`, true],
        [`${one}:1-9`, `${one}:5-10`, false],
        [`${one}:1-9`, `${two}:1`, false],
        [`${one}:1-3:5-9`, `${one}:3-5`, false],
        [`${one}:1-9,${two}:1`, `${one}:2,${two}:1`, true],
        [`${one}:blue:1-9`, `${one}:5`, false],
        ["0-1-9", "0-1-9", true],
        ["0-2-9", "0-1-9", false],
        ["0-2-10", "0-1-9", true],
        ["0-1-9", "1-1-1", false],
        ["0-1-9", `${one}:1`, false],
        [`galera:${one}:9`, `galera:${one}:8`, true],
        [`galera:${one}:9`, `galera:${two}:8`, false]
      ] as const
    ) assert.strictEqual(Place.includes(at, wanted), has, `${at} has ${wanted}`)
    for (
      const [a, b, both] of [
        [`${one}:1-3:7`, `${one}:4`, `${one}:1-4:7`],
        [`${one}:1`, `${two}:1`, `${one}:1,${two}:1`],
        ["0-1-5,1-1-1", "0-2-7", "0-2-7,1-1-1"],
        [`galera:${one}:9`, `galera:${one}:8`, `galera:${one}:9`],
        ["0-1-5", `${one}:1`, `${one}:1`],
        ["rubbish", "0-1-5", "0-1-5"]
      ] as const
    ) assert.strictEqual(Place.join(a, b), both)
  })
})
