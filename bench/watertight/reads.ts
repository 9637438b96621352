/**
 * A primary of PostgreSQL with two standbys, and a client whose reads go to the one or to the others. The servers belong
 * to the candidate: no other one needs three.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { Cluster, Reads } from "watertight"
import { Postgres } from "watertight/postgres"
import { PostgresServer } from "../../test/support/servers/index.ts"
import type { Subject, Target } from "../harness/model.ts"
import { postgresData } from "../harness/servers.ts"
import { built, operations } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

const start = Effect.gen(function*() {
  const primary = yield* PostgresServer.make({ settings: { shared_buffers: "128MB", autovacuum: false } })
  const standbys = [yield* primary.standby(), yield* primary.standby()]
  yield* Effect.forEach(postgresData, (statement) => primary.query(statement), { discard: true })
  return [primary, ...standbys]
})

/** Whether both replicas are known to be fresh. */
const areReady = Effect.flatMap(
  Effect.serviceOption(Cluster.Cluster),
  (found) =>
    Effect.repeat(Option.getOrThrow(found).topology, {
      until: ({ nodes }) =>
        nodes.filter(({ staleMillis, status }) => status === "Replica" && staleMillis < Infinity).length === 2,
      schedule: Schedule.spaced("20 millis")
    })
)

export const open = async ({ connections, options }: Target): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const scope = Scope.makeUnsafe()
  const nodes = await Effect.runPromise(Scope.provide(start, scope))
  const { close, context } = await built(Postgres.layer({
    nodes: nodes.map(({ host, port }) => ({ host, port })),
    username: nodes[0]!.user,
    database: "postgres",
    pool: { max: connections }
  }))
  await Effect.runPromise(Effect.provideContext(areReady, context))
  const { byKey, sleep } = operations(Context.get(context, SqlClient.SqlClient), "postgres")
  const where = options["replicas"] === true ? Reads.prefer : Reads.primary
  return {
    style: effects,
    close: async () => {
      await close()
      await Effect.runPromise(Scope.close(scope, Exit.void))
    },
    byKey: (id) => where(byKey(id)),
    sleep: (millis) => where(sleep(millis))
  }
}
