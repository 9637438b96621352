/** Clients that write and read a number which only grows, and what is needed to watch them. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Cluster from "../../src/cluster/Cluster.ts"
import type * as Histories from "./histories.ts"

export const now = () => performance.now()

export type Guard = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export const none: Guard = (self) => self

/** The cluster, when each of its nodes is known to be so far behind at the most. */
export const ready = (nodes: number): Effect.Effect<Cluster.Cluster> =>
  Effect.gen(function*() {
    const found = yield* Effect.serviceOption(Cluster.Cluster)
    if (found._tag === "None") throw new Error("no cluster")
    yield* Effect.repeat(found.value.topology, {
      until: (topology) => topology.nodes.filter(({ staleMillis }) => staleMillis < Infinity).length === nodes,
      schedule: Schedule.spaced("20 millis")
    })
    return found.value
  })

/** Asks servers in turn, as a client does that knows no guard. */
export const roundRobin = <S, E>(servers: ReadonlyArray<S>, read: (server: S) => Effect.Effect<number, E>) => {
  let turn = 0
  return Effect.orDie(Effect.suspend(() => read(servers[turn++ % servers.length]!)))
}

/** Some clients, each of which writes and reads by turns. `session` is around all that one of them does. */
export const record = <R>(options: {
  readonly session: Guard
  /** Adds one to the number, and succeeds with what it is then. */
  readonly write: Effect.Effect<number, SqlError, R>
  readonly read: Effect.Effect<number, SqlError, R>
  readonly bound?: number | undefined
}): Effect.Effect<Histories.History, SqlError, Exclude<R, Scope.Scope>> =>
  Effect.gen(function*() {
    const writes: Array<Histories.Write> = []
    const reads: Array<Histories.Read> = []
    const client = (client: string) =>
      Effect.gen(function*() {
        for (let i = 0; i < 8; i++) {
          const value = yield* options.write
          writes.push({ client, value, acknowledgedAt: now() })
          for (let j = 0; j < 3; j++) {
            const startedAt = now()
            const value = yield* options.read
            reads.push({ client, value, startedAt, endedAt: now(), bound: options.bound })
          }
        }
      }).pipe(options.session)
    yield* Effect.all(["a", "b", "c"].map(client), { concurrency: "unbounded" })
    return { writes, reads }
  }).pipe(Effect.scoped)
