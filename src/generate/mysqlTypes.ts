/** The schemas of the types of MySQL and MariaDB. They follow the table of types in `docs/mysql.md`. */
import { quoted } from "./names.ts"

const scalars: Readonly<Record<string, string>> = {
  tinyint: "Schema.Int",
  smallint: "Schema.Int",
  mediumint: "Schema.Int",
  int: "Schema.Int",
  year: "Schema.Int",
  bigint: "columns.bigint",
  float: "Schema.Number",
  double: "Schema.Number",
  datetime: "Schema.DateTimeUtcFromDate",
  timestamp: "Schema.DateTimeUtcFromDate",
  json: "columns.document",
  binary: "Schema.Uint8Array",
  varbinary: "Schema.Uint8Array",
  tinyblob: "Schema.Uint8Array",
  blob: "Schema.Uint8Array",
  mediumblob: "Schema.Uint8Array",
  longblob: "Schema.Uint8Array",
  bit: "Schema.Uint8Array",
  vector: "columns.vector"
}

/** What is read as GeoJSON, and written by a function of SQL only. */
const geometries = new Set([
  "geometry",
  "point",
  "linestring",
  "polygon",
  "multipoint",
  "multilinestring",
  "multipolygon",
  "geometrycollection",
  "geomcollection"
])

/** Whether a parameter alone cannot be its value. */
export const isGeometry = (name: string): boolean => geometries.has(name)

/** The schema of a type, and never that of null. */
export const mysqlType = (
  name: string,
  written: string,
  isJson: boolean,
  codecs: ReadonlyMap<string, string>
): string => {
  if (isJson) return "columns.document"
  if (isGeometry(name)) return "Schema.Json"
  if (name === "enum") return `Schema.Literals([${labels(written).map(quoted).join(", ")}])`
  if (written.startsWith("tinyint(1)") && !written.includes("unsigned")) {
    return codecs.get("tinyint1") ?? "Schema.BooleanFromBit"
  }
  const choice = codecs.get(name === "timestamp" ? "datetime" : name)
  return choice ?? (Object.hasOwn(scalars, name) ? scalars[name]! : "Schema.String")
}

/** The labels of `enum('a','it''s')`. */
const labels = (written: string): ReadonlyArray<string> =>
  Array.from(written.matchAll(/'((?:[^']|'')*)'/gs), ([, label]) => label!.replaceAll("''", "'"))
