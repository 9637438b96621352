/** The schemas of PostgreSQL's types. They follow the table of types in `docs/postgresql.md`. */
import type { TypeName } from "../introspection/Introspection.ts"

const scalars: Readonly<Record<string, string>> = {
  bool: "Schema.Boolean",
  int2: "Schema.Int",
  int4: "Schema.Int",
  oid: "Schema.Int",
  xid: "Schema.Int",
  cid: "Schema.Int",
  regclass: "Schema.Int",
  float4: "Schema.Number",
  float8: "Schema.Number",
  int8: "Schema.BigInt",
  xid8: "Schema.BigInt",
  bytea: "Schema.Uint8Array",
  json: "columns.document",
  jsonb: "columns.document",
  time: "Schema.BigInt",
  timestamp: "Schema.DateTimeUtcFromDate",
  timestamptz: "Schema.DateTimeUtcFromDate",
  interval: "columns.interval",
  int2vector: "Schema.Array(Schema.Int)",
  oidvector: "Schema.Array(Schema.Int)",
  hstore: "Schema.Record(Schema.String, Schema.NullOr(Schema.String))",
  point: "columns.point",
  lseg: "columns.points",
  box: "columns.points",
  polygon: "columns.points",
  path: "columns.path",
  line: "columns.line",
  circle: "columns.circle"
}

const ranges: Readonly<Record<string, string>> = {
  int4range: "int4",
  int8range: "int8",
  numrange: "numeric",
  tsrange: "timestamp",
  tstzrange: "timestamptz",
  daterange: "date"
}

/** The types that users have made. */
export interface References {
  /** What refers to a type; `undefined` for one that nobody has made. */
  readonly reference: (type: TypeName, isInside: boolean) => string | undefined
}

/** How a type is to be written. */
export interface Wish {
  /** Inside an array or a composite a codec writes it. A column of its own is written by the statement. */
  readonly isInside: boolean
  /** Whether an array says that none of its elements is null. */
  readonly hasFullElements: boolean
}

/** The schema of a type, and never that of null. */
export const postgresType = (
  type: TypeName,
  named: References,
  codecs: ReadonlyMap<string, string>,
  wish: Wish = { isInside: false, hasFullElements: false }
): string => {
  if (type.dimensions > 0) {
    const element = postgresType({ ...type, dimensions: 0 }, named, codecs, { ...wish, isInside: true })
    const nullable = wish.hasFullElements ? element : `Schema.NullOr(${element})`
    return `${"Schema.Array(".repeat(type.dimensions)}${nullable}${")".repeat(type.dimensions)}`
  }
  const user = named.reference(type, wish.isInside)
  if (user !== undefined) return user
  const { name } = type
  const range = name.endsWith("multirange") ? name.replace("multirange", "range") : name
  if (Object.hasOwn(ranges, range)) {
    const bound = postgresType({ schema: "pg_catalog", name: ranges[range]!, dimensions: 0 }, named, codecs)
    const one = `columns.range(${bound})`
    return range === name ? one : `Schema.Array(${one})`
  }
  const schema = codecs.get(name) ?? (Object.hasOwn(scalars, name) ? scalars[name]! : "Schema.String")
  // A codec makes the text of a document by itself.
  return schema === "columns.document" && wish.isInside ? "Schema.Json" : schema
}
