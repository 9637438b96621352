/** The ways that rows go to the server: one `LOAD DATA`, batches of parameters, or statements full of rows. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type * as BulkLoad from "../../bulk/load.ts"
import { badRowOf, checkKeys, refuseNull } from "../../bulk/rows.ts"
import { unfit } from "../../values/UnfitValue.ts"
import type { DriverConnection, Receiver } from "../driver/Driver.ts"
import { unknownError } from "../errors/errors.ts"
import type { Session } from "../session/Session.ts"
import { stringLiteral } from "../statement/parameters.ts"
import { profileOf } from "../statement/statements.ts"
import { CurrentBulkMethod } from "./BulkMethod.ts"
import type { Column, Format } from "./columns.ts"
import { columnList, errnoOf, quoteName } from "./table.ts"

/** How much is sent at once, in characters. */
const pieceSize = 256 * 1024

/** How much is written at once, before whatever else has to be done gets its turn. */
const sliceSize = 32 * 1024

/** What a packet has besides a row. */
const packetReserve = 8 * 1024

/** Where rows go. */
export interface Target {
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
  const sql = `${verb} INTO ${path} (${columnList(columns.map(({ name }) => name))}) VALUES (${
    values.join(", ")
  })${suffix}`
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
  const head = `${verb} INTO ${path} (${columnList(columns.map(({ name }) => name))}) VALUES `
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

/** Whether rows can come by `LOAD DATA`. Fails where that was asked for. */
const canLoad = Effect.fnUntraced(function*(session: Session, forced: boolean) {
  const problem = yield* loadProblem(session)
  if (problem === undefined || !forced) return problem === undefined
  return yield* Effect.fail(unknownError(session.database, `no LOAD DATA: ${problem}`, undefined, "bulk"))
})

/** The sink of the method that was asked for, or of the fastest that driver and server have. */
export const openSink = Effect.fnUntraced(
  function*(target: Target, mayLoad: boolean): Effect.fn.Return<BulkLoad.Sink, SqlError, Scope.Scope> {
    const { session } = target
    const method = yield* CurrentBulkMethod
    if (method === "batch" && session.driver.batch === undefined) {
      return yield* Effect.fail(unknownError(
        session.database,
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
