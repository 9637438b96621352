import type { ClusterRuntime } from "./ClusterRuntime.ts"
import type { Node } from "./state/Node.ts"

/** What each node is, and why, in one sentence for each. */
export const describe = (runtime: ClusterRuntime): string =>
  runtime.state.nodes.map((node) => describeNode(runtime, node)).join("; ")

const describeNode = (runtime: ClusterRuntime, node: Node): string => {
  const { state } = runtime
  const { name } = node.spec
  const because = node.why ?? runtime.members.get(node)?.error?.message
  switch (node.status) {
    case "Unknown":
      return `${name} has not answered yet${because === undefined ? "" : ` (${because})`}`
    case "Joining":
    case "Fenced":
    case "Unreachable":
      return `${name} is ${node.status}: ${reasonOf(runtime, node)}`
    case "Primary":
      return node === state.writer ? `${name} is the primary` : `${name} is the primary, and is being asked again`
    case "Replica":
      return `${name} is a replica ${freshness(state.staleness(node, runtime.now()), node)}`
  }
}

const reasonOf = (runtime: ClusterRuntime, node: Node): string => {
  const error = runtime.members.get(node)?.error?.message
  return [node.why, error].filter((each) => each !== undefined).join(": ")
}

const freshness = (staleness: number, node: Node): string => {
  if (staleness === Infinity) return "of which nobody knows how stale it is"
  const behind = `at most ${Math.round(staleness)} ms behind`
  if (node.isBehind) return `${behind}, which is too much`
  return node.isReturning ? `${behind}, which has come back just now` : behind
}
