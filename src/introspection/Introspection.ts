/**
 * What is in a database: its schemas, tables, columns, keys and indexes, in one shape for all databases.
 *
 * **Details**
 *
 * Everything is read from the catalogues at the moment it is asked for, on the connection of the transaction if one is
 * open, so that what the transaction has made is seen. The system's own schemas are left out unless they are named.
 *
 * Types, defaults, expressions and definitions are in the words of the database. Names compare as they do in its
 * statements: on MySQL those of columns, indexes and constraints without regard to case.
 *
 * **Gotchas**
 *
 * MySQL 8 remembers row estimates and sizes for a day: `information_schema_stats_expiry` among `sessionVariables`
 * changes that, and `analyze` renews them. Temporary tables are seen on PostgreSQL only.
 *
 * **Example** (The tables without a primary key)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Introspection } from "watertight"
 *
 * const keyless = Effect.gen(function*() {
 *   const introspection = yield* Introspection.Introspection
 *   const tables = yield* introspection.tables()
 *   const keys = yield* introspection.constraints()
 *   return tables.filter((table) =>
 *     !keys.some((key) => key.kind === "primary key" && key.schema === table.schema && key.table === table.name)
 *   )
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"

/**
 * What is asked for. Without a schema it is those that users have made; MySQL calls them databases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Filter {
  readonly schema?: string | undefined
  readonly table?: string | undefined
}

/**
 * A table, or what can be read like one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Table {
  readonly schema: string
  readonly name: string
  readonly kind: "table" | "partitioned table" | "view" | "materialized view" | "foreign table"
  /**
   * Whether it is a partition of another table. MySQL does not show them as tables.
   *
   * @since 0.2.0
   */
  readonly partition: boolean
  readonly comment: string | undefined
  /** How many rows the server believes it has; `undefined` if it has never looked. */
  readonly rowEstimate: number | undefined
  /** The bytes of its rows, without its indexes. */
  readonly dataBytes: number | undefined
  /** The bytes of its indexes. */
  readonly indexBytes: number | undefined
  /** The query of a view. */
  readonly definition: string | undefined
}

/**
 * A column.
 *
 * @category models
 * @since 0.1.0
 */
export interface Column {
  readonly schema: string
  readonly table: string
  readonly name: string
  /** Its place, counted from 1. */
  readonly position: number
  /** The type as the database writes it, with its length: `"character varying(20)"`. */
  readonly type: string
  readonly nullable: boolean
  /** The expression of its default. */
  readonly default: string | undefined
  /**
   * What the database fills in: a number that counts up (`"identity"`), or the value of an expression, kept (`"stored"`)
   * or computed when it is read (`"virtual"`).
   */
  readonly generated: "identity" | "stored" | "virtual" | undefined
  /** The expression of a generated column. */
  readonly expression: string | undefined
  /** The collation of a text; on PostgreSQL only where it is not that of the type. */
  readonly collation: string | undefined
  readonly comment: string | undefined
}

/**
 * An index.
 *
 * @category models
 * @since 0.1.0
 */
export interface Index {
  readonly schema: string
  readonly table: string
  readonly name: string
  /** Its columns, and expressions where it has some; `"name(10)"` where only the beginning of a text is in it. */
  readonly columns: ReadonlyArray<string>
  readonly unique: boolean
  readonly primary: boolean
  /** `"btree"`, `"gin"`, `"fulltext"` and the like. */
  readonly method: string
  /** Which rows are in it, if not all are. */
  readonly condition: string | undefined
  /** Whether the server may use it. */
  readonly valid: boolean
  /** Its size; `undefined` where only the sum of a table's indexes is known, as on MySQL. */
  readonly bytes: number | undefined
}

/**
 * How an index is made.
 *
 * @category models
 * @since 0.2.0
 */
export interface IndexDefinition {
  readonly schema: string
  readonly table: string
  readonly name: string
  /** What stands behind `USING`, with the order of its columns, operator classes and the condition. */
  readonly definition: string
}

/**
 * A constraint.
 *
 * @category models
 * @since 0.1.0
 */
export interface Constraint {
  readonly schema: string
  readonly table: string
  readonly name: string
  readonly kind: "primary key" | "unique" | "foreign key" | "check" | "exclusion"
  readonly columns: ReadonlyArray<string>
  /** What a foreign key refers to. */
  readonly references: Reference | undefined
  /** The condition of a check, and the whole in the dialect's words for the others. */
  readonly definition: string
  /** Whether rows that are written are held to it. `false` for one that is `NOT ENFORCED`. */
  readonly enforced: boolean
  /**
   * Whether the rows that were there before it have been checked too. `false` for one that is `NOT VALID` or
   * `NOT ENFORCED`.
   */
  readonly validated: boolean
}

/**
 * What a foreign key refers to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reference {
  readonly schema: string
  readonly table: string
  readonly columns: ReadonlyArray<string>
  readonly onDelete: ReferenceAction
  readonly onUpdate: ReferenceAction
}

/**
 * What happens to the rows that refer to one that goes away.
 *
 * @category models
 * @since 0.1.0
 */
export type ReferenceAction = "no action" | "restrict" | "cascade" | "set null" | "set default"

/**
 * The name of a type, apart from its length.
 *
 * @category models
 * @since 0.2.0
 */
export interface TypeName {
  /** Where the type is from; `undefined` on MySQL, where nobody can make types. */
  readonly schema: string | undefined
  /** As the catalogue has it: `"int8"` and not `"bigint"`. For an array it is the type of its elements. */
  readonly name: string
  /** How many dimensions an array was declared with, and 0 for what is no array. */
  readonly dimensions: number
}

/**
 * What code that reads and writes a column has to know of it.
 *
 * @category models
 * @since 0.2.0
 */
export interface ColumnType {
  readonly schema: string
  readonly table: string
  readonly column: string
  readonly type: TypeName
  /** How many characters a text may have. */
  readonly maxLength: number | undefined
  /** Whether an INSERT may say its value. It may not for an expression, or for an identity that is `ALWAYS` generated. */
  readonly insertable: boolean
  /** What the server writes into it when its row is changed, as `ON UPDATE` of MySQL says. */
  readonly onUpdate: string | undefined
  /** Whether `select *` leaves it out: an `INVISIBLE` column of MySQL or MariaDB. */
  readonly hidden: boolean
}

/**
 * A type that users have made.
 *
 * @category models
 * @since 0.2.0
 */
export interface Type {
  readonly schema: string
  readonly name: string
  readonly kind: "enum" | "domain" | "composite" | "range" | "multirange"
  readonly comment: string | undefined
  /** The labels of an enum, in their order. */
  readonly labels: ReadonlyArray<string>
  /** What a domain is made of, what a range is of, and the range of a multirange. */
  readonly base: TypeName | undefined
  /** Whether a domain allows null. */
  readonly nullable: boolean
  /** The columns of a composite. Each of them may be null. */
  readonly attributes: ReadonlyArray<{ readonly name: string; readonly type: TypeName }>
}

/**
 * Looks into a database. Each database layer provides it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Introspection {
  /** The database that the connection is with. Fails if it is with none, which only MySQL allows. */
  readonly currentDatabase: Effect.Effect<string, SqlError>
  /** The databases of the server, without its own. */
  readonly databases: Effect.Effect<ReadonlyArray<string>, SqlError>
  /** The schemas that users have made. On MySQL a schema is a database. */
  readonly schemas: Effect.Effect<ReadonlyArray<string>, SqlError>
  readonly tables: (filter?: Filter) => Effect.Effect<ReadonlyArray<Table>, SqlError>
  readonly columns: (filter?: Filter) => Effect.Effect<ReadonlyArray<Column>, SqlError>
  /**
   * The types of the columns, for code that is written from them.
   *
   * @since 0.2.0
   */
  readonly columnTypes: (filter?: Filter) => Effect.Effect<ReadonlyArray<ColumnType>, SqlError>
  /**
   * The types that users have made, without the rows of tables. None on MySQL.
   *
   * @since 0.2.0
   */
  readonly types: Effect.Effect<ReadonlyArray<Type>, SqlError>
  readonly indexes: (filter?: Filter) => Effect.Effect<ReadonlyArray<Index>, SqlError>
  /**
   * How the indexes are made, in all their details.
   *
   * @since 0.2.0
   */
  readonly indexDefinitions: (filter?: Filter) => Effect.Effect<ReadonlyArray<IndexDefinition>, SqlError>
  readonly constraints: (filter?: Filter) => Effect.Effect<ReadonlyArray<Constraint>, SqlError>
  readonly hasSchema: (schema: string) => Effect.Effect<boolean, SqlError>
  /** Whether there is a table or view, in the schema that is named or where names are looked up otherwise. */
  readonly hasTable: (table: string, schema?: string) => Effect.Effect<boolean, SqlError>
  readonly hasColumn: (table: string, column: string, schema?: string) => Effect.Effect<boolean, SqlError>
  readonly hasIndex: (table: string, index: string, schema?: string) => Effect.Effect<boolean, SqlError>
  readonly hasConstraint: (table: string, constraint: string, schema?: string) => Effect.Effect<boolean, SqlError>
}

/**
 * The service of `Introspection`.
 *
 * @category services
 * @since 0.1.0
 */
export const Introspection = Context.Service<Introspection>("watertight/Introspection")
