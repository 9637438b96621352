/** The ledger of `test/transaction`, kept by a Galera cluster. */
import * as Effect from "effect/Effect"
import type { GaleraCluster, Seed, ServerError } from "../../support/index.ts"
import type * as Ledger from "../../transaction/ledger/ledger.ts"
import { layerOfLedger, type Subject } from "../support.ts"

/** One blow of fate for a cluster whose first node is never hit. */
type Blow = (cluster: GaleraCluster.GaleraCluster, seed: Seed) => Effect.Effect<void, ServerError>

/** The last node is cut off from the others, and its clients do not know it. */
export const cutOff: Blow = ({ nodes }, seed) =>
  nodes[2]!.cutOff.pipe(
    Effect.andThen(Effect.suspend(() => Effect.sleep(seed.int(0, 500)))),
    Effect.andThen(nodes[2]!.rejoin)
  )

/** The second one is killed, and the others agree to do without it. */
export const kill: Blow = ({ nodes }) => nodes[1]!.kill

/** It comes back, with the data of another one. */
export const restart: Blow = ({ nodes }) => Effect.andThen(nodes[1]!.start, nodes[1]!.synced)

/** The cluster as a place for the ledger, and what hits it in turn. */
export const place = (
  cluster: GaleraCluster.GaleraCluster,
  subject: Subject,
  blows: Iterable<Blow>
): Ledger.Place => {
  const query = (statement: string) => cluster.nodes[0]!.query(statement, [], "test")
  const fate = blows[Symbol.iterator]()
  return {
    server: Effect.as(Effect.andThen(query("drop table if exists account"), query("drop table if exists ledger")), {
      url: cluster.url,
      // What other nodes have committed may not be here yet, unless it is waited for.
      query: (statement) =>
        query(statement.startsWith("select") ? `set statement wsrep_sync_wait = 1 for ${statement}` : statement),
      strike: (seed) =>
        Effect.suspend(() => {
          const next = fate.next()
          return next.done === true ? Effect.void : next.value(cluster, seed)
        })
    }),
    layer: layerOfLedger(subject)
  }
}
