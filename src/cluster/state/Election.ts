/**
 * Which node is the primary, and what the others are.
 *
 * | a node                                          | is                                             |
 * | ----------------------------------------------- | ---------------------------------------------- |
 * | that refuses, or has not answered twice         | `Unreachable`                                  |
 * | that has not answered yet                       | `Unknown`                                      |
 * | of another lineage                              | `Fenced`                                       |
 * | that recovers, or has lost its majority         | `Joining`                                      |
 * | that takes writes, of an older generation       | `Fenced`                                       |
 * | of a generation that a person has given up      | `Fenced`                                       |
 * | that takes writes, alone                        | `Primary`                                      |
 * | that takes writes, beside another such server   | see `settle`                                   |
 * | that follows, of an older generation or an unknown one | `Joining`                               |
 * | that follows                                    | `Replica`                                      |
 * | that is a peer                                  | `Primary` for one of them, else `Replica`, see `pickPeer` |
 */
import type { Node, Status } from "./Node.ts"

/** What a node is now. */
export interface Verdict {
  readonly status: Status
  readonly why?: string | undefined
}

export interface Result {
  readonly verdicts: ReadonlyMap<Node, Verdict>
  readonly primary: Node | undefined
  /** Those that say that they are the primary while nothing tells which of them is. They have to be asked again. */
  readonly rivals: ReadonlyArray<Node>
}

export interface Situation {
  readonly nodes: ReadonlyArray<Node>
  readonly lineage: string | undefined
  /** The highest generation that anybody has told of. */
  readonly generation: number | undefined
  readonly current: Node | undefined
  readonly pinned: Node | undefined
  /** Since when rivals are known; what they said before counts for nothing. */
  readonly rivalsSince: number
}

export const elect = (situation: Situation): Result => {
  const verdicts = new Map<Node, Verdict>()
  const claimants: Array<Node> = []
  const peers: Array<Node> = []
  for (const node of situation.nodes) {
    const verdict = judge(node, situation)
    if (verdict === "Claimant") claimants.push(node)
    else if (verdict === "Peer") peers.push(node)
    else verdicts.set(node, verdict)
  }
  const { primary, rivals } = claimants.length > 0
    ? settle(claimants, situation, verdicts)
    : { primary: pickPeer(peers, situation), rivals: [] }
  for (const peer of peers) {
    if (peer !== primary) verdicts.set(peer, primary === undefined ? early : { status: "Replica" })
  }
  if (primary !== undefined) verdicts.set(primary, { status: "Primary" })
  return { verdicts, primary, rivals }
}

const early: Verdict = { status: "Joining", why: "other nodes have not answered yet" }

const judge = (node: Node, situation: Situation): Verdict | "Claimant" | "Peer" => {
  const { observation } = node
  if (node.isRefusing) return { status: "Unreachable", why: "it refuses connections" }
  if (node.misses >= 2) return { status: "Unreachable", why: `it has not answered ${node.misses} times` }
  if (observation === undefined) return { status: "Unknown" }
  const { generation, lineage, role, why } = observation
  if (lineage !== undefined && situation.lineage !== undefined && lineage !== situation.lineage) {
    return { status: "Fenced", why: `it belongs to another cluster: ${lineage} instead of ${situation.lineage}` }
  }
  if (role === "unfit") return { status: "Joining", why: why ?? "it says that it must not be used" }
  // A newer one raises that of the cluster, unless a person has given it up.
  if (generation !== undefined && situation.generation !== undefined && generation > situation.generation) {
    return { status: "Fenced", why: `a person has given up what it belongs to, ${ages(generation, situation)}` }
  }
  const isOlder = generation !== undefined && situation.generation !== undefined && generation < situation.generation
  if (role === "replica") {
    if (isOlder) return { status: "Joining", why: `it follows an older primary, ${ages(generation, situation)}` }
    // It may have parted from the history of the cluster, and positions do not tell.
    if (generation === undefined && situation.generation !== undefined) {
      return { status: "Joining", why: "it does not say which primary it follows" }
    }
    return { status: "Replica" }
  }
  if (isOlder) return { status: "Fenced", why: `another server has become the primary, ${ages(generation, situation)}` }
  return role === "peer" ? "Peer" : "Claimant"
}

const ages = (generation: number, situation: Situation): string =>
  `of generation ${generation} while the cluster is at ${situation.generation}`

/**
 * Which of those that say so is the primary.
 *
 * - Two addresses of one server are one.
 * - A server that was the primary before this one is fenced, where there are no generations to tell.
 * - Otherwise both are asked again. If they stay with it, it is a split brain: nobody is the primary, until one of them is
 *   gone or a person has pinned one.
 */
const settle = (
  claimants: ReadonlyArray<Node>,
  situation: Situation,
  verdicts: Map<Node, Verdict>
): Pick<Result, "primary" | "rivals"> => {
  const { current, pinned, rivalsSince } = situation
  const preferred = pick(claimants, situation)!
  const rivals = claimants.filter((node) => {
    if (node === preferred) return false
    if (node.observation!.server === preferred.observation!.server) {
      verdicts.set(node, { status: "Joining", why: `it is the same server as ${preferred.spec.name}` })
      return false
    }
    if (preferred === pinned || isSuccessor(preferred, node, current)) {
      verdicts.set(node, { status: "Fenced", why: `${preferred.spec.name} has taken its place` })
      return false
    }
    return true
  })
  if (rivals.length === 0) return { primary: preferred, rivals }
  const all = [preferred, ...rivals]
  const isSure = all.every((node) => node.observedAt > rivalsSince)
  for (const node of all) {
    if (isSure) verdicts.set(node, { status: "Fenced", why: `${names(all)} say that they are the primary` })
    else if (node !== current) {
      verdicts.set(node, { status: "Joining", why: "it is asked again whether it is the primary" })
    }
  }
  return { primary: !isSure && current !== undefined && all.includes(current) ? current : undefined, rivals: all }
}

/** Whether it is known here that one server has followed the other, where no generation says so. */
const isSuccessor = (node: Node, other: Node, current: Node | undefined): boolean =>
  node === current && other.electedAt > -Infinity && other.generation === undefined

export const names = (nodes: ReadonlyArray<Node>): string => nodes.map(({ spec }) => spec.name).join(" and ")

/**
 * Which of the peers takes the writes. All programs are to choose the same one, so nobody chooses before each node has
 * answered or has had its time, and one that has just come back is left out until it has answered again.
 */
const pickPeer = (peers: ReadonlyArray<Node>, situation: Situation): Node | undefined => {
  const { current, nodes } = situation
  const isEarly = nodes.some(({ isRefusing, misses, observation }) =>
    observation === undefined && misses === 0 && !isRefusing
  )
  if (current === undefined && isEarly) return undefined
  const steady = peers.filter(({ isReturning }) => !isReturning)
  const all = steady.length > 0 ? steady : peers
  const lowest = Math.min(...all.map(rankOf))
  return pick(all.filter((node) => rankOf(node) === lowest || node === situation.pinned), situation)
}

const rankOf = ({ observation }: Node): number => observation?.rank ?? 0

/** The pinned one, or the one that is the primary already, or the first that may be. */
const pick = (nodes: ReadonlyArray<Node>, { current, pinned }: Situation): Node | undefined =>
  nodes.find((node) => node === pinned) ?? nodes.find((node) => node === current) ?? nodes[0]
