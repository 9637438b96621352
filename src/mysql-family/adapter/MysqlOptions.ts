/**
 * The options of a MySQL or MariaDB database.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { LookupFunction } from "node:net"
import type * as Tls from "node:tls"

/**
 * How a connection is encrypted.
 *
 * | mode          | encrypted                  | protects from eavesdropping | from a server that pretends |
 * | ------------- | -------------------------- | --------------------------- | --------------------------- |
 * | `disable`     | never                      | no                          | no                          |
 * | `prefer`      | where the server offers it | from those who only listen  | no                          |
 * | `require`     | always                     | from those who only listen  | no                          |
 * | `verify-ca`   | always                     | yes                         | from another CA             |
 * | `verify-full` | always                     | yes                         | yes                         |
 *
 * **Details**
 *
 * Without an `sslrootcert`, the two verifying modes trust the certificate authorities that Node trusts. A Unix socket is
 * encrypted only where the mode demands it.
 *
 * @category options
 * @since 0.1.0
 */
export type SslMode = "disable" | "prefer" | "require" | "verify-ca" | "verify-full"

/**
 * The options of a MySQL or MariaDB database: those of `MysqlClient.layer` from `@effect/sql-mysql2` under the same
 * names, and ours.
 *
 * **Details**
 *
 * An explicit option wins over what the `url` says.
 *
 * @category options
 * @since 0.1.0
 */
export interface MysqlOptions {
  /** Where the database is: `mysql://user:password@host:3306/database`, or with `mariadb://`. */
  readonly url?: Redacted.Redacted | undefined
  /** Default: `"localhost"`. */
  readonly host?: string | undefined
  /** Default: 3306. */
  readonly port?: number | undefined
  /** The path of a Unix socket, instead of a host and a port. */
  readonly socketPath?: string | undefined
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
  readonly database?: string | undefined
  /** Default: whoever runs the program. */
  readonly username?: string | undefined
  /**
   * An effect is run for every connection, for passwords that do not live long. Where it fails, the attempt to connect
   * has failed, and is made again like any other.
   */
  readonly password?: Redacted.Redacted | Effect.Effect<Redacted.Redacted, unknown> | undefined

  /**
   * `true` is `sslmode: "verify-full"`. Options of TLS are verified in full too, unless they say
   * `rejectUnauthorized: false`. Not together with `sslmode`.
   */
  readonly ssl?:
    | boolean
    | (Tls.SecureContextOptions & {
      readonly servername?: string | undefined
      readonly rejectUnauthorized?: boolean | undefined
    })
    | undefined
  /** How connections are encrypted. Default: `"prefer"`, as with the clients of MySQL. */
  readonly sslmode?: SslMode | undefined
  /** The file with the certificates of the authorities to trust. Files are read for every connection. */
  readonly sslrootcert?: string | undefined
  /** The file with the client's certificate. Needs `sslkey`. */
  readonly sslcert?: string | undefined
  /** The file with the key of the client's certificate. */
  readonly sslkey?: string | undefined
  /** Whether packets are compressed, where the server can. Default: `false`. */
  readonly compress?: boolean | undefined
  /**
   * Whether the server's public key may be asked for over a network without TLS, to encrypt a password of
   * `caching_sha2_password` or `sha256_password` with it. A server that pretends can send a key of its own and read the
   * password. Default: `false`.
   */
  readonly allowPublicKeyRetrieval?: boolean | undefined

  /** How long opening a connection may take. Default: 5 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** How long a connection is silent before TCP asks whether the peer still lives. Default: 30 seconds. */
  readonly keepAlive?: Duration.Input | undefined
  /**
   * How long BEGIN, COMMIT, ROLLBACK, savepoints, pings and resets may take before the session is given up. A server
   * that answers at all answers these at once. Default: 5 seconds.
   */
  readonly controlTimeout?: Duration.Input | undefined
  /**
   * How long a statement may run. The server limits it by `max_statement_time` on MariaDB and by `max_execution_time` on
   * MySQL, which limits reads only. What it does not limit, or still runs one second later, is stopped by KILL QUERY.
   * `StatementTimeout.within` sets another limit for one piece of work. Default: no limit.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /** How long a statement may wait for a row lock, in whole seconds. Default: what the server says. */
  readonly lockTimeout?: Duration.Input | undefined

  /**
   * The `sql_mode` of every session. Default: the server's, and `STRICT_TRANS_TABLES` in any case, so that a value
   * that does not fit is an error and not another value, and on MySQL `TIME_TRUNCATE_FRACTIONAL`, so that no instant is
   * rounded to the next second or day. `"server"` leaves it alone.
   */
  readonly sqlMode?: string | undefined
  /** Settings of every session, such as `{ group_concat_max_len: 65536 }`. */
  readonly sessionVariables?: Readonly<Record<string, string | number | boolean>> | undefined
  /** What the server lists the connections as, in `performance_schema.session_connect_attrs`. Default: `"watertight"`. */
  readonly applicationName?: string | undefined
  /** Whether `DATETIME` and `TIMESTAMP` are strings, with all their digits, instead of a `Date`. Default: `false`. */
  readonly dateStrings?: boolean | undefined
  /**
   * What `undefined` is as a parameter: refused, which finds a value that was forgotten, or `"null"`, for code that relies
   * on it. Default: `"refuse"`.
   *
   * @since 0.2.0
   */
  readonly undefined?: "refuse" | "null" | undefined
  /** Whether statements are sent as text, for proxies that cannot prepare. Default: `false`. */
  readonly disablePreparedStatements?: boolean | undefined
  /** How many prepared statements a connection keeps. Default: 100. */
  readonly preparedStatementCacheSize?: number | undefined

  readonly spanAttributes?: Record<string, unknown> | undefined
  readonly transformResultNames?: ((name: string) => string) | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /**
   * Whether `transformResultNames` renames the keys inside of JSON documents too. Default: `false`, for they are data.
   *
   * @since 0.2.0
   */
  readonly transformJson?: boolean | undefined
}
