/**
 * What is special to MySQL and MariaDB: the client's own service.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Row } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import type { Ok } from "../statement/results.ts"
import type { MysqlOptions } from "./MysqlOptions.ts"

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

  /**
   * A value as a JSON document.
   *
   * **Details**
   *
   * Objects and arrays are JSON by themselves where a document is stored: as a value of `sql.insert`, `sql.update` and
   * `sql.updateValues`, and as an argument of the functions of JSON. `sql.json` is for every other place, and for
   * documents that are no object: `sql.json(null)` is the `null` of JSON.
   *
   * @since 0.2.0
   */
  readonly json: (value: unknown) => Fragment

  /**
   * Inserts rows, and changes those instead whose primary key or any unique key is there already.
   *
   * **Details**
   *
   * All rows have the columns of the first. `update` says which columns of an existing row are changed; by default all
   * that are given, and none if the list is empty.
   *
   * **Gotchas**
   *
   * The server counts a row that it inserted once in `affectedRows`, and one that it changed twice.
   */
  readonly upsert: <A extends Record<string, unknown>>(
    table: string,
    rows: ReadonlyArray<A>,
    options?: { readonly update?: ReadonlyArray<keyof A & string> | undefined }
  ) => Effect.Effect<Ok, SqlError>

  /** The same, and returns the rows as they are afterwards. MariaDB only. */
  readonly upsertReturning: <A extends Record<string, unknown>>(
    table: string,
    rows: ReadonlyArray<A>,
    options?: {
      readonly update?: ReadonlyArray<keyof A & string> | undefined
      /** Default: all columns. */
      readonly returning?: ReadonlyArray<string> | undefined
    }
  ) => Effect.Effect<ReadonlyArray<Row>, SqlError>

  /**
   * A condition, or a measure of relevance, for columns with a `FULLTEXT` index.
   *
   * **Details**
   *
   * | mode         | finds                                                                          |
   * | ------------ | ------------------------------------------------------------------------------ |
   * | `natural`    | rows with any of the words, the best first (the default)                        |
   * | `expansion`  | the same, and rows like those                                                   |
   * | `every`      | rows with every one of the words, whatever signs a person has typed among them  |
   * | `prefix`     | rows with words that begin with every one of the words                          |
   * | `boolean`    | what the expression says, with all its operators                                |
   *
   * **Gotchas**
   *
   * An expression of `boolean` with operators in the wrong place is a syntax error of the server: for what a person has
   * typed there are `every` and `prefix`.
   */
  readonly match: (
    columns: ReadonlyArray<string>,
    words: string,
    mode?: "natural" | "expansion" | "every" | "prefix" | "boolean"
  ) => Fragment

  /** Counts the keys of a table again, for the optimizer. */
  readonly analyze: (table: string) => Effect.Effect<ReadonlyArray<TableMessage>, SqlError>
  /** Looks for errors in a table. */
  readonly check: (table: string) => Effect.Effect<ReadonlyArray<TableMessage>, SqlError>
  /** Gives back the space that a table does not need. */
  readonly optimize: (table: string) => Effect.Effect<ReadonlyArray<TableMessage>, SqlError>
}

/**
 * What the server says about a table that it was to take care of.
 *
 * @category models
 * @since 0.1.0
 */
export interface TableMessage {
  /** With its database. */
  readonly table: string
  readonly operation: string
  readonly type: "status" | "error" | "info" | "note" | "warning"
  readonly text: string
}

/**
 * The service of `MysqlClient`.
 *
 * @category services
 * @since 0.1.0
 */
export const MysqlClient = Context.Service<MysqlClient>("watertight/MysqlClient")
