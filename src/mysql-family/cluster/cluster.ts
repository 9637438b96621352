/** Several servers of MySQL or MariaDB as one. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Adapter, Connection } from "../../Adapter.ts"
import type { Candidates, ClusterAdapter, NodeOptions, NodesOptions } from "../../cluster/ClusterAdapter.ts"
import { InvalidOptions } from "../../options/InvalidOptions.ts"
import { unwrap } from "../../pool/LeasedConnection.ts"
import type { MysqlOptions } from "../adapter/MysqlOptions.ts"
import { isWritable } from "../adapter/serverRole.ts"
import { parseUrl, type UrlOptions } from "../adapter/url.ts"
import type { Session } from "../session/Session.ts"
import { observe } from "./observe.ts"

const defaultPort = 3306

/** The cluster that the options name; `undefined` if they name one server. */
export const clusterOf = (
  module: "Mysql" | "Mariadb",
  options: MysqlOptions & NodesOptions,
  adapterOf: (options: MysqlOptions) => Effect.Effect<Adapter, InvalidOptions>
): Effect.Effect<ClusterAdapter | undefined, InvalidOptions> =>
  Effect.suspend(() => {
    const { nodes, replicas, zone, ...own } = options
    const invalid = (option: string, problem: string) => Effect.fail(new InvalidOptions({ module, option, problem }))
    // Whatever else is wrong with it is said where the options are checked.
    const url: UrlOptions = Redacted.isRedacted(options.url)
      ? Result.getOrElse(parseUrl(Redacted.value(options.url)), (): UrlOptions => ({}))
      : {}
    const candidates: Candidates | undefined = nodes ??
      (options.host === undefined && options.socketPath === undefined ? url.hosts : undefined)
    if (candidates === undefined) {
      if (zone !== undefined) return invalid("zone", "only makes sense with several `nodes`")
      if (replicas !== undefined) return invalid("replicas", "only makes sense with several `nodes`")
      return Effect.succeed(undefined)
    }
    if (nodes !== undefined && (options.host !== undefined || options.socketPath !== undefined)) {
      return invalid("nodes", "cannot be given together with `host` or `socketPath`")
    }
    const port = options.port ?? defaultPort
    const { database = url.database ?? "" } = options
    return Effect.succeed<ClusterAdapter>({
      name: `${module.toLowerCase()}://${namesOf(candidates, port)}/${database}`,
      candidates,
      target: "primary",
      zone,
      replicas,
      adapterOf: (node: NodeOptions) => adapterOf({ ...own, host: node.host, port: node.port ?? port }),
      isPrimary,
      observe: (connection, positions) => observe(sessionOf(connection), positions)
    })
  })

const namesOf = (candidates: Candidates, port: number): string =>
  Array.isArray(candidates)
    ? (candidates as ReadonlyArray<NodeOptions>).map((node) => `${node.host}:${node.port ?? port}`).join(",")
    : "cluster"

const sessionOf = (connection: Connection): Session => unwrap(connection) as Session

/** What the server said when the session began. A session notices by itself when that changes, and is retired. */
const isPrimary = (connection: Connection): boolean | undefined => {
  const { readOnly } = sessionOf(connection).server
  return readOnly === undefined ? undefined : isWritable(readOnly)
}
