/**
 * What is special to MySQL and MariaDB: the client's own service.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { MysqlOptions } from "./Config.ts"

/**
 * The runtime type identifier of `MysqlClient`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export const TypeId: TypeId = "~watertight/MysqlClient"

/**
 * The type-level identifier of `MysqlClient`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export type TypeId = "~watertight/MysqlClient"

/**
 * What is known of a server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Server {
  /** As it calls itself, such as `"10.11.19-MariaDB"`. */
  readonly version: string
  readonly isMariadb: boolean
  /** Whether 1205, a lock wait timeout, rolls back the whole transaction instead of the statement. */
  readonly rollbackOnTimeout: boolean
  /** The most bytes of a statement or a row. */
  readonly maxAllowedPacket: number
}

/**
 * A `SqlClient` on MySQL or MariaDB.
 *
 * @category models
 * @since 0.1.0
 */
export interface MysqlClient extends SqlClient {
  readonly [TypeId]: TypeId
  readonly config: MysqlOptions
  /** What is known of the server that was met last. Connects if none was met yet. */
  readonly server: Effect.Effect<Server, SqlError>
}

/**
 * The service of `MysqlClient`.
 *
 * @category services
 * @since 0.1.0
 */
export const MysqlClient = Context.Service<MysqlClient>("watertight/MysqlClient")
