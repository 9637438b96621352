/**
 * Which replica serves a read: of two at random, the one that is less busy and quicker.
 *
 * To take the least busy of all would send everybody to the same node as soon as one looks better, until it is worse
 * than the others. Of two at random, even an old picture of the load does no such harm.
 */
import type { Node } from "./Node.ts"

/** What a read asks for. */
export interface Query {
  /** How stale the node may be at the most, in milliseconds; `Infinity` for no bound of its own. */
  readonly bound: number
  /** Whether it may be a node of which nobody knows how stale it is. */
  readonly unproved?: boolean | undefined
  /** The zone that is preferred. */
  readonly zone?: string | undefined
  /** Only nodes that are kept for this. */
  readonly use?: string | undefined
  /** What else must be known of the node. */
  readonly accepts?: ((node: Node) => boolean) | undefined
}

export interface Choice {
  readonly nodes: ReadonlyArray<Node>
  readonly query: Query
  readonly now: number
  /** How long a node that has just come into use is spared, in milliseconds. */
  readonly warmUp: number
  readonly random: () => number
}

/** How long a node is left out after a call has failed there because of the node, if there is another one. */
const spare = 1_000
/** Above this part of its connections, a node of one's own zone is not preferred any more. */
const busy = 0.8
/** How quickly the memory of slow calls fades, so that a node that has been slow is tried again. */
const memory = 10_000

/** Whether a node serves this read at all. */
export const isEligible = (node: Node, query: Query, now: number): boolean =>
  node.status === "Replica" && !node.isBehind && !node.isReturning && !node.isSuspected && node.spec.reads !== false &&
  node.spec.use === query.use && !node.load.isOpen && (
    query.accepts === undefined || query.accepts(node)
  ) && (
    query.unproved === true || (node.provedAt > -Infinity && now - node.provedAt <= query.bound)
  )

/** What is compared: how long a new call would take there, in the units of the fastest. */
export const costOf = (node: Node, now: number, warmUp: number): number => {
  const latency = 1 + node.latency * Math.exp(Math.min(0, node.latencyAt - now) / memory)
  const age = now - node.servesSince
  const ramp = age >= warmUp ? 1 : Math.max(0.1, age / warmUp)
  return (node.load.inFlight + 1) * latency / ramp
}

/** The node for a read, or `undefined` if none is fit. */
export const choose = (choice: Choice): Node | undefined => {
  const { query } = choice
  if (query.zone !== undefined) {
    const near = draw(choice, true, true)
    if (near !== undefined && near.load.inFlight < near.load.max * busy) return near
  }
  return draw(choice, false, true) ?? draw(choice, false, false)
}

const draw = (choice: Choice, near: boolean, careful: boolean): Node | undefined => {
  const count = countOf(choice, near, careful)
  if (count === 0) return undefined
  const { now, random, warmUp } = choice
  const first = Math.min(count - 1, Math.floor(random() * count))
  const a = nth(choice, near, careful, first)
  if (count === 1) return a
  const step = 1 + Math.min(count - 2, Math.floor(random() * (count - 1)))
  const b = nth(choice, near, careful, (first + step) % count)
  return costOf(b, now, warmUp) < costOf(a, now, warmUp) ? b : a
}

const fits = (node: Node, { now, query }: Choice, near: boolean, careful: boolean): boolean =>
  isEligible(node, query, now) && (!near || node.spec.zone === query.zone) &&
  (!careful || now - node.failedAt > spare)

const countOf = (choice: Choice, near: boolean, careful: boolean): number => {
  let count = 0
  for (const node of choice.nodes) if (fits(node, choice, near, careful)) count++
  return count
}

const nth = (choice: Choice, near: boolean, careful: boolean, index: number): Node => {
  let left = index
  for (const node of choice.nodes) {
    if (fits(node, choice, near, careful) && left-- === 0) return node
  }
  return choice.nodes[0]!
}
