/**
 * The values of PostgreSQL's types: what they are in TypeScript, how to choose something else, and how to send a value
 * of a given type.
 *
 * **Details**
 *
 * The values of the types that `@effect/sql-pg` knows are its own. All others come as what follows from the catalogue
 * of the database, which is read once when the first of them turns up, and again for one that it did not have then: an
 * enum is its label, a domain is what it is made of, an array an array, also of several dimensions, a composite an
 * object, a range a {@link Range}. A type whose values only the server understands, as a `tsvector`, is its text.
 *
 * The table of all types is in `docs/postgresql.md`.
 *
 * **Example** (Choosing, registering and sending)
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Postgres, Types } from "watertight/postgres"
 *
 * const DatabaseLive = Postgres.layer({
 *   url: Redacted.make("postgres://app@db/shop"),
 *   codecs: {
 *     int8: Types.int8AsNumber,
 *     timestamptz: Types.timestamptzAsText,
 *     "shop.sku": Types.mapped(Types.text("sku"), {
 *       decode: (text) => text.split("-"),
 *       encode: (parts) => parts.join("-")
 *     })
 *   }
 * })
 *
 * const booked = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   const days = Types.value("daterange", Types.range("2026-01-01", "2026-02-01"))
 *   return yield* sql`select * from booking where days && ${days} and room = any(${Types.value("uuid[]", rooms)})`
 * })
 * declare const rooms: ReadonlyArray<string>
 * ```
 *
 * @since 0.1.0
 */
import type * as PgTypes from "@effect/sql-pg/PgTypes"
import type * as Codecs from "./types/Codec.ts"
import type { RangeValue } from "./types/containers/ranges.ts"
import type { PathValue, PointValue } from "./types/scalars/geometry.ts"
import * as numbers from "./types/scalars/number.ts"
import { onlyText } from "./types/scalars/text.ts"
import * as times from "./types/scalars/time.ts"
import { TypedValue } from "./types/TypedValue.ts"

/**
 * How the values of a type are read and written, in both of PostgreSQL's forms. All four throw what they cannot read
 * or write; what they throw fails the statement, and costs no session.
 *
 * **Details**
 *
 * A codec without `read` is asked for text only, and one without `write` sends text only.
 *
 * @category models
 * @since 0.1.0
 */
export interface Codec<A> extends Codecs.Codec<A> {}

/**
 * A range of values. A bound that is null is infinite, and `bounds` says which of them belong to the range.
 *
 * @category models
 * @since 0.1.0
 */
export interface Range<A> extends RangeValue<A> {}

/**
 * An interval: three numbers that nobody can convert into each other.
 *
 * @category models
 * @since 0.1.0
 */
export interface Interval extends times.IntervalParts {}

/**
 * A point.
 *
 * @category models
 * @since 0.1.0
 */
export interface Point extends PointValue {}

/**
 * A path, open or closed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Path extends PathValue {}

/**
 * Makes a range. Without bounds it has its beginning and not its end, as the server prefers it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const range = <A>(
  lower: A | null,
  upper: A | null,
  bounds: "[)" | "[]" | "(]" | "()" = "[)"
): Range<A> => ({ lower, upper, bounds })

/**
 * The range that contains nothing.
 *
 * @category constants
 * @since 0.1.0
 */
export const emptyRange: Range<never> = { lower: null, upper: null, bounds: "empty" }

/**
 * A parameter whose type is named, as SQL names it: `"uuid[]"`, `"shop.sku"`, `"int4multirange"`.
 *
 * **When to use**
 *
 * For objects and arrays whose type does not follow from their values: composites, ranges, arrays of what is written as
 * a string. The name is looked up once for each database.
 *
 * @category constructors
 * @since 0.1.0
 */
export const value = (type: string, value: unknown): PgTypes.Parameter => new TypedValue(type, value)

/**
 * A type whose values are its text.
 *
 * @category codecs
 * @since 0.1.0
 */
export const text = (name: string): Codec<string> => onlyText(name)

/**
 * A codec whose values are made of those of another one.
 *
 * @category codecs
 * @since 0.1.0
 */
export const mapped = <A, B>(
  codec: Codec<A>,
  options: { readonly decode: (value: A) => B; readonly encode: (value: B) => A }
): Codec<B> => {
  const { read, write } = codec
  const { decode, encode } = options
  return {
    name: codec.name,
    read: read === undefined ? undefined : (bytes, offset, size) => decode(read(bytes, offset, size)),
    write: write === undefined ? undefined : (sink, value) => write(sink, encode(value)),
    parse: (text) => decode(codec.parse(text)),
    format: (value) => codec.format(encode(value))
  }
}

/**
 * `int8` as a number. One that is too large to be exact fails instead of being rounded.
 *
 * @category codecs
 * @since 0.1.0
 */
export const int8AsNumber: Codec<number> = numbers.int8AsNumber

/**
 * `int8` as the text of its digits.
 *
 * @category codecs
 * @since 0.1.0
 */
export const int8AsText: Codec<string> = numbers.int8AsText

/**
 * `numeric` as a number, which has some 15 digits.
 *
 * @category codecs
 * @since 0.1.0
 */
export const numericAsNumber: Codec<number> = numbers.numericAsNumber

/**
 * `time` as text with its microseconds: `"12:34:56.000001"`.
 *
 * @category codecs
 * @since 0.1.0
 */
export const timeAsText: Codec<string> = times.timeAsText

/**
 * `timestamptz` as text in UTC with its microseconds: `"2026-02-03 04:05:06.000001+00"`.
 *
 * @category codecs
 * @since 0.1.0
 */
export const timestamptzAsText: Codec<string> = times.timestampAsText("timestamptz")

/**
 * `timestamptz` as microseconds since 1970. The infinities are infinite numbers.
 *
 * @category codecs
 * @since 0.1.0
 */
export const timestamptzAsMicros: Codec<bigint | number> = times.timestampAsMicros("timestamptz")

/**
 * `timestamp` as text with its microseconds: `"2026-02-03 04:05:06.000001"`.
 *
 * @category codecs
 * @since 0.1.0
 */
export const timestampAsText: Codec<string> = times.timestampAsText("timestamp")

/**
 * `timestamp` as microseconds since 1970, taken as UTC. The infinities are infinite numbers.
 *
 * @category codecs
 * @since 0.1.0
 */
export const timestampAsMicros: Codec<bigint | number> = times.timestampAsMicros("timestamp")
