/**
 * `Bulk` on MySQL and MariaDB.
 *
 * Whatever the way, it is a transaction or a savepoint, so that all rows are there at the end or none.
 */
import * as Channel from "effect/Channel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter } from "../../Adapter.ts"
import * as Bulk from "../../bulk/Bulk.ts"
import * as BulkLoad from "../../bulk/load.ts"
import { withNames } from "../../bulk/rename.ts"
import { badRowOf, checkKeys, refuseNull } from "../../bulk/rows.ts"
import * as Outcome from "../../failure/Outcome.ts"
import { unfit } from "../../values/UnfitValue.ts"
import type { DriverConnection, Receiver } from "../driver/Driver.ts"
import { MysqlError, unknownError } from "../errors/errors.ts"
import { rowNumberOf } from "../exchange/BulkExchange.ts"
import { Session } from "../session/Session.ts"
import { stringLiteral } from "../statement/parameters.ts"
import { profileOf } from "../statement/statements.ts"
import { type Column, type Format, makeColumn, type TableColumn } from "./columns.ts"

/**
 * How `Bulk` sends rows.
 *
 * | method       | is                                                    | needs                                           |
 * | ------------ | ----------------------------------------------------- | ----------------------------------------------- |
 * | `load`       | `LOAD DATA LOCAL INFILE`, written while it is loaded  | `watertight/mysql`; the server's `local_infile` |
 * | `batch`      | one statement and many rows of parameters in a packet | `watertight/mariadb`; a MariaDB server          |
 * | `statements` | `INSERT` with many rows                               | nothing                                         |
 *
 * @category models
 * @since 0.1.0
 */
export type BulkMethod = "load" | "batch" | "statements"

/**
 * The method by which `Bulk` sends rows. Default: `undefined`, for the fastest that driver and server have.
 *
 * **Details**
 *
 * The methods differ in speed only: a row that one of them refuses is refused by all. `LOAD DATA LOCAL` by itself turns
 * errors into warnings and skips duplicates. Here a warning, or a row that is missing in the end, is a failure.
 *
 * `upsert` never uses `load`. Unless it is asked for, neither does an `insert` into a table with a trigger before
 * inserts, because `LOAD DATA` replaces a null that the trigger would, nor one in a transaction of yours whose rows come
 * from a `Stream` or that has `onProgress`: both might wait for a statement of that transaction, which would wait for
 * the end of the rows.
 *
 * **Gotchas**
 *
 * A method that cannot be had fails with a `SqlError` that says why.
 *
 * **Example** (Without `LOAD DATA`)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Bulk } from "watertight"
 * import { Mysql } from "watertight/mysql"
 *
 * const load = Bulk.insert("city", [{ id: 1, name: "Ulm" }]).pipe(
 *   Effect.provideService(Mysql.CurrentBulkMethod, "statements")
 * )
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentBulkMethod: Context.Reference<BulkMethod | undefined> = Context.Reference<BulkMethod | undefined>(
  "watertight/mysql/CurrentBulkMethod",
  { defaultValue: () => undefined }
)

/** How much is sent at once, in characters. */
const pieceSize = 256 * 1024

/** How much is written at once, before whatever else has to be done gets its turn. */
const sliceSize = 32 * 1024

/** What a packet has besides a row. */
const packetReserve = 8 * 1024

const quoteName = (name: string): string => `\`${name.replaceAll("`", "``")}\``

/** Quotes a name that may have a schema in front of it, as `sql("schema.table")` does. */
const quotePath = (name: string): string => name.split(".").map(quoteName).join(".")

const list = (columns: ReadonlyArray<string>): string => columns.map(quoteName).join(", ")

interface Table {
  readonly columns: ReadonlyArray<TableColumn>
  /** Whether a trigger may change a row before the table sees it. */
  readonly hasTrigger: boolean
}

const errnoOf = (error: SqlError): number | undefined =>
  error.reason.cause instanceof MysqlError ? error.reason.cause.errno : undefined

const hasTrigger = `select 1 from information_schema.triggers
where event_object_schema = coalesce(?, database()) and event_object_table = ?
  and event_manipulation = 'INSERT' and action_timing = 'BEFORE' limit 1`

/** What there is to know of a table. It has no columns if it does not exist. */
const tableOf = Effect.fnUntraced(function*(session: Session, name: string): Effect.fn.Return<Table, SqlError> {
  // Unlike `information_schema` it knows temporary tables too.
  const rows = yield* Effect.catchIf(
    session.executeValuesUnprepared(`SHOW FULL COLUMNS FROM ${quotePath(name)}`, []),
    (error) => isMissing(errnoOf(error)),
    () => Effect.succeed([])
  )
  const path = name.split(".")
  const triggers = rows.length === 0
    ? []
    : yield* session.executeValues(hasTrigger, [path.at(-2) ?? null, path.at(-1)!])
  return {
    hasTrigger: triggers.length > 0,
    columns: rows.map(([field, type, collation, nullable, , , extra]): TableColumn => ({
      name: String(field),
      type: String(type),
      collation: collation === null ? undefined : String(collation),
      isNullable: nullable === "YES",
      isAutoIncrement: /auto_increment/i.test(String(extra)),
      isGenerated: /\b(?:virtual|stored|persistent)\b/i.test(String(extra))
    }))
  }
})

/** 1146: no such table. 1049: no such database. 1103: no table can have this name. */
const isMissing = (errno: number | undefined): boolean => errno === 1146 || errno === 1049 || errno === 1103

/** The columns of each unique index. The primary key is the first. */
const uniqueIndexes = (session: Session, name: string): Effect.Effect<ReadonlyArray<ReadonlyArray<string>>, SqlError> =>
  Effect.map(session.executeValuesUnprepared(`SHOW INDEX FROM ${quotePath(name)}`, []), (rows) => {
    const indexes = new Map<string, Array<string>>([["PRIMARY", []]])
    for (const [, nonUnique, index, , column] of rows) {
      if (Number(nonUnique) !== 0) continue
      const columns = indexes.get(String(index))
      if (columns === undefined) indexes.set(String(index), [String(column)])
      else columns.push(String(column))
    }
    return [...indexes.values()]
  })

const columnsOf = (table: Table, names: ReadonlyArray<string>): ReadonlyArray<Column> | Bulk.ColumnsWrong => {
  const found = new Map(table.columns.map((column) => [column.name, column]))
  const wrong = (columns: ReadonlyArray<string>, problem: string) => new Bulk.ColumnsWrong({ columns, problem })
  const missing = names.filter((name) => !found.has(name))
  if (missing.length > 0) return wrong(missing, "the table does not have these columns")
  const generated = names.filter((name) => found.get(name)!.isGenerated)
  if (generated.length > 0) return wrong(generated, "the server computes these columns")
  if (names.length === 0 || new Set(names).size < names.length) {
    return wrong(names, "each column has to be given once")
  }
  return names.map((name) => makeColumn(found.get(name)!, table.hasTrigger))
}

// ---------------------------------------------------------------------------------------------------------------------
// Sinks
// ---------------------------------------------------------------------------------------------------------------------

/** Where rows go. */
interface Target {
  readonly session: Session
  readonly path: string
  readonly columns: ReadonlyArray<Column>
  /** `INSERT` or `REPLACE`. */
  readonly verb: string
  readonly suffix: string
  /** How many rows had been sent before those that failed. */
  before: number
}

type Row = ReadonlyArray<string | null>

/** Writes the values of rows. `take` gets each row, and may still refuse it. */
const encoder = (columns: ReadonlyArray<Column>, take: (row: Row) => void): BulkLoad.Sink["add"] => {
  const names = new Set(columns.map((column) => column.name))
  return (row, index) => {
    let place = -1
    // The codec boundary: writers throw what they cannot write.
    try {
      checkKeys(row, names)
      const values = new Array<string | null>(columns.length)
      for (place = 0; place < columns.length; place++) {
        const column = columns[place]!
        const value: unknown = row[column.name]
        if (value === null || value === undefined) {
          if (!column.takesNull) refuseNull()
          values[place] = null
        } else values[place] = column.write(value)
      }
      take(values)
      return undefined
    } catch (cause) {
      return badRowOf(cause, row, index, columns[place])
    }
  }
}

const escapes: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\0": "\\0" }

const escape = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  /[\\\n\t\0]/.test(text) ? text.replace(/[\\\n\t\0]/g, (char) => escapes[char]!) : text

let files = 0

/** One `LOAD DATA LOCAL INFILE`. The name is that of no file: it only tells the server's request from any other. */
const loading = (target: Target): Effect.Effect<BulkLoad.Sink, SqlError, Scope.Scope> => {
  const { columns, path, session } = target
  const file = `watertight-${++files}`
  const bytes = columns.flatMap(({ format, name }, index) =>
    format === "hex" ? [`${quoteName(name)} = UNHEX(@watertight_${index})`] : []
  )
  const fields = columns.map(({ format, name }, index) => format === "hex" ? `@watertight_${index}` : quoteName(name))
  const sql = `LOAD DATA LOCAL INFILE '${file}' INTO TABLE ${path} CHARACTER SET utf8mb4 FIELDS TERMINATED BY X'09' ` +
    `ESCAPED BY X'5C' LINES TERMINATED BY X'0A' (${fields.join(", ")})` +
    (bytes.length === 0 ? "" : ` SET ${bytes.join(", ")}`)
  const profile = { ...profileOf(sql), changesSession: bytes.length > 0 }
  let text = ""
  let rows = 0
  const isText = columns.map(({ format }) => format === "text")
  const add = encoder(columns, (row) => {
    for (let index = 0; index < row.length; index++) {
      const value = row[index]!
      if (index > 0) text += "\t"
      text += value === null ? "\\N" : isText[index] ? escape(value) : value
    }
    text += "\n"
    rows++
  })
  return Effect.map(session.load(profile, (driver, receiver) => driver.load!(sql, file, receiver)), (job) => ({
    add,
    get isFull() {
      return text.length >= pieceSize
    },
    take: () => {
      if (text === "") return undefined
      const piece = Buffer.from(text)
      text = ""
      return { bytes: piece.length, send: job.write(piece) }
    },
    finish: Effect.flatMap(
      job.finish,
      ({ affectedRows }) =>
        affectedRows === rows ? Effect.void : Effect.fail(unknownError(
          session.database,
          `the server has taken ${affectedRows} of ${rows} rows, and does not say why`,
          undefined,
          "bulk"
        ))
    )
  }))
}

/** How rows are put into a statement. */
interface Way<Item> {
  readonly item: (row: Row) => Item
  readonly bytes: (item: Item) => number
  readonly run: (items: ReadonlyArray<Item>) => (driver: DriverConnection, receiver: Receiver) => void
}

const batchWay = ({ columns, path, suffix, verb }: Target): Way<Row> => {
  const values = columns.map(({ format }) => format === "hex" ? "UNHEX(?)" : "?")
  const sql = `${verb} INTO ${path} (${list(columns.map(({ name }) => name))}) VALUES (${values.join(", ")})${suffix}`
  return {
    item: (row) => row,
    bytes: (row) => {
      let bytes = 0
      for (let index = 0; index < row.length; index++) {
        const value = row[index]!
        bytes += value === null
          ? 1
          : 2 + (columns[index]!.format === "text" ? Buffer.byteLength(value) : value.length)
      }
      return bytes
    },
    run: (rows) => (driver, receiver) => driver.batch!(sql, rows, receiver)
  }
}

const statementWay = ({ columns, path, suffix, verb }: Target): Way<string> => {
  const head = `${verb} INTO ${path} (${list(columns.map(({ name }) => name))}) VALUES `
  return {
    item: (row) => {
      let text = ""
      for (let index = 0; index < row.length; index++) {
        const value = row[index]!
        text += index === 0 ? "(" : ", "
        text += value === null ? "NULL" : literal(columns[index]!.format, value)
      }
      return `${text})`
    },
    bytes: (text) => 1 + Buffer.byteLength(text),
    run: (rows) => (driver, receiver) => driver.query(head + rows.join(",") + suffix, receiver)
  }
}

const literal = (format: Format, value: string): string =>
  format === "plain" ? `'${value}'` : format === "hex" ? `X'${value}'` : stringLiteral(value)

/**
 * Statements full of rows. One is on its way while the rows of the next are written. Never two: after an error that
 * ends the transaction, the second would be committed by itself.
 */
const inStatements = <Item>(target: Target, way: Way<Item>): Effect.Effect<BulkLoad.Sink, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const { session } = target
    const limit = session.server.maxAllowedPacket - packetReserve
    const profile = profileOf(target.verb)
    let groups: Array<{ readonly items: Array<Item>; readonly before: number; bytes: number }> = []
    let rows = 0
    let size = 0
    let next = sliceSize
    let isLast = false
    let running: Fiber.Fiber<void, SqlError> | undefined
    const settled = Effect.suspend(() => running === undefined ? Effect.void : Fiber.join(running))
    return {
      add: encoder(target.columns, (row) => {
        const item = way.item(row)
        const bytes = way.bytes(item)
        if (bytes > limit) return unfit("the row is larger than the server's max_allowed_packet")
        let group = groups.at(-1)
        if (group === undefined || group.bytes + bytes > limit) {
          group = { items: [], before: rows, bytes: 0 }
          groups.push(group)
        }
        group.items.push(item)
        group.bytes += bytes
        size += bytes
        rows++
      }),
      get isFull() {
        return size >= next
      },
      take: () => {
        if (groups.length === 0) return undefined
        if (size < pieceSize && !isLast) {
          next = size + sliceSize
          return { bytes: 0, send: Effect.yieldNow }
        }
        next = sliceSize
        const bytes = size
        const send = Effect.forEach(
          groups,
          ({ before, items }) =>
            Effect.tapError(session.executeBulk(profile, way.run(items)), () =>
              Effect.sync(() => {
                target.before = before
              })),
          { discard: true }
        )
        groups = []
        size = 0
        return {
          bytes,
          send: Effect.andThen(
            settled,
            Effect.map(Effect.forkIn(send, scope, { startImmediately: true }), (fiber) => {
              running = fiber
            })
          )
        }
      },
      end: () => {
        isLast = true
      },
      finish: settled
    }
  })

// ---------------------------------------------------------------------------------------------------------------------
// The service
// ---------------------------------------------------------------------------------------------------------------------

let stagings = 0

const nothing: Bulk.Progress = { rows: 0, bytes: 0, bad: 0 }

export const makeBulk = (
  adapter: Adapter,
  client: SqlClient,
  rename: ((name: string) => string) | undefined
): Bulk.Bulk => {
  const { transactionService } = client
  const judge = (error: SqlError) => Outcome.attach(error, "InTransaction", adapter.ruleOf)
  const errorOf = (table: string, reason: Bulk.Reason) =>
    new Bulk.BulkError({ database: adapter.name, table, reason, progress: nothing })

  /** Whether rows can come by `LOAD DATA`. Fails where that was asked for. */
  const canLoad = Effect.fnUntraced(function*(session: Session, forced: boolean) {
    const problem = yield* loadProblem(session)
    if (problem === undefined || !forced) return problem === undefined
    return yield* Effect.fail(unknownError(adapter.name, `no LOAD DATA: ${problem}`, undefined, "bulk"))
  })

  const open = Effect.fnUntraced(
    function*(target: Target, mayLoad: boolean): Effect.fn.Return<BulkLoad.Sink, SqlError, Scope.Scope> {
      const { session } = target
      const method = yield* CurrentBulkMethod
      if (method === "batch" && session.driver.batch === undefined) {
        return yield* Effect.fail(unknownError(
          adapter.name,
          "no batches: they need the driver of `watertight/mariadb` and a MariaDB server",
          undefined,
          "bulk"
        ))
      }
      if (method !== "statements" && session.driver.batch !== undefined && method !== "load") {
        return yield* inStatements(target, batchWay(target))
      }
      if (mayLoad && method !== "statements" && (yield* canLoad(session, method === "load"))) {
        const sink = loading(target)
        // Whatever stands in between may not let it pass.
        return yield* method === "load"
          ? sink
          : Effect.catchIf(
            sink,
            (error) => isForbidden(errnoOf(error)),
            () => inStatements(target, statementWay(target))
          )
      }
      return yield* inStatements(target, statementWay(target))
    }
  )

  const load = Effect.fnUntraced(function*<R, E, RE>(
    session: Session,
    name: string,
    table: Table,
    rows: Bulk.Rows<R, E, RE>,
    options: Bulk.InsertOptions<R>,
    start: (columns: ReadonlyArray<Column>) => Effect.Effect<
      { readonly target: Target; readonly mayLoad: boolean },
      SqlError | Bulk.BulkError
    >
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
        return yield* Effect.mapError(open(target, started.mayLoad), judge)
      }),
      failed: (error, progress, rowOf) => withProgress(judge(error), progress, target?.before ?? 0, rowOf)
    })
  })

  /**
   * Runs in a transaction. The statements of the source of the rows have nothing to do with one that is begun here. In a
   * transaction of the caller they are within the savepoint: beside it they would have to wait for its end.
   */
  const inTransaction = <R, E, RE, A, E2>(
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

  const insert: Bulk.Bulk["insert"] = (name, rows, options = {}) =>
    inTransaction(
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
      rows,
      options,
      Effect.fnUntraced(function*(session, rows, loadOptions) {
        const options = loadOptions as Bulk.UpsertOptions<any>
        const run = (sql: string) => Effect.mapError(session.executeValuesUnprepared(sql, []), judge)
        const fail = (problem: string, columns: ReadonlyArray<string> = []) =>
          Effect.fail(errorOf(name, new Bulk.ColumnsWrong({ columns, problem })))
        const table = yield* Effect.mapError(tableOf(session, name), judge)
        const indexes = table.columns.length === 0
          ? []
          : yield* Effect.mapError(uniqueIndexes(session, name), judge)
        const key = options.key ?? indexes[0] ?? []
        const staging = quotePath([...name.split(".").slice(0, -1), `watertight_bulk_${++stagings}`].join("."))
        let given: ReadonlyArray<string> = []
        const { bad } = yield* load(
          session,
          name,
          table,
          rows,
          options,
          Effect.fnUntraced(function*(columns) {
            given = columns.map((column) => column.name)
            if (key.length === 0) {
              return yield* fail("there is no primary key, so `key` has to name the columns")
            }
            if (!indexes.some((index) => index.length === key.length && key.every((name) => index.includes(name)))) {
              return yield* fail("there is no unique index on these columns, by which rows could be known", key)
            }
            const without = key.filter((column) => !given.includes(column))
            if (without.length > 0) return yield* fail("the rows lack these columns of the key", without)
            const foreign = (options.update ?? []).filter((column) => !given.includes(column))
            if (foreign.length > 0) {
              return yield* fail("the rows lack these columns, which are to be updated", foreign)
            }
            const definitions = columns.map((column) =>
              definitionOf(table.columns.find(({ name }) => name === column.name)!, column.takesNull)
            )
            yield* run(`CREATE TEMPORARY TABLE ${staging} (${definitions.join(", ")}, UNIQUE KEY (${list(key)}))`)
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
          })
        )
        if (given.length === 0) return { inserted: 0, updated: 0, bad }
        const path = quotePath(name)
        const matches = key.map((column) => `there.${quoteName(column)} = given.${quoteName(column)}`)
        const [counts] = yield* run(
          `SELECT COUNT(*), COUNT(there.${quoteName(key[0]!)}) FROM ${staging} AS given LEFT JOIN ${path} AS there ` +
            `ON ${matches.join(" AND ")}`
        )
        const update = options.update ?? given.filter((column) => !key.includes(column))
        const assignments = update.length === 0
          // Nothing to change: a column of the key keeps its value.
          ? [`${quoteName(key[0]!)} = ${path}.${quoteName(key[0]!)}`]
          : update.map((column) => `${quoteName(column)} = given.${quoteName(column)}`)
        const merge = `INSERT INTO ${path} (${list(given)}) SELECT ${list(given)} FROM ${staging} AS given ` +
          `ON DUPLICATE KEY UPDATE ${assignments.join(", ")}`
        yield* Effect.mapError(
          session.executeBulk(profileOf(merge), (driver, receiver) => driver.query(merge, receiver)),
          judge
        )
        yield* run(`DROP TEMPORARY TABLE ${staging}`)
        const [total, updated] = counts!.map(Number) as [number, number]
        return { inserted: total - updated, updated, bad }
      })
    ) as never

  return withNames({ insert, upsert }, rename)
}

/** A stream in this context only, and not on top of the one that it is read in. */
const inContext = <A, E, R>(stream: Stream.Stream<A, E, R>, context: Context.Context<R>): Stream.Stream<A, E, R> => {
  const transform = Channel.toTransform(stream.channel)
  const replace = <A2, E2>(effect: Effect.Effect<A2, E2, R>) =>
    Effect.updateContext<A2, E2, R, never>(effect, () => context)
  return Stream.fromChannel(
    Channel.fromTransform((upstream, scope) => Effect.map(replace(transform(upstream, scope)), replace))
  )
}

/** A column of the table that rows wait in. */
const definitionOf = ({ collation, name, type }: TableColumn, takesNull: boolean): string =>
  `${quoteName(name)} ${type}${collation === undefined ? "" : ` COLLATE ${collation}`}${takesNull ? "" : " NOT"} NULL`

/** Why there is no `LOAD DATA`. */
const loadProblem = (session: Session): Effect.Effect<string | undefined, SqlError> =>
  session.driver.load === undefined
    ? Effect.succeed("it needs the driver of `watertight/mysql`, and no `compress`")
    : Effect.map(
      session.executeValuesUnprepared(
        "SHOW VARIABLES WHERE variable_name IN ('local_infile', 'wsrep_on', 'wsrep_load_data_splitting')",
        []
      ),
      (rows) => {
        const isOn = new Map(rows.map(([name, value]) => [String(name).toLowerCase(), value === "ON"]))
        if (isOn.get("local_infile") !== true) return "the server has `local_infile` switched off"
        return isOn.get("wsrep_on") === true && isOn.get("wsrep_load_data_splitting") === true
          ? "the cluster would commit it in parts: switch `wsrep_load_data_splitting` off"
          : undefined
      }
    )

/** 1148, 3948, 4166: not allowed. */
const isForbidden = (errno: number | undefined): boolean => errno === 1148 || errno === 3948 || errno === 4166

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
