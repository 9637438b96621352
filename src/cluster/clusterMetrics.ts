/**
 * The metrics of a cluster. They are read when metrics are, and cost a call nothing.
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import { attributesOf, register } from "../pool/telemetry/series.ts"
import type { ClusterRuntime } from "./ClusterRuntime.ts"
import type { Routed, Router, Unusable } from "./route/Router.ts"
import type { Node, Status } from "./state/Node.ts"

const statuses: ReadonlyArray<Status> = ["Unknown", "Joining", "Primary", "Replica", "Unreachable", "Fenced"]
const routes: ReadonlyArray<keyof Routed> = ["replica", "overflow", "refused"]
const problems: ReadonlyArray<keyof Unusable> = ["Unreadable", "Foreign", "OtherGeneration", "Ahead"]

/** Registers the metrics of a cluster. Returns what removes them. */
export const registerCluster = (
  context: Context.Context<never>,
  runtime: ClusterRuntime,
  { routed, unusable }: Router
): () => void => {
  const { cluster, state } = runtime
  const own = { "watertight.database": cluster.name }
  const gauge = (
    name: string,
    unit: string,
    description: string,
    attributes: Record<string, string>,
    get: () => number
  ) =>
    register(
      context,
      Metric.gauge(name, { description, attributes: attributesOf(context, { ...own, ...attributes }, unit) }),
      () => ({ value: get() })
    )
  const registrations = [
    ...statuses.map((status) =>
      gauge("watertight.cluster.nodes", "{node}", "How many nodes are what", {
        "watertight.role": status.toLowerCase()
      }, () => state.nodes.filter((node) => node.status === status).length)
    ),
    gauge(
      "watertight.cluster.writable",
      "1",
      "Whether there is a primary that takes writes",
      {},
      () => state.writer === undefined ? 0 : 1
    ),
    gauge(
      "watertight.cluster.generation",
      "1",
      "The timeline, or the number of the group's view",
      {},
      () => state.generation ?? 0
    ),
    ...problems.map((problem) =>
      register(
        context,
        Metric.counter("watertight.causal.unusable", {
          description:
            "How often what a region of Causal must see proved nothing, so that the primary served its reads",
          attributes: attributesOf(context, { ...own, "watertight.reason": problem }, "{region}"),
          incremental: true
        }),
        () => ({ count: unusable[problem], incremental: true })
      )
    ),
    ...routes.map((route) =>
      register(
        context,
        Metric.counter("watertight.reads.routed", {
          description: "How often reads inside Reads went to a replica, to the primary instead, or nowhere",
          attributes: attributesOf(context, { ...own, "watertight.route": route }, "{read}"),
          incremental: true
        }),
        () => ({ count: routed[route], incremental: true })
      )
    )
  ]
  return () => {
    for (const { remove } of registrations) remove()
  }
}

/** Registers what is measured of one node. Returns what removes it. */
export const registerNode = (context: Context.Context<never>, runtime: ClusterRuntime, node: Node): () => void => {
  const attributes = { "watertight.database": runtime.cluster.name, "watertight.node": node.spec.name }
  const gauge = (name: string, unit: string, description: string, get: () => number) =>
    register(
      context,
      Metric.gauge(name, { description, attributes: attributesOf(context, attributes, unit) }),
      () => ({ value: get() })
    )
  const registrations = [
    gauge(
      "watertight.node.staleness",
      "s",
      "How far behind a replica is at the most",
      () => runtime.state.staleness(node, runtime.now()) / 1_000
    ),
    gauge(
      "watertight.node.in_flight",
      "{read}",
      "How many reads are on a node or wait for it",
      () => node.load.inFlight
    ),
    gauge(
      "watertight.node.primary",
      "1",
      "Whether a node takes the writes",
      () => runtime.state.writer === node ? 1 : 0
    )
  ]
  return () => {
    for (const { remove } of registrations) remove()
  }
}
