/** Codecs that a program has chosen instead of the usual ones, as \`Types\` of PostgreSQL and \`dateStrings\` have them. */

/** What a type is for each choice. */
const choices = {
  "int8=number": "Schema.Int",
  "int8=text": "Schema.String",
  "numeric=number": "Schema.Number",
  "time=text": "Schema.String",
  "timestamp=text": "Schema.String",
  "timestamptz=text": "Schema.String",
  "timestamp=micros": "Schema.Union([Schema.BigInt, Schema.Number])",
  "timestamptz=micros": "Schema.Union([Schema.BigInt, Schema.Number])",
  "datetime=text": "Schema.String",
  "tinyint1=number": "Schema.Int"
} as const

/** A codec that was chosen. */
export type Codec = keyof typeof choices

/** All that can be chosen. */
export const codecs = Object.keys(choices) as ReadonlyArray<Codec>

/** The schemas of the types that were chosen, by the names of the types. */
export const chosen = (names: ReadonlyArray<Codec>): ReadonlyMap<string, string> =>
  new Map(names.map((name) => [name.slice(0, name.indexOf("=")), choices[name]]))
