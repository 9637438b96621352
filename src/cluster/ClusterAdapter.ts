/**
 * What a database provides so that several of its servers can be used as one.
 *
 * **Details**
 *
 * The cluster asks a server what it is on a connection of its own, one for each node and never once for a statement. What
 * a server is, it says itself; `candidates` only names the servers that there may be.
 *
 * | database                  | role by                                  | generation              | position                 |
 * | ------------------------- | ---------------------------------------- | ----------------------- | ------------------------ |
 * | PostgreSQL                | `pg_is_in_recovery()`, read-only default | timeline                | log position (LSN)       |
 * | MySQL, one primary        | `read_only`, `super_read_only`           | none                    | `gtid_executed`          |
 * | MySQL, group              | the members' table, with a majority      | none                    | `gtid_executed`          |
 * | MariaDB                   | `read_only`                              | none                    | `gtid_current_pos`       |
 * | Galera                    | `wsrep_ready` and the like: `peer`       | none                    | `wsrep_last_committed`   |
 *
 * @since 0.2.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type * as Stream from "effect/Stream"
import type { Adapter, Connection } from "../Adapter.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import type { Observation } from "./state/Observation.ts"

/**
 * A server that may belong to the cluster.
 *
 * @category options
 * @since 0.2.0
 */
export interface NodeOptions {
  /** Its host name or address, or the folder of its socket where the database has such. */
  readonly host: string
  /** Its port. Default: that of the database. */
  readonly port?: number | undefined
  /** Where it is, to be compared with the option `zone`. Default: nowhere. */
  readonly zone?: string | undefined
  /** Whether it may serve reads while it is a replica. Default: `true`. */
  readonly reads?: boolean | undefined
  /** What it is kept for: only reads that ask for this with `Reads.on` go there. Default: for all reads. */
  readonly use?: string | undefined
}

/**
 * Servers, as they are, or as they are found out. A stream may change them while the program runs.
 *
 * @category options
 * @since 0.2.0
 */
export type Candidates =
  | ReadonlyArray<NodeOptions>
  | Effect.Effect<ReadonlyArray<NodeOptions>, SqlError>
  | Stream.Stream<ReadonlyArray<NodeOptions>, SqlError>

/**
 * Which server a client without `Reads` wants, in the words of `libpq`.
 *
 * @category options
 * @since 0.2.0
 */
export type Target = "any" | "read-write" | "read-only" | "primary" | "standby" | "prefer-standby"

/**
 * How several servers of one database are used as one.
 *
 * @category models
 * @since 0.2.0
 */
export interface ClusterAdapter {
  /** The cluster, as people should read it in an error or a metric. Never a secret. */
  readonly name: string
  readonly candidates: Candidates
  /** What statements outside of `Reads` want. `"primary"` unless a URL says otherwise. */
  readonly target: Target
  /** The zone of this program. */
  readonly zone: string | undefined
  /** How replicas are used; checked by the cluster. */
  readonly replicas: ReplicaOptions | undefined
  /** The adapter of one server. It connects to nothing yet. */
  readonly adapterOf: (node: NodeOptions) => Effect.Effect<Adapter, InvalidOptions>
  /** What else belongs to the adapter that stands for all servers. */
  readonly together?: ((adapter: Adapter) => Adapter) | undefined
  /**
   * What a connection knows of its server without asking, from how it began or from what the server has told since:
   * whether it is a primary. `undefined` if it does not know; then `observe` is asked before the connection is lent.
   */
  readonly isPrimary: (connection: Connection) => boolean | undefined
  /**
   * Asks a server what it is, and which of these positions it has: the newest first, as `Observation.position` of a
   * primary gave them. One round trip, without rights that an ordinary role has not. It has the time limit of whoever
   * asks. Must not take part in a transaction.
   */
  readonly observe: (
    connection: Connection,
    positions: ReadonlyArray<string>
  ) => Effect.Effect<Observation, SqlError>
}

/**
 * How replicas are used.
 *
 * @category options
 * @since 0.2.0
 */
export interface ReplicaOptions {
  /**
   * How far a replica may be behind before it serves no reads; it comes back when it has caught up to half of it.
   * Default: 10 seconds.
   */
  readonly maxStaleness?: Duration.Input | undefined
  /**
   * What becomes of a read that says nothing about it when no replica is fit: the primary serves it, as far as
   * `overflow` allows, or it fails with `NoReplica`. Default: `"primary"`.
   */
  readonly otherwise?: "primary" | "fail" | undefined
  /** The part of the primary's connections that such reads may have, from 0 to 1. Default: 0.25. */
  readonly overflow?: number | undefined
  /** How often each node is asked what it is. Default: 1 second. */
  readonly probe?: Duration.Input | undefined
  /** How long a read waits for a replica that is fit, before `otherwise` is done. Default: 200 milliseconds. */
  readonly wait?: Duration.Input | undefined
  /** How long a node that has come back gets less than its part of the reads. Default: 10 seconds. */
  readonly warmUp?: Duration.Input | undefined
}

/**
 * The options of several servers.
 *
 * @category options
 * @since 0.2.0
 */
export interface NodesOptions {
  /**
   * The servers that there may be, instead of one `host`. As an effect or a stream they are found out: by DNS, or from
   * whoever manages the cluster. They are candidates only: what a server is, it says itself. Default: the hosts of the URL.
   */
  readonly nodes?: Candidates | undefined
  /** Where this program runs: replicas with the same `zone` are preferred. Default: nowhere. */
  readonly zone?: string | undefined
  /** How replicas are used by what runs inside `Reads`. */
  readonly replicas?: ReplicaOptions | undefined
}
