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

/** Loads rows. `start` is given the columns of the first one. */
export const load = Effect.fnUntraced(function*<Row, E, R, E2, R2>(options: {
  readonly database: string
  readonly table: string
  readonly rows: Bulk.Rows<Row, E, R>
  readonly options: Bulk.InsertOptions<Row>
  readonly start: (
    columns: ReadonlyArray<string>,
    fail: (reason: Bulk.Reason) => Bulk.BulkError
  ) => Effect.Effect<Sink, E2, R2>
  /** What becomes of the failure of a sink. */
  readonly failed: (error: SqlError, progress: Bulk.Progress, rowOf: RowOf) => SqlError
}) {
  const { onBadRow, onProgress, schema } = options.options
  const bad: Array<Bulk.BadRow> = []
  let seen = 0
  let sent = 0
  let bytes = 0
  const progress = (): Bulk.Progress => ({ rows: sent, bytes, bad: bad.length })
  const fail = (reason: Bulk.Reason) =>
    new Bulk.BulkError({ database: options.database, table: options.table, reason, progress: progress() })
  const failed = (error: SqlError): SqlError => options.failed(error, progress(), (row) => shift(row, bad))
  const maxBad = onBadRow === "collect" ? options.options.maxBadRows ?? 1000 : 0
  const encodeRow = schema === undefined ? undefined : Schema.encodeUnknownResult(schema as never)
  let sink: Sink | undefined

  const columnsOf = (first: unknown): ReadonlyArray<string> =>
    options.options.columns ??
      (typeof first !== "object" || first === null
        ? []
        : Object.entries(first).flatMap(([key, value]) => value === undefined ? [] : [key]))

  const send = Effect.fnUntraced(function*(sink: Sink) {
    const piece = sink.take()
    if (piece === undefined) return
    bytes += piece.bytes
    yield* Effect.mapError(piece.send, failed)
    if (onProgress !== undefined && piece.bytes > 0) yield* onProgress(progress())
  })

  /** Gives rows until there are enough to be sent, or none are left. Answers whether there are more. */
  const fill = (iterator: Iterator<Row>, sink: Sink, first: unknown): boolean => {
    let pending = first
    for (;;) {
      let row = pending
      if (row === undefined) {
        const next = iterator.next()
        if (next.done === true) return false
        row = next.value
      }
      pending = undefined
      seen++
      let problem: Bulk.BadRow | undefined
      if (encodeRow !== undefined) {
        const encoded = encodeRow(row as never)
        if (Result.isFailure(encoded)) problem = schemaProblem(row, seen)
        else row = encoded.success
      }
      problem ??= sink.add(row, seen)
      if (problem === undefined) {
        sent++
        if (sink.isFull) return true
      } else {
        bad.push(problem)
        if (bad.length > maxBad) return true
      }
    }
  }

  yield* forEachPiece(options.rows, (iterator) =>
    Effect.gen(function*() {
      let first: unknown
      if (sink === undefined) {
        const next = iterator.next()
        if (next.done === true) return
        first = next.value
        let shape: unknown = first
        if (encodeRow !== undefined) {
          const encoded = encodeRow(first as never)
          if (Result.isSuccess(encoded)) shape = encoded.success
        }
        sink = yield* options.start(columnsOf(shape), fail)
      }
      for (;;) {
        const more = fill(iterator, sink, first)
        first = undefined
        if (bad.length > maxBad) return yield* fail(new Bulk.RowUnfit(bad[bad.length - 1]!))
        if (!more) return
        yield* send(sink)
      }
    }))
  if (sink !== undefined) {
    sink.end?.()
    yield* send(sink)
    yield* Effect.mapError(sink.finish, failed)
  }
  return { rows: sent, bytes, bad }
})

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
