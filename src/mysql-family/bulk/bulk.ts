/**
 * `Bulk` on MySQL and MariaDB: rows come in, and all of them are in the table at the end, or none.
 *
 * Whatever the way, it is a transaction or a savepoint. `insert` sends rows to the table. `upsert` sends them to a
 * temporary table and merges that with one statement.
 */
import * as Channel from "effect/Channel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter } from "../../Adapter.ts"
import * as Bulk from "../../bulk/Bulk.ts"
import * as BulkLoad from "../../bulk/load.ts"
import { withNames } from "../../bulk/rename.ts"
import * as Outcome from "../../failure/Outcome.ts"
import { rowNumberOf } from "../exchange/BulkExchange.ts"
import { Session } from "../session/Session.ts"
import { profileOf } from "../statement/statements.ts"
import { CurrentBulkMethod } from "./BulkMethod.ts"
import type { Column } from "./columns.ts"
import { openSink, type Target } from "./sinks.ts"
import {
  columnList,
  columnsOf,
  definitionOf,
  quoteName,
  quotePath,
  type Table,
  tableOf,
  uniqueIndexes
} from "./table.ts"

/** A stream in this context only, and not on top of the one that it is read in. */
const inContext = <A, E, R>(stream: Stream.Stream<A, E, R>, context: Context.Context<R>): Stream.Stream<A, E, R> => {
  const transform = Channel.toTransform(stream.channel)
  const replace = <A2, E2>(effect: Effect.Effect<A2, E2, R>) =>
    Effect.updateContext<A2, E2, R, never>(effect, () => context)
  return Stream.fromChannel(
    Channel.fromTransform((upstream, scope) => Effect.map(replace(transform(upstream, scope)), replace))
  )
}

/** The session behind whatever the parts above it have made of it. */
const sessionOf = (connection: unknown): Session => {
  let current = connection as { readonly base?: unknown }
  while (!(current instanceof Session)) {
    if (typeof current?.base !== "object" || current.base === null) {
      throw new Error("This connection is none of MySQL's")
    }
    current = current.base as typeof current
  }
  return current
}

/** Says in the message how far it had got, and which row it was if the server says so. */
const withProgress = (
  error: SqlError,
  progress: Bulk.Progress,
  before: number,
  rowOf: BulkLoad.RowOf
): SqlError => {
  const counted = rowNumberOf(error)
  const place = counted === undefined ? "" : `, row ${rowOf(before + counted)}`
  // The server's own number is that of a row of one statement.
  const message = (error.reason.message ?? error.reason._tag).replace(/ at row \d+(?= \(\d+\)$)/, "")
  Object.defineProperty(error.reason, "message", {
    value:
      `${message}${place} (Bulk: ${progress.rows} rows, ${progress.bytes} bytes sent; none of the rows was applied)`,
    configurable: true,
    enumerable: true
  })
  return error
}

/**
 * Runs in a transaction. The statements of the source of the rows have nothing to do with one that is begun here. In a
 * transaction of the caller they are within the savepoint: beside it they would have to wait for its end.
 */
const inTransaction = <R, E, RE, A, E2>(
  client: SqlClient,
  rows: Bulk.Rows<R, E, RE>,
  options: Bulk.InsertOptions<R>,
  f: (
    session: Session,
    rows: Bulk.Rows<R, E, RE>,
    options: Bulk.InsertOptions<R>,
    isOwn: boolean
  ) => Effect.Effect<A, E2, RE | Scope.Scope>
) =>
  Effect.contextWith((outer: Context.Context<RE>) => {
    const { transactionService } = client
    const { onProgress } = options
    const isOwn = Option.isNone(Context.getOption(outer, transactionService))
    const source = isOwn && Stream.isStream(rows)
      ? inContext<R, E, RE>(rows, outer)
      : rows
    const given = onProgress === undefined || !isOwn ? options : {
      ...options,
      onProgress: (progress: Bulk.Progress) =>
        Effect.updateContext<void, never, never, never>(onProgress(progress), () => outer)
    }
    return client.withTransaction(
      Effect.scoped(Effect.flatMap(
        Effect.serviceOption(transactionService),
        (open) => f(sessionOf(Option.getOrThrow(open)[0]), source, given, isOwn)
      ))
    )
  })

/** Why rows with these columns cannot be merged by this key. */
const wrongUpsert = (
  key: ReadonlyArray<string>,
  indexes: ReadonlyArray<ReadonlyArray<string>>,
  given: ReadonlyArray<string>,
  update: ReadonlyArray<string> = []
): Bulk.ColumnsWrong | undefined => {
  const wrong = (problem: string, columns: ReadonlyArray<string> = []) => new Bulk.ColumnsWrong({ columns, problem })
  if (key.length === 0) return wrong("there is no primary key, so `key` has to name the columns")
  if (!indexes.some((index) => index.length === key.length && key.every((name) => index.includes(name)))) {
    return wrong("there is no unique index on these columns, by which rows could be known", key)
  }
  const without = key.filter((column) => !given.includes(column))
  if (without.length > 0) return wrong("the rows lack these columns of the key", without)
  const foreign = update.filter((column) => !given.includes(column))
  if (foreign.length > 0) return wrong("the rows lack these columns, which are to be updated", foreign)
  return undefined
}

/** The statement that puts the rows of the temporary table into the table. */
const mergeSql = (
  path: string,
  staging: string,
  key: ReadonlyArray<string>,
  given: ReadonlyArray<string>,
  update: ReadonlyArray<string>
): string => {
  const assignments = update.length === 0
    // Nothing to change: a column of the key keeps its value.
    ? [`${quoteName(key[0]!)} = ${path}.${quoteName(key[0]!)}`]
    : update.map((column) => `${quoteName(column)} = given.${quoteName(column)}`)
  return `INSERT INTO ${path} (${columnList(given)}) SELECT ${columnList(given)} FROM ${staging} AS given ` +
    `ON DUPLICATE KEY UPDATE ${assignments.join(", ")}`
}

let stagings = 0

/** The number of a row in the temporary table. */
const rowNumber = quoteName("watertight row")

const nothing: Bulk.Progress = { rows: 0, bytes: 0, bad: 0 }

export const makeBulk = (
  adapter: Adapter,
  client: SqlClient,
  rename: ((name: string) => string) | undefined
): Bulk.Bulk => {
  const judge = (error: SqlError) => Outcome.attach(error, "InTransaction", adapter.ruleOf)
  const errorOf = (table: string, reason: Bulk.Reason) =>
    new Bulk.BulkError({ database: adapter.name, table, reason, progress: nothing })

  const load = Effect.fnUntraced(function*<R, E, RE>(
    session: Session,
    name: string,
    table: Table,
    rows: Bulk.Rows<R, E, RE>,
    options: Bulk.InsertOptions<R>,
    start: (columns: ReadonlyArray<Column>) => Effect.Effect<
      { readonly target: Target; readonly mayLoad: boolean },
      SqlError | Bulk.BulkError
    >,
    loaded: Effect.Effect<void, SqlError> = Effect.void
  ) {
    if (table.columns.length === 0) return yield* errorOf(name, new Bulk.TableMissing())
    let target: Target | undefined
    return yield* BulkLoad.load({
      database: adapter.name,
      table: name,
      rows,
      options,
      rename,
      start: Effect.fnUntraced(function*(names, fail) {
        const columns = columnsOf(table, names)
        if (columns instanceof Bulk.ColumnsWrong) return yield* fail(columns)
        const started = yield* start(columns)
        target = started.target
        const sink = yield* Effect.mapError(openSink(target, started.mayLoad), judge)
        return Object.assign(sink, { finish: Effect.andThen(sink.finish, loaded) })
      }),
      failed: (error, progress, rowOf) => withProgress(judge(error), progress, target?.before ?? 0, rowOf)
    })
  })

  const insert: Bulk.Bulk["insert"] = (name, rows, options = {}) =>
    inTransaction(
      client,
      rows,
      options,
      (session, rows, options, isOwn) =>
        Effect.flatMap(Effect.mapError(tableOf(session, name), judge), (table) =>
          load(session, name, table, rows, options, (columns) =>
            Effect.map(CurrentBulkMethod, (method) => ({
              target: { session, path: quotePath(name), columns, verb: "INSERT", suffix: "", before: 0 },
              mayLoad: method === "load" ||
                !table.hasTrigger && (isOwn || !Stream.isStream(rows) && options.onProgress === undefined)
            }))))
    ) as never

  const upsert: Bulk.Bulk["upsert"] = (name, rows, options = {}) =>
    inTransaction(
      client,
      rows,
      options,
      Effect.fnUntraced(function*(session, rows, loadOptions) {
        const options = loadOptions as Bulk.UpsertOptions<any>
        const run = (sql: string) => Effect.mapError(session.executeValuesUnprepared(sql, []), judge)
        const table = yield* Effect.mapError(tableOf(session, name), judge)
        const indexes = table.columns.length === 0
          ? []
          : yield* Effect.mapError(uniqueIndexes(session, name), judge)
        const key = options.key ?? indexes[0] ?? []
        const staging = quotePath([...name.split(".").slice(0, -1), `watertight_bulk_${++stagings}`].join("."))
        let given: ReadonlyArray<string> = []
        const counted = { inserted: 0, updated: 0 }
        const path = quotePath(name)
        const merge = Effect.gen(function*() {
          const matches = key.map((column) => `there.${quoteName(column)} = given.${quoteName(column)}`)
          const [counts] = yield* run(
            `SELECT COUNT(*), COUNT(there.${quoteName(key[0]!)}) FROM ${staging} AS given LEFT JOIN ${path} AS there ` +
              `ON ${matches.join(" AND ")}`
          )
          const merge = mergeSql(path, staging, key, given, BulkLoad.updatesOf(options, key, given))
          yield* Effect.mapError(
            session.executeBulk(profileOf(merge), (driver, receiver) => driver.query(merge, receiver)),
            judge
          )
          yield* run(`DROP TEMPORARY TABLE ${staging}`)
          const [total, updated] = counts!.map(Number) as [number, number]
          counted.inserted += total - updated
          counted.updated += updated
        })
        const { bad } = yield* load(
          session,
          name,
          table,
          rows,
          options,
          Effect.fnUntraced(function*(columns) {
            given = columns.map((column) => column.name)
            const wrong = BulkLoad.upsertProblem(options) ??
              wrongUpsert(key, indexes, given, BulkLoad.updatesOf(options, key, given))
            if (wrong !== undefined) return yield* errorOf(name, wrong)
            const definitions = columns.map((column) =>
              definitionOf(table.columns.find(({ name }) => name === column.name)!, column.takesNull)
            )
            if (columns.some((column) => column.takesNull && key.includes(column.name))) {
              // The key is no primary key then, and a server may demand one.
              definitions.push(`${rowNumber} BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY`)
            }
            yield* run(`CREATE TEMPORARY TABLE ${staging} (${definitions.join(", ")}, UNIQUE KEY (${columnList(key)}))`)
            const kept = `${staging}.${quoteName(key[0]!)}`
            const target: Target = options.duplicates === "first"
              ? {
                session,
                columns,
                path: staging,
                verb: "INSERT",
                suffix: ` ON DUPLICATE KEY UPDATE ${quoteName(key[0]!)} = ${kept}`,
                before: 0
              }
              : { session, columns, path: staging, verb: "REPLACE", suffix: "", before: 0 }
            return { target, mayLoad: false }
          }),
          merge
        )
        return { ...counted, bad }
      })
    ) as never

  return withNames({ insert, upsert }, rename)
}
