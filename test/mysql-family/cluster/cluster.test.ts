/** Several servers of MySQL or MariaDB as one. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import { Reads } from "watertight"
import type { Mariadb } from "watertight/mariadb"
import { clusterOf } from "../../../src/mysql-family/cluster/cluster.ts"
import * as Failover from "../../cluster/failover.ts"
import { Replication } from "../../support/index.ts"
import { describeEach } from "../support.ts"
import { layerOfNodes, urlOfNodes } from "./nodes.ts"

describe("the options of several servers", () => {
  const of = (options: Mariadb.LayerOptions) => clusterOf("Mariadb", options, () => Effect.die("it is not asked for"))
  const url = (text: string) => Redacted.make(text)

  it.effect("are hosts of a URL or nodes, and not both", () =>
    Effect.gen(function*() {
      const cluster = yield* of({ url: url("mariadb://app:secret@db1,[::1]:3307,db3:3308/bank") })
      assert.strictEqual(cluster!.name, "mariadb://db1:3306,::1:3307,db3:3308/bank")
      assert.deepStrictEqual(cluster!.candidates, [
        { host: "db1", port: undefined },
        { host: "::1", port: 3307 },
        { host: "db3", port: 3308 }
      ])
      assert.isUndefined(yield* of({ url: url("mariadb://db1/bank") }))
      assert.isUndefined(yield* of({ url: url("mariadb://db1,db2/bank"), host: "db3" }))
      const refused = yield* Effect.flip(of({ nodes: [{ host: "a" }], host: "b" }))
      assert.strictEqual(refused.option, "nodes")
      assert.strictEqual((yield* Effect.flip(of({ host: "a", zone: "z" }))).option, "zone")
      assert.strictEqual((yield* Effect.flip(of({ host: "a", replicas: {} }))).option, "replicas")
    }))
})

describeEach("a primary and a replica as one, with $name", (subject) => {
  const port = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql<{ port: number }>`select @@port as port`
    return row!.port
  })

  it.live("writes go to the primary, and reads to the replica where they say so", () =>
    Effect.gen(function*() {
      const { nodes } = yield* Replication.make(subject.server.shared as "mysql" | "mariadb")
      const [first, second] = nodes as [Replication.Node, Replication.Node]
      yield* Effect.gen(function*() {
        assert.strictEqual(yield* port, first.port)
        const sql = yield* SqlClient.SqlClient
        // Servers without a history have no position by which one could be compared with the other.
        yield* sql`create table begun (a int primary key)`
        // Until it is proved to have everything, it does not serve.
        const read = yield* Effect.retry(port.pipe(Reads.replica), Schedule.spaced("100 millis")).pipe(
          Effect.timeout("30 seconds")
        )
        assert.strictEqual(read, second.port)
        yield* first.demote
        yield* second.catchUp(first)
        yield* second.promote
        // Who may do everything may write to a server that is read only, so no write tells that it was demoted.
        yield* Effect.repeat(port, { until: (port) => port === second.port, schedule: Schedule.spaced("50 millis") })
          .pipe(
            Effect.timeout("30 seconds")
          )
        yield* sql`create table moved (a int primary key)`
        assert.strictEqual(yield* port, second.port)
      }).pipe(Effect.provide(layerOfNodes(subject, urlOfNodes(nodes[0]!, nodes.toReversed()))))
    }).pipe(Effect.scoped), 180_000)

  it.live("under load, the primary is changed in order: nothing is lost or done twice", () =>
    Effect.gen(function*() {
      const { nodes } = yield* Replication.make(subject.server.shared as "mysql" | "mariadb", {
        // A server that is made read only waits for those who have written, who may wait for a row of somebody who waits
        // for the server.
        settings: { innodb_lock_wait_timeout: 1 }
      })
      let [primary, replica] = nodes as [Replication.Node, Replication.Node]
      const query = (node: Replication.Node) => (statement: string) => node.query(statement, [], "test")
      // Whoever may do everything may write to a server that is read only, too.
      yield* primary.query("create user app identified by 'app'")
      yield* primary.query("grant all on test.* to app")
      yield* replica.catchUp(primary)
      for (const node of nodes) yield* node.logIn("app", "app")
      const report = yield* Failover.run({
        url: urlOfNodes(primary, nodes).replace(/\/\/[^@]*@/, "//app:app@"),
        nodes: nodes.map((node) => ({ ...node, query: query(node) })),
        primary: Effect.sync(() => ({ ...primary, query: query(primary) }))
      }, {
        seconds: 4,
        seed: 73,
        killEvery: 2,
        locking: "for update",
        layer: (url, pool) => layerOfNodes(subject, url, pool),
        blow: () =>
          Effect.gen(function*() {
            yield* primary.demote
            yield* replica.catchUp(primary)
            yield* replica.promote
            const takenOverAt = yield* Clock.currentTimeMillis
            ;[primary, replica] = [replica, primary]
            return { takenOverAt, after: replica.follow(primary) }
          })
      })
      Failover.check(report)
    }).pipe(Effect.scoped), 240_000)
})
