/**
 * Many rows at once, as fast as the database takes them.
 *
 * **When to use**
 *
 * For more rows than fit well into one `insert`: a hundred or a hundred million. Each database does it in its fastest
 * way; a program says what is to be inserted, and not how.
 *
 * **Details**
 *
 * The rows come from an array or any other iterable, or from a `Stream`, which is held back when the database cannot
 * keep up. They are typed by the columns of the table, or encoded by a schema first. A row that does not fit its
 * columns is named by its number, its column and the type of its value, never by the value. It fails the whole, or is
 * put aside while the others are loaded.
 *
 * Inside a transaction the rows belong to it. Outside of one, all of them are there at the end, or none.
 *
 * **Gotchas**
 *
 * What only the database can know of a row, as whether it is unique, fails the whole in any case.
 *
 * **Example** (A table from a stream)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Bulk } from "watertight"
 *
 * interface City {
 *   readonly id: number
 *   readonly name: string
 *   readonly founded: Date | null
 * }
 *
 * const load = <E>(cities: Stream.Stream<City, E>) =>
 *   Bulk.insert("city", cities, { onBadRow: "collect" }).pipe(
 *     Effect.tap(({ bad, rows }) => Effect.log(`${rows} cities, ${bad.length} bad ones`))
 *   )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"
import type * as Stream from "effect/Stream"
import { TaggedError } from "../options/TaggedError.ts"

/**
 * Where rows come from.
 *
 * @category models
 * @since 0.1.0
 */
export type Rows<Row, E = never, R = never> = Iterable<Row> | Stream.Stream<Row, E, R>

/**
 * How far a load has got.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  /** The rows that were sent. */
  readonly rows: number
  /** The bytes that they took. */
  readonly bytes: number
  /** The rows that were put aside. */
  readonly bad: number
}

/**
 * A row that does not fit its columns.
 *
 * @category models
 * @since 0.1.0
 */
export interface BadRow {
  /** Which row it is, counted from 1. */
  readonly row: number
  /** The column that its value does not fit, unless the row as a whole is at fault. */
  readonly column: string | undefined
  /** The type of the column. */
  readonly expected: string
  /** The type of the value: `"string"`, `"null"`, `"Date"`. */
  readonly actual: string
  /** What is wrong with it. */
  readonly problem: string
}

/**
 * The options of `insert`.
 *
 * @category options
 * @since 0.1.0
 */
export interface InsertOptions<Row> {
  /**
   * The columns that are given. The others get their defaults. Default: the columns that the first row has, so that a
   * later row with another one is a bad row and loses nothing silently.
   */
  readonly columns?: ReadonlyArray<string> | undefined
  /**
   * What becomes of a column that a row does not have, or has as `undefined`: null (`"null"`, the default), the default of
   * the column (`"default"`), or the row does not fit (`"bad"`).
   *
   * **Gotchas**
   *
   * With `"default"` a row is loaded together with those next to it that have the same columns, so rows of the same kind
   * should stand together.
   *
   * @since 0.2.0
   */
  readonly missing?: "null" | "default" | "bad" | undefined
  /** Encodes the rows before they are typed by the table. */
  readonly schema?: Schema.Codec<Row, unknown> | undefined
  /**
   * What a row that does not fit does: it fails the whole (`"fail"`, the default), or is put aside (`"collect"`) and
   * named in the result.
   */
  readonly onBadRow?: "fail" | "collect" | undefined
  /** How many rows may be put aside before the whole fails. Default: 1000. */
  readonly maxBadRows?: number | undefined
  /** Hears how far it has got, some times a second while much is sent. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * The options of `upsert`.
 *
 * @category options
 * @since 0.1.0
 */
export interface UpsertOptions<Row> extends Omit<InsertOptions<Row>, "missing"> {
  /**
   * What becomes of a column that a row does not have, or has as `undefined`: null (`"null"`, the default); the default of
   * the column where the row is new, and what it has where it exists (`"default"`); or the row does not fit (`"bad"`).
   *
   * **Gotchas**
   *
   * With `"default"` a row is merged together with those next to it that have the same columns, so rows of the same kind
   * should stand together. Of several rows with the same key the last one counts: `duplicates: "first"` is refused. A row
   * that comes again with other columns is counted each time.
   *
   * @since 0.2.0
   */
  readonly missing?: "null" | "default" | "bad" | undefined
  /** The columns by which a row is known. There has to be a unique index on them. Default: the primary key. */
  readonly key?: ReadonlyArray<string> | undefined
  /** The columns that are updated where the row exists. Default: all that are given and not in the key. */
  readonly update?: ReadonlyArray<string> | undefined
  /** Which of several rows with the same key counts. Default: `"last"`. */
  readonly duplicates?: "first" | "last" | undefined
}

/**
 * What was inserted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Inserted extends Omit<Progress, "bad"> {
  /** The rows that were put aside. */
  readonly bad: ReadonlyArray<BadRow>
}

/**
 * What was inserted and updated.
 *
 * @category models
 * @since 0.1.0
 */
export interface Upserted {
  readonly inserted: number
  readonly updated: number
  /** The rows that were put aside. */
  readonly bad: ReadonlyArray<BadRow>
}

/**
 * JSON's null as the whole value of a column of JSON, of which `null` is the null of SQL. It is the same as a parameter.
 *
 * @category constructors
 * @since 0.2.0
 */
export const jsonNull: { readonly toJSON: () => null } = Object.freeze({ toJSON: () => null })

/**
 * A row does not fit its columns, or more rows than `maxBadRows` do not.
 *
 * @category errors
 * @since 0.1.0
 */
export class RowUnfit extends Data.TaggedClass("RowUnfit")<BadRow> {
  get message(): string {
    const place = this.column === undefined ? "" : `, column "${this.column}"`
    return `row ${this.row}${place}: ${this.problem} (${this.actual} for ${this.expected})`
  }
}

/**
 * The table does not exist, or nobody may know of it.
 *
 * @category errors
 * @since 0.1.0
 */
export class TableMissing extends Data.TaggedClass("TableMissing")<{}> {
  get message(): string {
    return "there is no such table"
  }
}

/**
 * The columns that were asked for are not those of the table.
 *
 * @category errors
 * @since 0.1.0
 */
export class ColumnsWrong extends Data.TaggedClass("ColumnsWrong")<{
  readonly columns: ReadonlyArray<string>
  readonly problem: string
}> {
  get message(): string {
    return this.columns.length === 0 ? this.problem : `${this.problem}: ${this.columns.join(", ")}`
  }
}

/**
 * Why rows could not be loaded.
 *
 * @category errors
 * @since 0.1.0
 */
export type Reason = RowUnfit | TableMissing | ColumnsWrong

/**
 * Rows could not be loaded, and none of them was. What the database says about them is a `SqlError` instead.
 *
 * @category errors
 * @since 0.1.0
 */
export class BulkError extends TaggedError("BulkError")<{
  readonly database: string
  readonly table: string
  readonly reason: Reason
  /** How far it had got. */
  readonly progress: Progress
}> {
  override get message(): string {
    const { rows } = this.progress
    return `${this.database}: table ${this.table}: ${this.reason.message}${
      rows === 0 ? "" : ` (${rows} rows were sent before it, and are not applied)`
    }`
  }
}

/**
 * Loads many rows into the tables of one database. Each database layer provides it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bulk {
  readonly insert: <Row extends object, E = never, R = never>(
    table: string,
    rows: Rows<Row, E, R>,
    options?: InsertOptions<NoInfer<Row>>
  ) => Effect.Effect<Inserted, E | BulkError | SqlError, R>
  readonly upsert: <Row extends object, E = never, R = never>(
    table: string,
    rows: Rows<Row, E, R>,
    options?: UpsertOptions<NoInfer<Row>>
  ) => Effect.Effect<Upserted, E | BulkError | SqlError, R>
}

/**
 * The service of `Bulk`.
 *
 * @category services
 * @since 0.1.0
 */
export const Bulk = Context.Service<Bulk>("watertight/Bulk")

/**
 * Inserts rows.
 *
 * **Details**
 *
 * `table` may have its schema in front of it: `"geo.city"`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const insert = <Row extends object, E = never, R = never>(
  table: string,
  rows: Rows<Row, E, R>,
  options?: InsertOptions<NoInfer<Row>>
): Effect.Effect<Inserted, E | BulkError | SqlError, R | Bulk> =>
  Effect.flatMap(Bulk, (bulk) => bulk.insert(table, rows, options))

/**
 * Inserts rows, and updates those that exist already.
 *
 * **Details**
 *
 * Of several rows with the same key the last one counts, as if they had been written one after the other.
 *
 * @category combinators
 * @since 0.1.0
 */
export const upsert = <Row extends object, E = never, R = never>(
  table: string,
  rows: Rows<Row, E, R>,
  options?: UpsertOptions<NoInfer<Row>>
): Effect.Effect<Upserted, E | BulkError | SqlError, R | Bulk> =>
  Effect.flatMap(Bulk, (bulk) => bulk.upsert(table, rows, options))
