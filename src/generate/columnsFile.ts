/** What all models of a folder share. It is written beside them, so that they need nothing but `effect`. */

/** What is the same for all databases. */
const shared = `/** What a value of the program is in JSON: a bigint and a date are texts, bytes are base64. */
const json = <S extends Schema.Top>(column: S) => Schema.toCodecJson(Schema.toType(column))

/** A column that every INSERT has to say. */
export const required = <S extends Schema.Top>(column: S) =>
  Model.Field({
    select: column,
    insert: column,
    update: column,
    json: json(column),
    jsonCreate: json(column),
    jsonUpdate: json(column)
  })

/** A column that the database fills in where an INSERT does not: it has a default, or may be null. */
export const optional = <S extends Schema.Top>(column: S) =>
  Model.Field({
    select: column,
    insert: Schema.optionalKey(column),
    update: column,
    json: json(column),
    jsonCreate: Schema.optionalKey(json(column)),
    jsonUpdate: json(column)
  })

/** A column that the database fills in again when its row is changed. */
export const touched = <S extends Schema.Top>(column: S) =>
  Model.Field({
    select: column,
    insert: Schema.optionalKey(column),
    update: Schema.optionalKey(column),
    json: json(column)
  })

/** A column that only the database writes. */
export const generated = <S extends Schema.Top>(column: S) => Model.Field({ select: column, json: json(column) })

/** A key that only the database writes. An UPDATE says which row it means. */
export const generatedKey = <S extends Schema.Top>(column: S) =>
  Model.Field({ select: column, update: column, json: json(column) })

/** A document. It is read as a value and written as its text, so that every value of JSON can be written. */
export const document = Schema.Json.pipe(
  Schema.decodeTo(Schema.Json, {
    decode: SchemaGetter.passthrough(),
    encode: SchemaGetter.transform((value: Schema.Json): Schema.Json => JSON.stringify(value))
  })
)

/** The same where the column may be null. A null is that of the database, and not that of JSON. */
export const documentOrNull = Schema.Union([Schema.Null, document])
`

const postgres = `
/** A range. A bound that is null is infinite. */
export const range = <S extends Schema.Top>(bound: S) =>
  Schema.Struct({
    lower: Schema.NullOr(bound),
    upper: Schema.NullOr(bound),
    bounds: Schema.Literals(["[)", "[]", "(]", "()", "empty"])
  })

/** An interval: three numbers that nobody can convert into each other. */
export const interval = Schema.Struct({ months: Schema.Int, days: Schema.Int, microseconds: Schema.BigInt })

export const point = Schema.Struct({ x: Schema.Number, y: Schema.Number })
export const points = Schema.Array(point)
export const path = Schema.Struct({ closed: Schema.Boolean, points })
export const line = Schema.Struct({ a: Schema.Number, b: Schema.Number, c: Schema.Number })
export const circle = Schema.Struct({ x: Schema.Number, y: Schema.Number, radius: Schema.Number })
`

const mysql = `
/** A whole number of 64 bits, which is read as a number where that is exact. */
export const bigint = Schema.Union([Schema.BigInt, Schema.Int]).pipe(
  Schema.decodeTo(Schema.BigInt, {
    decode: SchemaGetter.transform((value: bigint | number) => BigInt(value)),
    encode: SchemaGetter.passthroughSubtype()
  })
)

/** A vector. */
export const vector = Schema.instanceOf(globalThis.Float32Array, {
  toCodecJson: () =>
    Schema.link<globalThis.Float32Array>()(Schema.Array(Schema.Number), {
      decode: SchemaGetter.transform((values: ReadonlyArray<number>) => globalThis.Float32Array.from(values)),
      encode: SchemaGetter.transform((values: globalThis.Float32Array) => globalThis.Array.from(values))
    })
})
`

/** The text of the file. */
export const columnsFile = (isPostgres: boolean): string =>
  `import { Schema, SchemaGetter } from "effect"
import { Model } from "effect/schema"

${shared}${isPostgres ? postgres : mysql}`
