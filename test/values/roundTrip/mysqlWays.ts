/** The columns of MySQL and MariaDB under test, and all ways into and out of them. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SqlClient } from "effect/sql/SqlClient"
import * as SqlResolver from "effect/sql/SqlResolver"
import * as Stream from "effect/Stream"
import { Bulk, Transaction } from "watertight"
import { Mysql } from "watertight/mysql"
import type { Subject } from "../../mysql-family/support.ts"
import type { Column, Place, Row, WayIn, WayOut } from "./check.ts"
import * as Own from "./mysqlShapes.ts"
import * as Shapes from "./shapes.ts"

const common: ReadonlyArray<Column> = [
  { type: "tinyint", shape: Own.integer },
  { type: "smallint", shape: Own.integer },
  { type: "int", shape: Own.integer },
  { type: "int unsigned", shape: Own.integer },
  { type: "bigint", shape: Own.integer },
  { type: "bigint unsigned", shape: Own.integer },
  { type: "boolean", shape: Own.bool },
  { type: "float", shape: Own.single },
  { type: "double", shape: Own.numeric(Shapes.double) },
  { type: "decimal(40,6)", shape: Own.numeric(Shapes.decimal(6)) },
  { type: "varchar(60)", shape: Shapes.text({ max: 60 }) },
  { type: "char(60)", shape: Shapes.text({ max: 60, trims: true }) },
  { type: "text", shape: Shapes.text() },
  { type: "varbinary(60)", shape: Shapes.bytes },
  { type: "blob", shape: Shapes.bytes },
  { type: "bit(16)", shape: Own.bits },
  { type: "date", shape: Own.day },
  { type: "time", shape: Own.time(0) },
  { type: "time(6)", shape: Own.time(6) },
  { type: "datetime", shape: Own.dateTime(0) },
  { type: "datetime(3)", shape: Own.dateTime(3) },
  { type: "datetime(6)", shape: Own.dateTime(6) },
  { type: "timestamp(3)", shape: Own.dateTime(3) },
  { type: "year", shape: Own.year },
  { type: "json", shape: Own.documentOf(Shapes.document) },
  { type: "enum('a','null','12','true')", shape: Own.names },
  { type: "set('a','null','12','true')", shape: Own.names }
]

/** The bytes of an address of IPv6. */
const addressBytes = (text: string): Buffer => {
  const [head = "", tail] = text.split("::")
  const groups = (part: string) => part === "" ? [] : part.split(":")
  const [left, right] = [groups(head), groups(tail ?? "")]
  const all = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => "0"), ...right]
  return Buffer.from(all.map((group) => group.padStart(4, "0")).join(""), "hex")
}

export const columnsOf = ({ server }: Subject): ReadonlyArray<Column> =>
  server.name === "MySQL" ? common : [
    ...common,
    {
      type: "uuid",
      shape: Own.spelled((text) => text.toLowerCase(), (text) => Buffer.from(text.replaceAll("-", ""), "hex"))
    },
    { type: "inet6", shape: Own.spelled((text) => text, addressBytes) }
  ]

const by = (method: "load" | "batch" | "statements") => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provideService(effect, Mysql.CurrentBulkMethod, method)

const collecting = { onBadRow: "collect", maxBadRows: 1_000_000 } as const

export const waysInOf = ({ server, driver, module }: Subject): ReadonlyArray<WayIn> => [
  {
    name: "a parameter",
    isMain: true,
    write: (sql, { table }, { id, v }) => sql`insert into ${sql(table)} (id, v) values (${id}, ${v as never})`
  },
  {
    name: "`.unprepared`",
    isMain: true,
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
      Stream.runDrain(sql`insert into ${sql(table)} (id, v) values (${id}, ${v as never})`.stream)
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
    name: "`on duplicate key update`",
    write: (sql, { table }, { id, v }) =>
      Transaction.run(Effect.andThen(
        sql`insert into ${sql(table)} (id) values (${id})`,
        sql`insert into ${sql(table)} (id) values (${id}) on duplicate key update v = ${v as never}`
      ))
  },
  {
    name: "`sql.updateValues`",
    write: (sql, { table }, { id, v }) =>
      Transaction.run(Effect.andThen(
        sql`insert into ${sql(table)} (id) values (${id})`,
        sql`update ${sql(table)} t join ${sql.updateValues([{ id, v }] as never, "data")}
          on t.id = data.id set t.v = data.v`
      ))
  },
  {
    name: "`sql.upsert`",
    leavesOut: true,
    write: (_, { table }, row) => Effect.flatMap(module.MysqlClient, (sql) => sql.upsert(table, [row as never]))
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
    name: "`Bulk.insert` in statements",
    isTyped: true,
    leavesOut: true,
    write: (_, { table }, row) => by("statements")(Bulk.insert(table, [row], { columns: ["id", "v"] })),
    writeAll: ({ table }, rows) => by("statements")(Bulk.insert(table, rows, { columns: ["id", "v"], ...collecting }))
  },
  ...(driver.module === "Mysql"
    ? [{
      name: "`Bulk.insert` by LOAD DATA",
      isTyped: true,
      leavesOut: true,
      write: (_, { table }, row) => by("load")(Bulk.insert(table, [row], { columns: ["id", "v"] })),
      writeAll: ({ table }, rows) => by("load")(Bulk.insert(table, rows, { columns: ["id", "v"], ...collecting }))
    }] satisfies ReadonlyArray<WayIn>
    : server.name === "MariaDB"
    ? [{
      name: "`Bulk.insert` in a batch",
      isTyped: true,
      leavesOut: true,
      write: (_, { table }, row) => by("batch")(Bulk.insert(table, [row], { columns: ["id", "v"] })),
      writeAll: ({ table }, rows) => by("batch")(Bulk.insert(table, rows, { columns: ["id", "v"], ...collecting }))
    }] satisfies ReadonlyArray<WayIn>
    : []),
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

/** As a text a `float` has six digits, whatever it holds. */
const sixDigits = (type: string, one: unknown, other: unknown): boolean =>
  type === "float" && typeof one === "number" && typeof other === "number" &&
  (Number(one.toPrecision(6)) === other || Math.abs(one - other) <= Math.abs(one) * 1e-5)

export const waysOut: ReadonlyArray<WayOut> = [
  { name: "rows", read: (sql, place) => Effect.map(select(sql, place), rowsOf) },
  { name: "`.values`", read: (sql, place) => Effect.map(select(sql, place).values, pairs) },
  { name: "`.raw`", read: (sql, place) => Effect.map(select(sql, place).raw, (rows) => rowsOf(rows as never)) },
  {
    name: "`.unprepared`",
    alike: sixDigits,
    read: (sql, place) => Effect.map(select(sql, place).unprepared, rowsOf)
  },
  { name: "a stream", read: (sql, place) => Effect.map(Stream.runCollect(select(sql, place).stream), rowsOf) },
  {
    name: "a stream in a transaction",
    read: (sql, place) => Effect.map(Transaction.run(Stream.runCollect(select(sql, place).stream)), rowsOf)
  },
  {
    name: "several statements",
    alike: sixDigits,
    read: (sql, { table }) =>
      Effect.map(
        sql.unsafe(`select 1 as one; select id, v from ${table} where id > 0`).unprepared,
        (results: any) => rowsOf(results[1])
      )
  },
  {
    name: "a procedure",
    alike: sixDigits,
    read: (sql) => Effect.map(sql`call all_of_t()`, (rows) => rowsOf(rows as never))
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
  }
]
