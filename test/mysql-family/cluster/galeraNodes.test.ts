/** The nodes of a Galera cluster as one, one of which takes all writes, while others go on writing. */
import { it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Failover from "../../cluster/failover.ts"
import { describeWith, FaultProxy, GaleraCluster, type ServerError } from "../../support/index.ts"
import { onMariadb } from "../support.ts"
import { layerOfNodes, urlOfNodes } from "./nodes.ts"

type Node = GaleraCluster.Node

interface Fate {
  readonly happens: (writer: Node, others: ReadonlyArray<Node>) => Effect.Effect<void, ServerError>
  readonly after: (writer: Node, others: ReadonlyArray<Node>) => Effect.Effect<void, ServerError>
}

const statusOf = (node: Node, name: string) =>
  Effect.map(node.query(`show status like '${name}'`), (rows) => String(rows[0]?.["Value"]))

/**
 * Waits until these are a cluster, and no other node is. One that has stood still takes itself for a member for a moment
 * after it goes on: the others know better, so all of them are asked.
 */
const agree = (nodes: ReadonlyArray<Node>) =>
  Effect.forEach(nodes, (node) =>
    Effect.repeat(
      Effect.orElseSucceed(
        Effect.all([
          statusOf(node, "wsrep_cluster_size"),
          statusOf(node, "wsrep_cluster_status"),
          statusOf(node, "wsrep_ready")
        ]),
        () => []
      ),
      {
        until: ([size, status, ready]) => Number(size) === nodes.length && status === "Primary" && ready === "ON",
        schedule: Schedule.spaced("20 millis")
      }
    ), { discard: true, concurrency: "unbounded" })

/** A donor that gives a state transfer up ends the server that waits for it. Whoever runs one starts it again. */
const start = (node: Node) => Effect.retry(node.start, { times: 3, schedule: Schedule.spaced("1 second") })

const fates: Record<string, Fate> = {
  "whose writer is killed": {
    happens: (writer, others) => Effect.andThen(writer.kill, agree(others)),
    after: (writer, others) => Effect.andThen(start(writer), agree([writer, ...others]))
  },
  "whose writer stands still": {
    happens: (writer, others) => Effect.andThen(writer.pause, agree(others)),
    after: (writer, others) => Effect.andThen(writer.resume, agree([writer, ...others]))
  },
  "whose writer is cut off from the others, and not from its clients": {
    happens: (writer, others) => Effect.asVoid(Effect.all([writer.cutOff, agree(others)], { concurrency: 2 })),
    after: (writer, others) => Effect.andThen(writer.rejoin, agree([writer, ...others]))
  },
  "of which another node is killed": {
    happens: (writer, [other, third]) => Effect.andThen(other!.kill, agree([writer, third!])),
    after: (writer, others) => Effect.andThen(start(others[0]!), agree([writer, ...others]))
  }
}

describeWith("galera")("a Galera cluster as several nodes, under load,", () => {
  for (const [index, [name, { after, happens }]] of Object.entries(fates).entries()) {
    const subject = onMariadb[index % onMariadb.length]!
    it.live(`${name}: nothing is lost or done twice, over ${subject.name}`, () =>
      Effect.gen(function*() {
        const cluster = yield* GaleraCluster.make()
        const nodes = yield* Effect.forEach(cluster.nodes, (node) =>
          Effect.map(FaultProxy.make(node.url), (clients) => ({
            node,
            clients,
            // What another node has committed may not be here yet, unless it is waited for.
            query: (statement: string) =>
              node.query(
                statement.startsWith("select") ? `set statement wsrep_sync_wait = 1 for ${statement}` : statement,
                [],
                "test"
              )
          })))
        // The node on which all programs agree.
        const ranks = Effect.forEach(nodes, ({ node }) =>
          Effect.match(Effect.all([statusOf(node, "wsrep_ready"), statusOf(node, "wsrep_local_index")]), {
            onFailure: () =>
              Infinity,
            onSuccess: ([ready, rank]) => ready === "ON" ? Number(rank) : Infinity
          }))
        const writer = Effect.map(ranks, (ranks) =>
          nodes[ranks.indexOf(Math.min(...ranks))]!)
        const report = yield* Failover.run({ url: urlOfNodes(cluster.nodes[0]!, nodes), nodes, primary: writer }, {
          seconds: 4,
          seed: 75,
          killEvery: 2,
          locking: "for update",
          layer: (url, pool) => layerOfNodes(subject, url, pool),
          blow: () =>
            Effect.gen(function*() {
              const { node: old } = yield* writer
              const others = cluster.nodes.filter((node) => node !== old)
              yield* happens(old, others)
              return { takenOverAt: yield* Clock.currentTimeMillis, after: after(old, others) }
            })
        })
        Failover.check(report)
      }).pipe(Effect.scoped), 300_000)
  }
})
