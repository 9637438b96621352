/**
 * The options of a PostgreSQL database.
 *
 * @since 0.1.0
 */
import type { PgPoolConfig } from "@effect/sql-pg/PgClient"
import type * as Duration from "effect/Duration"
import type { LookupFunction } from "node:net"
import type { Password } from "../../options/password.ts"
import type { Options as NotificationOptions } from "../Notifications.ts"
import type { Codecs } from "../types/TypeStore.ts"
import type { SecurityOptions } from "./security.ts"

export type { SecurityOptions, SslMode } from "./security.ts"

/**
 * The options of a PostgreSQL database: those of `PgClient.layer` from `@effect/sql-pg` under the same names, and
 * ours.
 *
 * **Details**
 *
 * A `url` is a connection URI as `libpq` reads it. An explicit option wins over what the URL says.
 *
 * @category options
 * @since 0.1.0
 */
export interface PostgresOptions extends Omit<PgPoolConfig, "password">, SecurityOptions {
  /**
   * An effect is run for every connection, for passwords that do not live long. Where it fails, the attempt to connect
   * has failed, and is made again like any other.
   */
  readonly password?: Password | undefined
  /**
   * Asked for the addresses of `host`, as the `lookup` of Node's `net.connect`. Default: the system.
   *
   * @since 0.2.0
   */
  readonly lookup?: LookupFunction | undefined
  /**
   * Only addresses of IPv4 or of IPv6. Default: both, each of them in turn until one answers.
   *
   * @since 0.2.0
   */
  readonly family?: 4 | 6 | undefined
  /**
   * How long a statement may run. The server enforces it; if its answer does not arrive shortly after, the session is
   * given up. Default: no limit.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /** How long a statement may wait for a lock. The server enforces it. Default: no limit. */
  readonly lockTimeout?: Duration.Input | undefined
  /** How long a transaction may do nothing before the server ends the session. Default: no limit. */
  readonly idleInTransactionTimeout?: Duration.Input | undefined
  /**
   * How long BEGIN, COMMIT, ROLLBACK, savepoints, pings and resets may take before the session is given up. A server
   * that answers at all answers these at once. Default: 5 seconds.
   */
  readonly controlTimeout?: Duration.Input | undefined
  /**
   * What stands between the program and the server. `"transaction"` is a pooler that hands out server connections for
   * a transaction at a time, as PgBouncer, pgcat, Supavisor or RDS Proxy do: there are no named statements then unless
   * `prepare` says so, no time limits of the session, no `LISTEN` and no advisory locks of sessions.
   */
  readonly pooler?: "transaction" | undefined
  /** How the connection of `Notifications` is kept alive and renewed. */
  readonly notifications?: NotificationOptions | undefined
  /**
   * How the values of some types are read and written, by the names of the types: `{ int8: Types.int8AsNumber }`. What
   * is made of such a type, as an array of it, follows.
   */
  readonly codecs?: Codecs | undefined
  /**
   * What a parameter is that is `undefined`. It is refused by default, because it is rarely meant: `where id = ${id}`
   * with an `undefined` finds nothing, without a word. `"null"` takes it for null, as other libraries do. In
   * `sql.insert` and `sql.update` it is null in any case. Default: `"refuse"`.
   *
   * @since 0.2.0
   */
  readonly undefined?: "refuse" | "null" | undefined
  /**
   * Whether a statement is refused that is run for no tenant: outside of `Tenant.run`, and of `Tenant.none`, which says
   * so. Default: `"optional"`.
   *
   * @since 0.2.0
   */
  readonly tenant?: "required" | "optional" | undefined
  /** How many rows of a stream are fetched at a time, at most: fewer when rows are large or slow. Default: 4000. */
  readonly fetchSize?: number | undefined
}
