/**
 * `Bulk` on PostgreSQL: COPY, and COPY to a temporary table and one statement for rows that may exist already, and where
 * COPY may not write: under row-level security, and into a view.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Bulk from "../../bulk/Bulk.ts"
import * as BulkLoad from "../../bulk/load.ts"
import { withNames } from "../../bulk/rename.ts"
import { withExtent } from "../copy/copyErrors.ts"
import type { Session } from "../session/Session.ts"
import type { Sessions } from "../Sessions.ts"
import { quoteName, quotePath } from "../statement/identifiers.ts"
import { oneRow } from "../statement/results.ts"
import { codecForAll } from "../types/foreign.ts"
import { type Column, makeEncoder } from "./rows.ts"

/** What the catalogue says of a table's column. */
interface TableColumn {
  readonly name: string
  readonly oid: number
  readonly modifier: number
  readonly notNull: boolean
  readonly generated: boolean
  /** Whether the server gives its values, unless it is overruled. */
  readonly isAlwaysIdentity: boolean
  readonly type: string
  /** Its place in the primary key, or 0. */
  readonly key: number
}

interface Table {
  readonly columns: ReadonlyArray<TableColumn>
  /** Whether a trigger may change a row before the table sees it. */
  readonly hasTrigger: boolean
  /** Whether its rows say whether they were there before: those of plain tables do. */
  readonly tellsInserted: boolean
  /** Whether COPY may write to it. */
  readonly takesCopy: boolean
}

const describeTable = `select a.attname, a.atttypid::int8::float8, a.atttypmod, a.attnotnull, a.attgenerated <> '',
  pg_catalog.format_type(a.atttypid, a.atttypmod), coalesce(pg_catalog.array_position(i.indkey::int2[], a.attnum), -1) + 1,
  exists (
    select from pg_catalog.pg_trigger t where t.tgrelid = a.attrelid and not t.tgisinternal and (t.tgtype & 7) = 7
  ), c.relkind = 'r', c.relkind <> 'v' and not pg_catalog.row_security_active(c.oid), a.attidentity = 'a'
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indisprimary
where a.attrelid = pg_catalog.to_regclass($1) and a.attnum > 0 and not a.attisdropped
order by a.attnum`

const tableOf = (session: Session, table: string): Effect.Effect<Table, SqlError> =>
  Effect.map(session.executeValues(describeTable, [quotePath(table)]), (rows) => ({
    hasTrigger: rows[0]?.[7] === true,
    tellsInserted: rows[0]?.[8] === true,
    takesCopy: rows[0]?.[9] !== false,
    columns: rows.map((row): TableColumn => ({
      name: row[0] as string,
      oid: row[1] as number,
      modifier: row[2] as number,
      notNull: row[3] as boolean,
      generated: row[4] as boolean,
      isAlwaysIdentity: row[10] as boolean,
      type: row[5] as string,
      key: row[6] as number
    }))
  }))

const varchar = 1043
const bpchar = 1042

const makeColumns = (
  session: Session,
  table: Table,
  names: ReadonlyArray<string>
): Result.Result<ReadonlyArray<Column>, Bulk.Reason> => {
  const found = new Map(table.columns.map((column) => [column.name, column]))
  const missing = names.filter((name) => !found.has(name))
  if (missing.length > 0) {
    return Result.fail(new Bulk.ColumnsWrong({ columns: missing, problem: "the table does not have these columns" }))
  }
  const generated = names.filter((name) => found.get(name)!.generated)
  if (generated.length > 0) {
    return Result.fail(new Bulk.ColumnsWrong({ columns: generated, problem: "the server computes these columns" }))
  }
  if (names.length === 0 || new Set(names).size < names.length) {
    return Result.fail(new Bulk.ColumnsWrong({ columns: names, problem: "each column has to be given once" }))
  }
  return Result.succeed(names.map((name): Column => {
    const { modifier, notNull, oid, type } = found.get(name)!
    return {
      name,
      type,
      codec: codecForAll(session.types, oid),
      takesNull: !notNull || table.hasTrigger,
      maxLength: (oid === varchar || oid === bpchar) && modifier >= 4 ? modifier - 4 : undefined
    }
  }))
}

/** Where rows are loaded. */
interface Place {
  readonly sessions: Sessions
  readonly client: SqlClient
  readonly rename: ((name: string) => string) | undefined
}

const load = Effect.fnUntraced(function*<Row, E, R>(
  { rename, sessions }: Place,
  session: Session,
  /** What errors call the table, and whose columns type the rows. */
  name: string,
  table: Table,
  /** Where the rows go to. */
  target: string,
  rows: Bulk.Rows<Row, E, R>,
  options: Bulk.InsertOptions<Row>,
  { loaded = Effect.void, starts }: {
    /** What comes before the rows that have these columns. */
    readonly starts?: (columns: ReadonlyArray<string>) => Effect.Effect<unknown, SqlError | Bulk.BulkError>
    /** What comes after them. */
    readonly loaded?: Effect.Effect<unknown, SqlError>
  } = {}
) {
  const judge = sessions.judge(session)
  if (table.columns.length === 0) {
    return yield* new Bulk.BulkError({
      database: sessions.database,
      table: name,
      reason: new Bulk.TableMissing(),
      progress: { rows: 0, bytes: 0, bad: 0 }
    })
  }
  return yield* BulkLoad.load({
    database: sessions.database,
    table: name,
    rows,
    options,
    rename,
    start: Effect.fnUntraced(function*(names, fail) {
      const wanted = table.columns.filter((column) => names.includes(column.name))
      yield* Effect.mapError(session.knowTypes(wanted.map((column) => column.oid)), judge)
      const columns = yield* Effect.mapError(Effect.fromResult(makeColumns(session, table, names)), fail)
      if (starts !== undefined) yield* starts(names)
      const encoder = makeEncoder(columns)
      const copy = yield* session.copyIn(
        `COPY ${target} (${names.map(quoteName).join(", ")}) FROM STDIN (FORMAT ${encoder.format})`
      )
      yield* Effect.mapError(
        copy.open,
        (error) => withExtent(judge(error), { bytes: 0, rows: 0, direction: "sent" })
      )
      const sink: BulkLoad.Sink = {
        add: encoder.add,
        get isFull() {
          return encoder.isFull
        },
        take: () => {
          const message = encoder.take()
          return message === undefined
            ? undefined
            : { bytes: message.bytes, send: copy.send(message.frame, message.bytes) }
        },
        end: encoder.end,
        finish: Effect.andThen(copy.finish, loaded)
      }
      return sink
    }),
    failed: (error, { bytes, rows }, rowOf) => withExtent(judge(error), { bytes, rows, direction: "sent", rowOf })
  })
}, Effect.scoped)

/** The session, what the catalogue says of the table, and a temporary table for what is not to be copied into it. */
const open = Effect.fnUntraced(function*({ sessions }: Place, name: string) {
  const session = yield* sessions.borrow
  const judge = sessions.judge(session)
  const run = (sql: string) => Effect.mapError(session.executeValuesUnprepared(sql, []), judge)
  const table = yield* Effect.mapError(tableOf(session, name), judge)
  const staging = `pg_temp.${quoteName(`watertight_bulk_${++stagings}`)}`
  const stage = (columns: ReadonlyArray<string>) =>
    Effect.andThen(
      run(
        `create temporary table ${staging.slice("pg_temp.".length)} on commit drop as select ${list(columns)} from ${
          quotePath(name)
        } with no data`
      ),
      run(`alter table ${staging} add column ${ordinal(columns)} bigint generated always as identity`)
    )
  const overriding = (columns: ReadonlyArray<string>) =>
    table.columns.some((column) => column.isAlwaysIdentity && columns.includes(column.name))
      ? " overriding system value"
      : ""
  return { session, run, table, staging, stage, overriding, drop: run(`drop table ${staging}`) }
})

const makeInsert = (place: Place): Bulk.Bulk["insert"] => {
  const { client, sessions } = place
  /** Inserts with COPY; `undefined` where COPY may not write to the table. */
  const copied = <Row extends object, E, R>(
    name: string,
    rows: Bulk.Rows<Row, E, R>,
    options: Bulk.InsertOptions<NoInfer<Row>>
  ) =>
    Effect.scoped(Effect.gen(function*() {
      const { session, table } = yield* open(place, name)
      return table.takesCopy ? yield* load(place, session, name, table, quotePath(name), rows, options) : undefined
    }))

  /** Inserts by way of a temporary table, inside a transaction. */
  const staged = <Row extends object, E, R>(
    name: string,
    rows: Bulk.Rows<Row, E, R>,
    options: Bulk.InsertOptions<NoInfer<Row>>
  ) =>
    Effect.scoped(Effect.gen(function*() {
      const { drop, overriding, run, session, stage, staging, table } = yield* open(place, name)
      let given: ReadonlyArray<string> = []
      const insertAll = Effect.suspend(() =>
        Effect.andThen(
          run(
            `insert into ${quotePath(name)} (${list(given)})${overriding(given)} select ${
              list(given)
            } from ${staging}` +
              ` order by ${ordinal(given)}`
          ),
          drop
        )
      )
      return yield* load(place, session, name, table, staging, rows, options, {
        starts: (columns) => Effect.suspend(() => stage(given = columns)),
        loaded: insertAll
      })
    }))

  return (name, rows, options = {}) => {
    const inserted = Effect.flatMap(
      copied(name, rows, options),
      (done) => done === undefined ? client.withTransaction(staged(name, rows, options)) : Effect.succeed(done)
    )
    // One COPY is all rows or none by itself. Rows with different columns are more than one, and settings hold for a
    // transaction.
    return Effect.withFiber((fiber) =>
      options.missing === "default" || (fiber.getRef(sessions.settings) ?? "none") !== "none"
        ? client.withTransaction(inserted)
        : inserted
    ) as never
  }
}

const makeUpsert = (place: Place): Bulk.Bulk["upsert"] => {
  const { client, sessions } = place
  return (name, rows, options = {}) =>
    client.withTransaction(Effect.scoped(Effect.gen(function*() {
      const { drop, overriding, run, session, stage, staging, table } = yield* open(place, name)
      const count = (sql: string) =>
        Effect.flatMap(run(sql), (rows) =>
          Effect.mapError(
            oneRow(sessions.database, rows as ReadonlyArray<ReadonlyArray<number>>),
            sessions.judge(session)
          ))
      const fail = (problem: string, columns: ReadonlyArray<string> = []) =>
        new Bulk.BulkError({
          database: sessions.database,
          table: name,
          reason: new Bulk.ColumnsWrong({ columns, problem }),
          progress: { rows: 0, bytes: 0, bad: 0 }
        })
      const key = options.key ??
        table.columns.filter((column) => column.key > 0).sort((a, b) => a.key - b.key).map((column) => column.name)
      /** Why rows with these columns cannot be merged. */
      const problemOf = (columns: ReadonlyArray<string>): Bulk.BulkError | undefined => {
        const problem = BulkLoad.upsertProblem(options)
        if (problem !== undefined) return fail(problem.problem)
        if (key.length === 0) return fail("there is no primary key, so `key` has to name the columns")
        const without = key.filter((column) => !columns.includes(column))
        if (without.length > 0) return fail("the rows lack these columns of the key", without)
        const foreign = BulkLoad.updatesOf(options, key, columns).filter((column) => !columns.includes(column))
        return foreign.length > 0 ? fail("the rows lack these columns, which are to be updated", foreign) : undefined
      }
      let given: ReadonlyArray<string> = []
      const counted = { inserted: 0, updated: 0 }
      const merge = Effect.gen(function*() {
        const update = BulkLoad.updatesOf(options, key, given)
        const order = options.duplicates === "first" ? "asc" : "desc"
        const source = `select distinct on (${list(key)}) ${list(given)} from ${staging}
  order by ${list(key)}, ${ordinal(given)} ${order}`
        const insertInto = `insert into ${quotePath(name)} as target (${list(given)})${overriding(given)} ${source}
  on conflict (${list(key)}) do ${update.length === 0 ? "nothing" : `update set ${assignments(update, "excluded")}`}`
        // A partitioned table and a view do not say which rows were there. Their rows are updated first and counted
        // then: what somebody else inserts in between is counted as inserted.
        const updated = !table.tellsInserted && update.length > 0
          ? (yield* count(`with merged as (
  update ${quotePath(name)} as target set ${assignments(update, "source")} from (${source}) as source
  where ${key.map((column) => `target.${quoteName(column)} = source.${quoteName(column)}`).join(" and ")} returning 1
) select count(*)::float8 from merged`))[0]!
          : 0
        const counts = yield* count(
          `with merged as (${insertInto} returning ${table.tellsInserted ? "(target.xmax = 0)" : "true"} as inserted)
select (count(*) filter (where inserted))::float8, (count(*) filter (where not inserted))::float8 from merged`
        )
        yield* drop
        counted.inserted += counts[0]! - updated
        counted.updated += counts[1]! + updated
      })
      const { bad } = yield* load(place, session, name, table, staging, rows, options, {
        starts: (columns) =>
          Effect.suspend((): Effect.Effect<unknown, SqlError | Bulk.BulkError> => {
            const problem = problemOf(given = columns)
            return problem === undefined ? stage(columns) : Effect.fail(problem)
          }),
        loaded: merge
      })
      return { ...counted, bad }
    }))) as never
}

export const makeBulk = (
  sessions: Sessions,
  client: SqlClient,
  rename: ((name: string) => string) | undefined
): Bulk.Bulk => {
  const place: Place = { sessions, client, rename }
  return withNames({ insert: makeInsert(place), upsert: makeUpsert(place) }, rename)
}

let stagings = 0

const list = (columns: ReadonlyArray<string>): string => columns.map(quoteName).join(", ")

const assignments = (columns: ReadonlyArray<string>, from: string): string =>
  columns.map((column) => `${quoteName(column)} = ${from}.${quoteName(column)}`).join(", ")

/** The column that keeps the order of the rows, under a name that none of theirs has. */
const ordinal = (columns: ReadonlyArray<string>): string => {
  let name = "watertight_row"
  while (columns.includes(name)) name += "_"
  return quoteName(name)
}
