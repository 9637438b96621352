/**
 * Every value × every column × every way in × the zone of the session: what is read is what was written, or the value
 * is refused before anything is sent, or the server refuses it. Nothing is changed without a word.
 */
import { assert, describe, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, Transaction } from "watertight"
import { Postgres, Types } from "watertight/postgres"
import { freshDatabase } from "../../support/index.ts"

const noon = new Date("2026-03-04T12:34:56.789Z")
const midnight = new Date("2026-03-04T00:00:00Z")

/** Values as programs have them. */
const values: ReadonlyArray<readonly [name: string, value: unknown]> = [
  ["0", 0],
  ["-0", -0],
  ["1", 1],
  ["-40000", -40_000],
  ["2 ** 40", 2 ** 40],
  ["2 ** 60", 2 ** 60],
  ["1e20", 1e20],
  ["1e300", 1e300],
  ["1e-60", 1e-60],
  ["0.1", 0.1],
  ["0.1 + 0.2", 0.1 + 0.2],
  ["1.5", 1.5],
  ["NaN", NaN],
  ["-Infinity", -Infinity],
  ["7n", 7n],
  ["2n ** 53n + 1n", 2n ** 53n + 1n],
  ["2n ** 70n", 2n ** 70n],
  ["BigDecimal 1.25", BigDecimal.fromStringUnsafe("1.25")],
  ["true", true],
  ["a Date with a time", noon],
  ["a Date at midnight", midnight],
  ["a Date of the year -43", new Date("-000043-03-15T12:00:00Z")],
  ["the last Date", new Date(8.64e15)],
  ["the first Date", new Date(-8.64e15)],
  ["an invalid Date", new Date(NaN)],
  ["a DateTime", DateTime.makeUnsafe(noon)],
  ["a URL", new URL("https://a.test/?q=%F0")],
  ["a text", "añ💧\"'\\{}"],
  ["an empty text", ""],
  ["half a character", "\ud83d"],
  ["a NUL", "a\u0000b"],
  ["31 February", "2026-02-31"],
  ["31 February at noon", "2026-02-31 12:00:00"],
  ["a day", "2026-03-04"],
  ["a day and a time", "2026-03-04 12:00:00"],
  ["a day, a time and a zone", "2026-03-04T12:00:00+05"],
  ["bytes", new Uint8Array([0, 1, 255])],
  ["a Float64Array", new Float64Array([0.5, 1])],
  ["an empty array", []],
  ["integers", [1, 2]],
  ["numbers", [0.5, 1, 2 ** 40]],
  ["integers of both kinds", [1, 2n]],
  ["only nulls", [null]],
  ["texts", ["a", "b,\"c\"", "null", "", null]],
  ["dates", [noon, null]],
  ["a grid", [[1, 2], [3, null]]],
  ["ragged", [[1], [2, 3]]],
  ["an object", { a: [1, { b: null }] }],
  ["a range of dates", { lower: noon, upper: null, bounds: "[)" }],
  ["undefined", undefined],
  ["a Map", new Map()],
  ["a function", () => 1]
]

const columns: ReadonlyArray<string> = [
  "int2",
  "int4",
  "int8",
  "float4",
  "float8",
  "numeric",
  "bool",
  "text",
  "bytea",
  "date",
  "time",
  "timestamp",
  "timestamptz",
  "jsonb",
  "int4[]",
  "int8[]",
  "float8[]",
  "numeric[]",
  "text[]",
  "timestamp[]",
  "timestamptz[]",
  "tstzrange",
  "tsrange",
  "positive"
]

/** What may be read instead of what was written: what docs/postgresql.md says that a column makes of a value. */
const meant = (type: string, value: unknown): ReadonlyArray<unknown> => {
  if (Array.isArray(value)) {
    const all = value.map((element) =>
      Array.isArray(element) ? meant(type, element) : meantByOne(type.replace("[]", ""), element)
    )
    // One reading for each element, in all combinations that there are: the longest list says how many.
    const count = Math.max(1, ...all.map((list) => list.length))
    return Array.from({ length: count }, (_, index) => all.map((list) => list[Math.min(index, list.length - 1)]))
  }
  if (value instanceof Float64Array) return meant(type, Array.from(value))
  if (type.endsWith("range")) return [value]
  return meantByOne(type, value)
}

const pad = (value: number, size = 2) => String(value).padStart(size, "0")

const dayOf = (date: Date): string => {
  const year = date.getUTCFullYear()
  return `${year < 0 ? `-${pad(-year, 4)}` : pad(year, 4)}-${pad(date.getUTCMonth() + 1)}-${pad(date.getUTCDate())}`
}

const meantByOne = (type: string, value: unknown): ReadonlyArray<unknown> => {
  if (DateTime.isDateTime(value)) return meantByOne(type, DateTime.toDateUtc(value))
  if (value instanceof URL) return [value.href]
  if (BigDecimal.isBigDecimal(value)) return ["1.25", 1.25]
  if (value instanceof Date) {
    const micros = BigInt(((value.getTime() % 86_400_000) + 86_400_000) % 86_400_000) * 1000n
    return type === "date"
      ? [dayOf(value)]
      : type === "time"
      ? [micros]
      : type === "text"
      ? textsOf(value)
      : [value, ...(type === "jsonb" ? [value.toISOString()] : [])]
  }
  switch (typeof value) {
    case "number":
      return type === "numeric" || type === "text"
        ? [
          String(value),
          Number.isInteger(value) ? BigInt(value).toString() : String(value),
          String(value).replace("e+", "e+"),
          ...(value === 0 ? ["0"] : [])
        ]
        : type === "int8"
        ? Number.isInteger(value) ? [BigInt(value)] : []
        : type === "float4"
        ? [Math.fround(value)]
        : Object.is(value, -0) && type !== "float8"
        ? [0]
        : [value]
    case "bigint":
      // A time of day is read as its microseconds.
      return type === "int8" || type === "time"
        ? [value]
        : type === "numeric" || type === "text"
        ? [String(value)]
        : BigInt(Number(value)) === value
        ? [Number(value)]
        : []
    case "boolean":
      return type === "text" ? [value, "true", "t"] : [value]
    case "string":
      return readings(type, value)
    default:
      return [value]
  }
}

/** A text column keeps the instant in one of the forms that say so. */
const textsOf = (date: Date): ReadonlyArray<unknown> => [
  date.toISOString(),
  date,
  "0044-03-15 12:00:00.000000+00 BC",
  "275760-09-13 00:00:00.000000+00"
]

/** What the server itself makes of a text. */
const readings = (type: string, text: string): ReadonlyArray<unknown> => {
  switch (type) {
    case "date":
      return [text.slice(0, 10)]
    case "time":
      return text.includes(":") ? [12n * 3_600_000_000n] : [0n]
    case "timestamp":
      return text === "2026-03-04" ? [midnight] : [new Date("2026-03-04T12:00:00Z")]
    case "timestamptz":
      return text.includes("+05")
        ? [new Date("2026-03-04T07:00:00Z")]
        // Without a zone it is of the session's.
        : text === "2026-03-04"
        ? [midnight, new Date("2026-03-04T05:00:00Z")]
        : [new Date("2026-03-04T12:00:00Z"), new Date("2026-03-04T17:00:00Z")]
    default:
      return [text]
  }
}

const tidy = (value: unknown): unknown =>
  value instanceof Uint8Array
    ? ["bytes", ...value]
    : value instanceof Date
    ? `Date ${value.getTime()}`
    : Array.isArray(value)
    ? value.map(tidy)
    : typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).map(([key, value]) => [key, tidy(value)]))
    : typeof value === "bigint"
    ? `${value}n`
    : Object.is(value, -0)
    ? "-0"
    : typeof value === "number"
    ? `number ${value}`
    : value

const show = (value: unknown): string => JSON.stringify(tidy(value)) ?? "undefined"

/** The integers that JSON and texts spell differently, and dates that are texts there. */
const looseText = (value: unknown): string =>
  show(
    JSON.parse(JSON.stringify(value, (_, inner) => inner instanceof Float64Array ? Array.from(inner) : inner) ?? "null")
  )

/** Texts of dates in a text column, a number in the server's own spelling: the same to the reader. */
const isSame = (type: string, wanted: ReadonlyArray<unknown>, got: unknown): boolean =>
  wanted.some((one) => show(one) === show(got)) ||
  type === "jsonb" && wanted.some((one) => looseText(one) === looseText(got)) ||
  // A text is what the server reads it as, and its form for bytes takes most texts as they are.
  type === "bytea" && wanted.some((one) => typeof one === "string" && show(got) === show(Buffer.from(one))) ||
  type === "text" &&
    wanted.some((one) => typeof got === "string" && got !== "" && Number(got) === Number(one)) ||
  type.startsWith("numeric") &&
    wanted.some((one) =>
      !Array.isArray(one) && typeof got === "string" && Number(one) === Number(got) && Number.isFinite(Number(got)) &&
      !got.includes("e")
    ) ||
  type === "numeric[]" && Array.isArray(got) &&
    wanted.some((one) => Array.isArray(one) && show(one.flat(9).map(Number)) === show(got.flat(9).map(Number))) ||
  type === "text" &&
    wanted.some((one) =>
      one instanceof Date && typeof got === "string" &&
      new Date(got.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00")).getTime() === one.getTime()
    )

const layer = (zone: string) =>
  Layer.unwrap(
    Effect.map(freshDatabase(), (url) =>
      Postgres.layer(
        { url: Redacted.make(url), startupParameters: { timezone: zone }, pool: { max: 2 }, breaker: false } as never
      ))
  )

type Way = (sql: SqlClient, table: string, type: string, value: any) => Effect.Effect<unknown, any, any>

const ways: Record<string, Way> = {
  template: (sql, table, _, v) => sql`insert into ${sql(table)} (v) values (${v})`,
  unprepared: (sql, table, _, v) => sql`insert into ${sql(table)} (v) values (${v})`.unprepared,
  "template in a transaction": (sql, table, _, v) => Transaction.run(sql`insert into ${sql(table)} (v) values (${v})`),
  "sql.insert": (sql, table, _, v) => sql`insert into ${sql(table)} ${sql.insert({ v })}`,
  stream: (sql, table, _, v) => Stream.runDrain(sql`insert into ${sql(table)} (v) values (${v}) returning v`.stream),
  update: (sql, table, _, v) =>
    Effect.andThen(sql`insert into ${sql(table)} (v) values (null)`, sql`update ${sql(table)} set v = ${v}`),
  "Types.value": (sql, table, type, v) => sql`insert into ${sql(table)} (v) values (${Types.value(type, v)})`,
  Bulk: (_, table, __, v) => Bulk.insert(table, [{ v }], { columns: ["v"] })
}

/** Ways in which the value says by itself what it is, so a text is a text and undefined a null. */
const isTyped = (way: string): boolean => way === "Types.value" || way === "Bulk"

describe("a value that is written is the value that is read, or it is refused", () => {
  for (const zone of ["UTC", "America/New_York"]) {
    it.layer(layer(zone), { timeout: "60 seconds" })(`in a session of ${zone}`, (it) => {
      for (const type of columns) {
        it.effect(type, () =>
          Effect.gen(function*() {
            const sql = yield* SqlClient
            if (type === "positive") yield* sql`create domain positive as int4 check (value is null or value >= 0)`
            const table = `t_${type.replace("[]", "_a")}`
            yield* sql.unsafe(`create table ${table} (v ${type})`)
            const wrong: Array<string> = []
            for (const [name, value] of values) {
              for (const [way, write] of Object.entries(ways)) {
                // The zone is of no concern to most ways, and the other run goes all of them.
                if (zone === "UTC" && way !== "template" && way !== "Bulk") continue
                yield* sql`truncate ${sql(table)}`
                const exit = yield* Effect.exit(write(sql, table, type, value))
                if (exit._tag === "Failure") {
                  if (exit.cause.reasons.some((reason) => reason._tag !== "Fail")) {
                    wrong.push(`${name} by ${way}: a defect`)
                  }
                  continue
                }
                const rows = yield* sql.unsafe<{ v: unknown }>(`select v from ${table}`)
                const got = rows[0]?.v
                // In `sql.insert` and `Bulk` a missing field is null.
                if (value === undefined && got === null && (way === "sql.insert" || isTyped(way))) continue
                if (
                  isTyped(way) && (typeof value === "number" || typeof value === "string") &&
                  /json|timestamp/.test(type)
                ) continue
                // Milliseconds and microseconds are taken where the type is named.
                if (isTyped(way) && (type === "jsonb" || type.includes("time") && !(value instanceof Date))) continue
                const base = type === "positive" ? "int4" : type
                if (!isSame(base, meant(base, value), got)) {
                  wrong.push(`${name} by ${way}: ${show(value)} -> ${show(got)}`)
                }
              }
            }
            assert.strictEqual(wrong.join("\n"), "")
          }), 120_000)
      }
    })
  }
})
