/** Several servers of one database: which they are, and what each of them is. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { Cluster, type NodeState } from "../../cluster/Topology.ts"
import { type Line, ok, problem, warning } from "./Check.ts"
import { applies, applying } from "./mysql.ts"
import { load, type Place } from "./target.ts"

/** The hosts of a URL that names several. */
export const placesOf = Effect.fnUntraced(function*(url: Redacted.Redacted) {
  const text = Redacted.value(url)
  const found = text.startsWith("postgres")
    ? Result.getOrUndefined((yield* load(() => import("../../postgres/adapter/url.ts"))).parse(text))?.hosts
    : Result.getOrUndefined((yield* load(() => import("../../mysql-family/adapter/url.ts"))).parseUrl(text))?.hosts
  return found as ReadonlyArray<Place> | undefined
})

/** What each server says that it is, as soon as all have answered. */
export const roles = (services: Context.Context<never>): Effect.Effect<ReadonlyArray<Line>> => {
  const cluster = Option.getOrUndefined(Context.getOption(services, Cluster))
  if (cluster === undefined) return Effect.succeed([])
  const isKnown = ({ staleMillis, status }: NodeState) =>
    status !== "Unknown" && (status !== "Replica" || staleMillis < Infinity)
  return cluster.topology.pipe(
    Effect.repeat({ until: ({ nodes }) => nodes.every(isKnown), schedule: Schedule.spaced("50 millis") }),
    Effect.timeoutOrElse({ duration: "3 seconds", orElse: () => cluster.topology }),
    Effect.flatMap(({ nodes }) =>
      Effect.forEach(nodes, (node) => Effect.map(replication(cluster, node), (lines) => [lineOf(node), ...lines]))
    ),
    Effect.map((lines) => lines.flat())
  )
}

/** How a replica of MariaDB applies. Others do not know what they are asked for. */
const replication = (cluster: Cluster, { name, status }: NodeState): Effect.Effect<ReadonlyArray<Line>> => {
  const pool = status === "Replica" && !cluster.name.startsWith("postgres") ? cluster.node(name)?.pool : undefined
  if (pool === undefined) return Effect.succeed([])
  return pool.use((connection) => connection.executeUnprepared(applying, [], undefined)).pipe(
    Effect.map((rows) => applies(`replication ${name}`, rows[0])),
    Effect.timeout("2 seconds"),
    Effect.catch(() => Effect.succeed([]))
  )
}

const lineOf = ({ name, staleMillis, status, why = "it does not say why" }: NodeState): Line => {
  const check = `node ${name}`
  switch (status) {
    case "Primary":
      return ok(check, "the primary")
    case "Replica":
      return staleMillis < Infinity
        ? ok(check, `a replica, at most ${Math.round(staleMillis)} ms behind`)
        : warning(
          check,
          "a replica of which nobody knows how far it is behind",
          "it serves no reads: does it replicate?"
        )
    case "Joining":
      return warning(check, `not in use: ${why}`, "it is used when that is over")
    case "Fenced":
      return problem(check, `nothing is written there: ${why}`, "make it a replica of the primary, or stop it")
    default:
      return problem(check, `cannot be reached: ${why}`, "start it, or take it out of the URL")
  }
}
