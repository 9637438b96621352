/** What befalls the primary of a cluster under Patroni. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { PatroniCluster, ServerError } from "../support/index.ts"
import type { Blow } from "./failover.ts"

type Node = PatroniCluster.Node

/** Waits until another node than the old one takes writes. */
const takeOver = (nodes: ReadonlyArray<Node>, old: Node) =>
  Effect.andThen(
    Effect.raceAllFirst(nodes.filter((node) => node !== old).map((node) => node.leads)),
    Clock.currentTimeMillis
  )

/** Something happens to the primary; another node takes its place; and when all is over it is undone. */
const fate = (
  happens: (old: Node) => Effect.Effect<void, ServerError>,
  undo: (old: Node) => Effect.Effect<void, ServerError>
): Blow<Node> =>
  Effect.fnUntraced(function*({ nodes, primary }) {
    const old = yield* primary
    yield* happens(old)
    const takenOverAt = yield* takeOver(nodes, old)
    return { takenOverAt, after: Effect.andThen(undo(old), old.follows) }
  })

export const fates: Readonly<Record<string, Blow<Node>>> = {
  "whose primary hands over in order": Effect.fnUntraced(function*({ nodes, primary }) {
    const old = yield* primary
    // Patroni hands over to a standby that has everything, and names it itself.
    const [takenOverAt] = yield* Effect.all([takeOver(nodes, old), old.handOver], { concurrency: 2 })
    return { takenOverAt, after: old.follows }
  }),
  "whose primary is killed": fate((old) => old.kill, (old) => old.start),
  "whose primary stands still": fate((old) => old.pause, (old) => old.resume),
  "whose primary goes on while its agent stands still, so that there are two": fate(
    (old) => old.agent.pause,
    (old) => old.agent.resume
  ),
  "whose primary is cut off from the others, and not from its clients": fate(
    (old) => old.isolate,
    (old) => old.reconnect
  ),
  "whose primary is cut off from everybody": fate((old) => old.cutOff, (old) => old.reconnect)
}
