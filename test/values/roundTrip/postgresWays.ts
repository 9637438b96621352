/** The columns of PostgreSQL under test, and all ways into and out of them. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SqlClient } from "effect/sql/SqlClient"
import * as SqlResolver from "effect/sql/SqlResolver"
import * as Stream from "effect/Stream"
import { Bulk, Transaction } from "watertight"
import { Arrays, Copy, Script, Types } from "watertight/postgres"
import type { Column, Place, Row, WayIn, WayOut } from "./check.ts"
import * as Shapes from "./shapes.ts"

const array = Shapes.array

/** What has to be there before the tables. */
export const ownTypes = `
  create domain positive as int4 check (value is null or value >= 0);
  create domain ints as int4[];
  create type mood as enum ('a', 'null', '12', 'true');
  create type pair as (a int4, "c d" text);
`

export const columns: ReadonlyArray<Column> = [
  { type: "int2", shape: Shapes.integer },
  { type: "int4", shape: Shapes.integer },
  { type: "int8", shape: Shapes.integer },
  { type: "oid", shape: Shapes.unsigned32 },
  { type: "float4", shape: Shapes.single },
  { type: "float8", shape: Shapes.double },
  { type: "numeric", shape: Shapes.decimal() },
  { type: "numeric(30,6)", shape: Shapes.decimal(6) },
  { type: "bool", shape: Shapes.bool },
  { type: "text", shape: Shapes.text() },
  { type: "varchar(60)", shape: Shapes.text({ max: 60 }) },
  { type: "char(60)", shape: Shapes.text({ max: 60, trims: true }) },
  { type: "bytea", shape: Shapes.bytes },
  { type: "uuid", shape: Shapes.spelled((text) => text.toLowerCase()) },
  { type: "date", shape: Shapes.day },
  { type: "time", shape: Shapes.time },
  { type: "timestamp", shape: Shapes.instant(false) },
  { type: "timestamptz", shape: Shapes.instant(true) },
  { type: "json", shape: Shapes.document },
  { type: "jsonb", shape: Shapes.document },
  { type: "int2[]", shape: array(Shapes.integer) },
  { type: "int4[]", shape: array(Shapes.integer) },
  { type: "int8[]", shape: array(Shapes.integer) },
  { type: "float4[]", shape: array(Shapes.single) },
  { type: "float8[]", shape: array(Shapes.double) },
  { type: "numeric[]", shape: array(Shapes.decimal()) },
  { type: "bool[]", shape: array(Shapes.bool) },
  { type: "text[]", shape: array(Shapes.text()) },
  { type: "bytea[]", shape: array(Shapes.bytes) },
  { type: "date[]", shape: array(Shapes.day) },
  { type: "timestamp[]", shape: array(Shapes.instant(false)) },
  { type: "timestamptz[]", shape: array(Shapes.instant(true)) },
  { type: "jsonb[]", shape: array((read, given) => Shapes.document(read, { ...given, isTyped: true })) },
  { type: "int4range", shape: Shapes.range(Shapes.integer) },
  { type: "daterange", shape: Shapes.range(Shapes.day) },
  { type: "tsrange", shape: Shapes.range(Shapes.instant(false)) },
  { type: "tstzrange", shape: Shapes.range(Shapes.instant(true)) },
  { type: "positive", shape: Shapes.integer },
  { type: "ints", shape: array(Shapes.integer) },
  { type: "mood", shape: Shapes.spelled((text) => text) },
  { type: "pair", shape: Shapes.composite({ a: Shapes.integer, "c d": Shapes.text() }) }
]

/** A type without a length, as `Types.value` and arrays take it. */
const bare = (type: string): string => type.replace(/\(.*\)/, "")

const isArray = (type: string): boolean => type.endsWith("[]") || type === "ints"

const collecting = { onBadRow: "collect", maxBadRows: 1_000_000 } as const

export const waysIn: ReadonlyArray<WayIn> = [
  {
    name: "a parameter",
    isMain: true,
    write: (sql, { table }, { id, v }) => sql`insert into ${sql(table)} (id, v) values (${id}, ${v as never})`
  },
  {
    name: "`.unprepared`",
    write: (sql, { table }, { id, v }) =>
      sql`insert into ${sql(table)} (id, v) values (${id}, ${v as never})`.unprepared
  },
  {
    name: "`.values`",
    write: (sql, { table }, { id, v }) => sql`insert into ${sql(table)} (id, v) values (${id}, ${v as never})`.values
  },
  {
    name: "`.raw`",
    write: (sql, { table }, { id, v }) => sql`insert into ${sql(table)} (id, v) values (${id}, ${v as never})`.raw
  },
  {
    name: "a stream",
    write: (sql, { table }, { id, v }) =>
      Stream.runDrain(sql`insert into ${sql(table)} (id, v) values (${id}, ${v as never}) returning v`.stream)
  },
  {
    name: "a transaction",
    write: (sql, { table }, { id, v }) =>
      Transaction.run(sql`insert into ${sql(table)} (id, v) values (${id}, ${v as never})`)
  },
  {
    name: "`sql.insert`",
    leavesOut: true,
    write: (sql, { table }, row) => sql`insert into ${sql(table)} ${sql.insert(row as never)}`
  },
  {
    name: "`sql.insert` of several rows",
    leavesOut: true,
    write: (sql, { table }, { id, v }) =>
      sql`insert into ${sql(table)} ${sql.insert([{ id: -2 * id, v }, { id, v }, { id: -2 * id - 1, v }] as never)}`
  },
  {
    name: "`sql.update`",
    write: (sql, { table }, { id, v }) =>
      Transaction.run(Effect.andThen(
        sql`insert into ${sql(table)} (id) values (${id})`,
        sql`update ${sql(table)} set ${sql.update({ v } as never)} where id = ${id}`
      ))
  },
  {
    name: "`on conflict do update`",
    write: (sql, { table }, { id, v }) =>
      Transaction.run(Effect.andThen(
        sql`insert into ${sql(table)} (id) values (${id})`,
        sql`insert into ${sql(table)} (id) values (${id}) on conflict (id) do update set v = ${v as never}`
      ))
  },
  {
    name: "`Types.value`",
    isMain: true,
    isTyped: true,
    leavesOut: true,
    write: (sql, { table, type }, { id, v }) =>
      sql`insert into ${sql(table)} (id, v) values (${id}, ${Types.value(bare(type), v)})`
  },
  {
    name: "`Arrays.unnest`",
    isTyped: true,
    leavesOut: true,
    write: (sql, { table, type }, { id, v }) =>
      sql`insert into ${sql(table)} (id, v) select id, v from ${
        Arrays.unnest({ id: "int4", v: bare(type) }, [{ id, v }] as never)
      } as given`
  },
  {
    name: "`unnest` of an array",
    isTyped: true,
    suits: (type) => !isArray(type),
    // An array of arrays is one with more dimensions, and has the elements of all of them.
    takes: (value) => !Array.isArray(Shapes.plain(value)),
    write: (sql, { table, type }, { id, v }) =>
      sql`insert into ${sql(table)} (id, v) select ${id}::int4, u from unnest(${
        Types.value(`${bare(type)}[]`, [v])
      }) as given(u)`
  },
  {
    name: "`Bulk.insert`",
    isMain: true,
    isTyped: true,
    leavesOut: true,
    write: (_, { table }, row) => Bulk.insert(table, [row], { columns: ["id", "v"] }),
    writeAll: ({ table }, rows) => Bulk.insert(table, rows, { columns: ["id", "v"], ...collecting })
  },
  {
    name: "`Bulk.insert` as text",
    isTyped: true,
    leavesOut: true,
    write: (_, { table }, row) => Bulk.insert(table, [{ ...row, words: "a" }], { columns: ["id", "v", "words"] }),
    writeAll: ({ table }, rows) =>
      Bulk.insert(table, rows.map((row) => ({ ...row, words: "a" })), {
        columns: ["id", "v", "words"],
        ...collecting
      })
  },
  {
    name: "`Bulk.upsert`",
    isTyped: true,
    leavesOut: true,
    write: (_, { table }, row) => Bulk.upsert(table, [row], { columns: ["id", "v"] }),
    writeAll: ({ table }, rows) => Bulk.upsert(table, rows, { columns: ["id", "v"], ...collecting })
  }
]

const rowsOf = (rows: ReadonlyArray<any>): ReadonlyArray<Row> => rows
const pairs = (rows: ReadonlyArray<ReadonlyArray<any>>): ReadonlyArray<Row> => rows.map(([id, v]) => ({ id, v }))
const select = (sql: SqlClient, { table }: Place) => sql`select id, v from ${sql(table)} where id > 0`

const Found = Schema.Struct({ id: Schema.Number, v: Schema.Unknown })

export const waysOut: ReadonlyArray<WayOut> = [
  { name: "rows", read: (sql, place) => Effect.map(select(sql, place), rowsOf) },
  { name: "`.values`", read: (sql, place) => Effect.map(select(sql, place).values, pairs) },
  {
    name: "`.raw`",
    read: (sql, place) => Effect.map(select(sql, place).raw, (result: any) => rowsOf(result.rows ?? result))
  },
  { name: "`.unprepared`", read: (sql, place) => Effect.map(select(sql, place).unprepared, rowsOf) },
  { name: "a stream", read: (sql, place) => Effect.map(Stream.runCollect(select(sql, place).stream), rowsOf) },
  {
    name: "a stream in a transaction",
    read: (sql, place) => Effect.map(Transaction.run(Stream.runCollect(select(sql, place).stream)), rowsOf)
  },
  {
    name: "a resolver",
    read: (sql, place) =>
      Effect.gen(function*() {
        const resolver = SqlResolver.findById({
          Id: Schema.Number,
          Result: Found,
          ResultId: (row) => row.id,
          execute: (ids) => sql`select id, v from ${sql(place.table)} where id in ${sql.in(ids)}`
        })
        const ids = (yield* select(sql, place).values).map(([id]) => id as number)
        const found = yield* Effect.forEach(ids, (id) => SqlResolver.request(id, resolver), {
          concurrency: "unbounded"
        })
        return rowsOf(found)
      })
  },
  {
    name: "COPY in binary",
    read: (_, { table }) =>
      Effect.map(
        Stream.runCollect(Copy.rows({ table, columns: ["id", "v"], format: "binary" })),
        (rows) => rowsOf(rows).filter((row) => row.id > 0)
      )
  },
  {
    name: "COPY in text",
    read: (_, { table }) =>
      Effect.map(
        Stream.runCollect(Copy.rows({ table, columns: ["id", "v"], format: "text" })),
        (rows) => rowsOf(rows).filter((row) => row.id > 0)
      )
  },
  {
    name: "a script",
    read: (_, { table }) =>
      Effect.map(Script.run(`select id, v from ${table} where id > 0`), (results) => rowsOf(results[0]!.rows as never))
  }
]
