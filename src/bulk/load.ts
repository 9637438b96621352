/** Loads rows in pieces: what `Bulk` is in all databases, whatever the rows are written into. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as Bulk from "./Bulk.ts"
import { typeName } from "./rows.ts"

/** What rows are given to. */
export interface Sink {
  /** Takes a row. Answers what is wrong with one that does not fit, of which nothing is left then. */
  readonly add: (row: any, index: number) => Bulk.BadRow | undefined
  /** Whether there is enough to be sent. */
  readonly isFull: boolean
  /** What was added since the last time: how many bytes it is, none if it has to wait for more, and what sends it. */
  readonly take: () => { readonly bytes: number; readonly send: Effect.Effect<unknown, SqlError> } | undefined
  /** Writes what ends the rows, to be taken for the last time. */
  readonly end?: (() => void) | undefined
  /** Waits until they have arrived. */
  readonly finish: Effect.Effect<unknown, SqlError>
}

/** A row that was sent as this one, counted among those that were given. */
export type RowOf = (row: number) => number

/** What is loaded, and how. */
export interface Load<Row, E, R, E2, R2> {
  readonly database: string
  readonly table: string
  readonly rows: Bulk.Rows<Row, E, R>
  readonly options: Bulk.InsertOptions<Row>
  /** Makes the name of a column of the key of a row. */
  readonly rename?: ((name: string) => string) | undefined
  /**
   * Begins to load rows that have these columns. Called once, for the columns of the first row; with
   * `missing: "default"` again for each row that has other columns than the one before it.
   */
  readonly start: (
    columns: ReadonlyArray<string>,
    fail: (reason: Bulk.Reason) => Bulk.BulkError
  ) => Effect.Effect<Sink, E2, R2>
  /** What becomes of the failure of a sink. */
  readonly failed: (error: SqlError, progress: Bulk.Progress, rowOf: RowOf) => SqlError
}

/** Loads rows. */
export const load = Effect.fnUntraced(function*<Row, E, R, E2, R2>(options: Load<Row, E, R, E2, R2>) {
  const { onBadRow, onProgress } = options.options
  const { rows: source, start } = options
  const maxBad = onBadRow === "collect" ? options.options.maxBadRows ?? 1000 : 0
  const bad: Array<Bulk.BadRow> = []
  const reader = new RowReader(options)
  let seen = 0
  let sent = 0
  let bytes = 0
  /** How many rows were sent before the sink was begun that takes them now. */
  let before = 0
  let sink: Sink | undefined
  /** A row that was read, and is for another sink. */
  let held: unknown

  const progress = (): Bulk.Progress => ({ rows: sent, bytes, bad: bad.length })
  const fail = (reason: Bulk.Reason) =>
    new Bulk.BulkError({ database: options.database, table: options.table, reason, progress: progress() })
  const failed = (error: SqlError): SqlError => {
    const earlier = before
    return options.failed(error, progress(), (row) => shift(row + earlier, bad))
  }

  const send = Effect.fnUntraced(function*(sink: Sink) {
    const piece = sink.take()
    if (piece === undefined) return
    bytes += piece.bytes
    yield* Effect.mapError(piece.send, failed)
    if (onProgress !== undefined && piece.bytes > 0) yield* onProgress(progress())
  })

  const end = Effect.fnUntraced(function*(sink: Sink) {
    sink.end?.()
    yield* send(sink)
    yield* Effect.mapError(sink.finish, failed)
    before = sent
  })

  /** Gives rows until there are enough to be sent, one is for another sink, or none are left. */
  const fill = (iterator: Iterator<Row>, sink: Sink): "full" | "held" | "empty" => {
    for (;;) {
      let row = held
      held = undefined
      if (row === undefined) {
        const next = iterator.next()
        if (next.done === true) return "empty"
        row = reader.read(next.value)
      }
      if (!(row instanceof Unreadable) && !reader.fits(row)) {
        held = row
        return "held"
      }
      seen++
      const problem = row instanceof Unreadable
        ? schemaProblem(row.row, seen)
        : reader.missing(row, seen) ?? sink.add(row, seen)
      if (problem === undefined) {
        sent++
        if (sink.isFull) return "full"
      } else {
        bad.push(problem)
        if (bad.length > maxBad) return "full"
      }
    }
  }

  yield* forEachPiece(source, (iterator) =>
    Effect.gen(function*() {
      if (sink === undefined) {
        const next = iterator.next()
        if (next.done === true) return
        held = reader.read(next.value)
        sink = yield* start(reader.begin(held), fail)
      }
      for (;;) {
        const state = fill(iterator, sink)
        if (bad.length > maxBad) return yield* fail(new Bulk.RowUnfit(bad[bad.length - 1]!))
        if (state === "empty") return
        if (state === "full") yield* send(sink)
        else {
          yield* end(sink)
          sink = yield* start(reader.begin(held), fail)
        }
      }
    }))
  if (sink !== undefined) yield* end(sink)
  return { rows: sent, bytes, bad }
})

/** The columns that an upsert updates: those that were named, of which a row may lack some if it may lack any. */
export const updatesOf = (
  { missing, update }: Bulk.UpsertOptions<any>,
  key: ReadonlyArray<string>,
  given: ReadonlyArray<string>
): ReadonlyArray<string> =>
  update === undefined
    ? given.filter((column) => !key.includes(column))
    : missing === "default"
    ? update.filter((column) => given.includes(column))
    : update

/** Why these options cannot be had together. */
export const upsertProblem = ({ duplicates, missing }: Bulk.UpsertOptions<any>): Bulk.ColumnsWrong | undefined =>
  missing === "default" && duplicates === "first"
    ? new Bulk.ColumnsWrong({
      columns: [],
      problem:
        "`duplicates: \"first\"` compares rows that are merged together, and with `missing: \"default\"` not all are"
    })
    : undefined

/** A row that the schema cannot encode. */
class Unreadable {
  readonly row: unknown
  constructor(row: unknown) {
    this.row = row
  }
}

/** Reads rows as they are to be sent: encoded by the schema, under the names of columns, with the columns that count. */
class RowReader {
  private readonly columns: ReadonlyArray<string> | undefined
  private readonly rule: Bulk.InsertOptions<unknown>["missing"]
  private readonly rename: ((name: string) => string) | undefined
  private readonly encode: ((row: never) => Result.Result<unknown, unknown>) | undefined
  private current: ReadonlyArray<string> = []

  constructor({ options, rename }: Pick<Load<any, unknown, unknown, unknown, unknown>, "options" | "rename">) {
    const { columns, missing, schema } = options
    this.columns = rename === undefined ? columns : columns?.map(rename)
    this.rule = missing ?? "null"
    this.rename = rename
    this.encode = schema === undefined ? undefined : Schema.encodeUnknownResult(schema as never) as never
  }

  read(given: unknown): unknown {
    let row = given
    if (this.encode !== undefined) {
      const encoded = this.encode(row as never)
      if (Result.isFailure(encoded)) return new Unreadable(given)
      row = encoded.success
    }
    const { rename } = this
    return rename === undefined || typeof row !== "object" || row === null
      ? row
      : Object.fromEntries(Object.entries(row).map(([key, value]) => [rename(key), value]))
  }

  /** The columns of the rows from this one on. */
  begin(row: unknown): ReadonlyArray<string> {
    const first = row instanceof Unreadable ? row.row : row
    this.current = this.rule === "default" || this.columns === undefined ? this.given(first) : this.columns
    return this.current
  }

  private given(row: unknown): ReadonlyArray<string> {
    if (typeof row !== "object" || row === null) return []
    const keys = Object.entries(row).flatMap(([key, value]) => value === undefined ? [] : [key])
    // What is not among the columns that were named makes a bad row, and no others of its kind.
    return this.columns === undefined ? keys : this.columns.filter((name) => keys.includes(name))
  }

  /** Whether a row has the columns that are being loaded. Every row has, unless a missing one is to get its default. */
  fits(row: unknown): boolean {
    if (this.rule !== "default" || typeof row !== "object" || row === null) return true
    const keys = this.given(row)
    return keys.length === this.current.length && keys.every((key) => this.current.includes(key))
  }

  /** What is wrong with a row that lacks a column, where that is wrong. */
  missing(row: unknown, index: number): Bulk.BadRow | undefined {
    if (this.rule !== "bad" || typeof row !== "object" || row === null) return undefined
    const column = this.current.find((name) => (row as Record<string, unknown>)[name] === undefined)
    return column === undefined ? undefined : {
      row: index,
      column,
      expected: "a value, or null",
      actual: "undefined",
      problem: "the row does not have it"
    }
  }
}

/** Rows in pieces, whatever they come from. */
const forEachPiece = <Row, E, R, E2, R2>(
  rows: Bulk.Rows<Row, E, R>,
  f: (rows: Iterator<Row>) => Effect.Effect<void, E2, R2>
): Effect.Effect<void, E | E2, R | R2> =>
  Stream.isStream(rows)
    ? Stream.runForEachArray(rows as Stream.Stream<Row, E, R>, (piece) => f(piece[Symbol.iterator]()))
    : Effect.suspend(() => {
      const iterator = (rows as Iterable<Row>)[Symbol.iterator]()
      return Effect.ensuring(f(iterator), Effect.sync(() => iterator.return?.()))
    })

/** The server counts the rows that it has got, people count those that they gave. */
const shift = (row: number, bad: ReadonlyArray<Bulk.BadRow>): number => {
  let shifted = row
  for (const one of bad) if (one.row <= shifted) shifted++
  return shifted
}

/** What a schema says about a row quotes the value, so only the row is named. */
const schemaProblem = (row: unknown, index: number): Bulk.BadRow => ({
  row: index,
  column: undefined,
  expected: "the schema",
  actual: typeName(row),
  problem: "the schema cannot encode it"
})
