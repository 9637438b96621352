/** The throwaway servers that are several nodes of one database: they fail, and take each other's place. */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { describeWith, PatroniCluster, PostgresCluster, Replication } from "./support/index.ts"

describeWith("standby")("PostgresCluster", () => {
  it.live(
    "a standby takes the place of a primary that was killed, and the old one follows it",
    () =>
      Effect.gen(function*() {
        const { nodes: [first, second], url } = yield* PostgresCluster.make()
        assert.strictEqual(new URL(first!.clients.url).port, String(first!.clients.port))
        assert.include(url, `${first!.clients.port},127.0.0.1:${second!.clients.port}/`)
        yield* first!.query("create table t (x int)")
        yield* first!.query("insert into t values (1)")
        yield* second!.catchUp(first!)
        yield* first!.kill
        yield* second!.promote
        yield* second!.query("insert into t values (2)")
        yield* first!.rejoin(second!)
        assert.strictEqual((yield* first!.query("select x from t")).length, 2)
        yield* second!.query("insert into t values (3)")
        yield* first!.catchUp(second!)
        assert.strictEqual((yield* first!.query("select x from t")).length, 3)
      }),
    60_000
  )

  it.live("a primary that is cut off goes on, and nobody hears of it", () =>
    Effect.gen(function*() {
      const { nodes: [first, second] } = yield* PostgresCluster.make({ synchronous: true })
      yield* first!.query("create table t (x int)")
      const client = yield* PgConnection.make({ url: Redacted.make(first!.clients.url) })
      yield* client.query("select 1")
      yield* first!.cutOff
      const answer = yield* Effect.timeoutOption(client.query("select 1"), "200 millis")
      assert.strictEqual(answer._tag, "None")
      // It keeps a COMMIT to itself for which no standby has vouched.
      const write = yield* Effect.forkChild(first!.query("insert into t values (1)"))
      yield* second!.promote
      assert.strictEqual((yield* second!.query("select x from t")).length, 0)
      assert.strictEqual(write.pollUnsafe(), undefined)
      yield* first!.reconnect
      yield* PgConnection.make({ url: Redacted.make(first!.clients.url) })
    }), 60_000)
})

describeWith("patroni")("PatroniCluster", () => {
  it.live(
    "a primary hands over in order; one whose agent stands still does not know that another leads",
    () =>
      Effect.gen(function*() {
        const { nodes, primary } = yield* PatroniCluster.make()
        const first = nodes[0]
        yield* first!.query("create table t (x int)")
        assert.strictEqual(yield* primary, first)
        yield* first!.handOver
        yield* first!.follows
        const second = yield* primary
        assert.notStrictEqual(second, first)
        yield* second.agent.pause
        yield* Effect.raceAllFirst(nodes.filter((node) => node !== second).map((node) => node.leads))
        yield* second.query("insert into t values (1)")
        const next = yield* primary
        assert.notStrictEqual(next, second)
        assert.strictEqual((yield* next.query("select x from t")).length, 0)
        yield* second.agent.resume
        yield* second.follows
      }),
    240_000
  )
})

for (const kind of ["mysql", "mariadb"] as const) {
  describeWith(kind)(`Replication of ${kind}`, () => {
    it.live(
      "a replica takes the place of a primary that was killed, and the old one follows it",
      () =>
        Effect.gen(function*() {
          const { nodes: [first, second] } = yield* Replication.make(kind)
          const count = (node: Replication.Node) =>
            Effect.map(node.query("select count(*) as n from t", [], "test"), ([row]) => Number(row!["n"]))
          const write = (node: Replication.Node, x: number) => node.query(`insert into t values (${x})`, [], "test")
          yield* first!.query("create table t (x int)", [], "test")
          yield* write(first!, 1)
          yield* second!.catchUp(first!)
          assert.strictEqual(yield* count(second!), 1)
          const [row] = yield* second!.query("select @@global.read_only as r")
          assert.strictEqual(Number(row!["r"]), 1)
          yield* first!.cutOff
          yield* write(first!, 2)
          yield* first!.kill
          yield* second!.promote
          yield* write(second!, 3)
          yield* write(second!, 4)
          yield* first!.reconnect
          // It comes back as it was.
          yield* first!.start
          yield* write(first!, 5)
          yield* first!.rejoin(second!)
          yield* first!.catchUp(second!)
          assert.strictEqual(yield* count(first!), 3)
          // And a planned change.
          yield* second!.demote
          yield* first!.catchUp(second!)
          yield* first!.promote
          yield* second!.follow(first!)
          yield* write(first!, 6)
          yield* second!.catchUp(first!)
          assert.strictEqual(yield* count(second!), 4)
        }),
      120_000
    )
  })
}
