/** What befalls the primary of a cluster under Patroni. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { PatroniCluster, ServerError } from "../support/index.ts"
import { live, within } from "../support/servers/ServerError.ts"
import type { Blow } from "./failover.ts"

type Node = PatroniCluster.Node

/** Waits until another node than the old one takes writes. */
const takeOver = (nodes: ReadonlyArray<Node>, old: Node) =>
  Effect.andThen(
    Effect.raceAllFirst(nodes.filter((node) => node !== old).map((node) => node.leads)),
    Clock.currentTimeMillis
  )

const question = "select not pg_is_in_recovery() as leads, " +
  "exists (select from pg_stat_wal_receiver where status = 'streaming') as follows, " +
  "exists (select from pg_stat_replication where sync_state in ('sync', 'quorum')) as waits"

/** Waits until one node leads, for whose writes another one waits, and the others follow. */
const isSettled = (nodes: ReadonlyArray<Node>) =>
  Effect.repeat(
    Effect.forEach(nodes, (node) =>
      Effect.map(
        Effect.orElseSucceed(Effect.timeout(node.query(question), "2 seconds"), () => []),
        ([row]) =>
          row?.["leads"] === true ? (row["waits"] === true ? "leads" : "") : row?.["follows"] === true ? "follows" : ""
      ), { concurrency: "unbounded" }),
    {
      until: (all) => all.filter((is) => is === "leads").length === 1 && !all.includes(""),
      schedule: Schedule.spaced("100 millis")
    }
  )

/**
 * Waits until all are what they should be. On a machine with much to do the agents may change their minds once more, and
 * one of them may be left with an old view of etcd, by which it can agree on nothing: then they are started again.
 */
const settled = (nodes: ReadonlyArray<Node>): Effect.Effect<void, ServerError> =>
  Effect.asVoid(isSettled(nodes)).pipe(
    Effect.timeoutOrElse({
      duration: "40 seconds",
      orElse: () =>
        Effect.forEach(nodes, (node) => Effect.andThen(node.agent.kill, node.start), { discard: true }).pipe(
          Effect.andThen(isSettled(nodes)),
          within("90 seconds", () => "The nodes are not what they should be after 130 s")
        )
    }),
    live
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
    return { takenOverAt, after: Effect.andThen(undo(old), settled(nodes)) }
  })

/**
 * An agent that has stood still is ended and started. One that just goes on takes itself for the leader: Patroni 3.0 then
 * writes the key of the leader in etcd without asking whose it is by now (`_update_leader` in `dcs/etcd3.py`), and the
 * servers go back to the old primary and throw away what the new one has acknowledged.
 */
export const fates: Readonly<Record<string, Blow<Node>>> = {
  "whose primary hands over in order": Effect.fnUntraced(function*({ nodes, primary }) {
    const old = yield* primary
    // Patroni hands over to a standby that has everything, and names it itself.
    const [takenOverAt] = yield* Effect.all([takeOver(nodes, old), old.handOver], { concurrency: 2 })
    return { takenOverAt, after: settled(nodes) }
  }),
  "whose primary is killed": fate((old) => old.kill, (old) => old.start),
  "whose primary stands still": fate(
    (old) => old.pause,
    (old) => Effect.andThen(old.agent.kill, Effect.andThen(old.resume, old.start))
  ),
  "whose primary goes on while its agent stands still, so that there are two": fate(
    (old) => old.agent.pause,
    (old) => Effect.andThen(old.agent.kill, old.start)
  ),
  "whose primary is cut off from the others, and not from its clients": fate(
    (old) => old.isolate,
    (old) => old.reconnect
  ),
  "whose primary is cut off from everybody": fate((old) => old.cutOff, (old) => old.reconnect)
}
