/**
 * COPY: PostgreSQL's fast way in and out, as a `Sink` and a `Stream` of bytes.
 *
 * **When to use**
 *
 * Use it to move files or other systems' output, in CSV, text or binary. Rows that are values of the program go faster
 * and safer through `Bulk.insert`, and come through `Copy.rows`.
 *
 * **Details**
 *
 * Inside a transaction the data belongs to it, outside of one each COPY is a transaction of its own: all rows are there
 * at the end, or none. A COPY that fails because its input did, or is interrupted, leaves no row, and its connection
 * goes back to the pool.
 *
 * There is back-pressure in both directions: no more is in memory than one buffer of the socket.
 *
 * **Gotchas**
 *
 * A COPY into a table that fails inside a transaction has ended it, as every failed statement does. A COPY out of one
 * can be stopped early, also inside a transaction.
 *
 * **Example** (A file into a table, and a query into a file)
 *
 * ```ts
 * import { NodeSink, NodeStream } from "@effect/platform-node"
 * import { Stream } from "effect"
 * import { createReadStream, createWriteStream } from "node:fs"
 * import { Copy } from "watertight/postgres"
 *
 * const load = NodeStream.fromReadable({ evaluate: () => createReadStream("city.csv"), onError: String }).pipe(
 *   Stream.run(Copy.sink({ table: "city", format: "csv", header: true }))
 * )
 *
 * const save = Copy.stream({ query: "select * from city where population > 1e6", format: "csv", header: true }).pipe(
 *   Stream.run(NodeSink.fromWritable({ evaluate: () => createWriteStream("large.csv"), onError: String }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { Buffer } from "node:buffer"
import { type Extent, extentOf as extentOfError, withExtent } from "./copy/copyErrors.ts"
import { makeRowReader } from "./copy/copyRows.ts"
import { unknownError } from "./errors/errors.ts"
import { copyHeaderSize, writeCopyHeader } from "./exchange/copyFrames.ts"
import type { Session } from "./session/Session.ts"
import { Sessions } from "./Sessions.ts"
import { quoteName, quotePath, quoteText } from "./statement/identifiers.ts"
import { onlyText } from "./types/scalars/text.ts"

export type { Extent } from "./copy/copyErrors.ts"

/**
 * The formats of COPY.
 *
 * @category models
 * @since 0.1.0
 */
export type Format = "text" | "csv" | "binary"

/**
 * How the data is written. What is not given is as PostgreSQL has it.
 *
 * @category options
 * @since 0.1.0
 */
export interface FormatOptions {
  /** Default: `"text"`, as in PostgreSQL. */
  readonly format?: Format | undefined
  /** Whether the first line names the columns. `"match"` checks the names (to the server, PostgreSQL 15 and later). */
  readonly header?: boolean | "match" | undefined
  /** What separates the columns: one character. */
  readonly delimiter?: string | undefined
  /** What stands for a null. */
  readonly null?: string | undefined
  /** What encloses a value in CSV: one character. */
  readonly quote?: string | undefined
  /** What takes the meaning from a quote in CSV: one character. */
  readonly escape?: string | undefined
}

/**
 * Where data goes to: a table, or a whole `COPY … FROM STDIN` statement.
 *
 * @category models
 * @since 0.1.0
 */
export type Target = string | TableTarget

/**
 * A table that data goes to.
 *
 * @category models
 * @since 0.1.0
 */
export interface TableTarget extends FormatOptions {
  /** The table, with its schema in front of it where that is needed: `"geo.city"`. */
  readonly table: string
  /** The columns that are given, in their order. Default: all, as the table has them. */
  readonly columns?: ReadonlyArray<string> | undefined
}

/**
 * Where data comes from: a table, a query, or a whole `COPY … TO STDOUT` statement.
 *
 * @category models
 * @since 0.1.0
 */
export type Source = string | TableTarget | QuerySource

/**
 * A query whose result is copied.
 *
 * @category models
 * @since 0.1.0
 */
export interface QuerySource extends FormatOptions {
  /** The text of the query. It has no parameters. */
  readonly query: string
}

/**
 * What was copied.
 *
 * @category models
 * @since 0.1.0
 */
export interface Copied {
  readonly rows: number
  readonly bytes: number
}

/**
 * The options of `sink`.
 *
 * @category options
 * @since 0.1.0
 */
export interface SinkOptions {
  /** Hears how many bytes have been sent, after every 64 kB or so. */
  readonly onProgress?: ((bytes: number) => Effect.Effect<void>) | undefined
}

/**
 * How far the COPY got that failed with an error, if it was one.
 *
 * **Details**
 *
 * Its message says it, too. The row and the column are the server's, and never the value.
 *
 * @category getters
 * @since 0.1.0
 */
export const extentOf: (error: unknown) => Extent | undefined = extentOfError

/**
 * A sink that copies what it is given into a table. Strings are taken as UTF-8.
 *
 * **Details**
 *
 * Ends with the number of rows when the server has them all. If the stream in front of it fails or is interrupted,
 * there are none.
 *
 * @category sinks
 * @since 0.1.0
 */
export const sink = (
  target: Target,
  options: SinkOptions = {}
): Sink.Sink<Copied, Uint8Array | string, never, SqlError, Sessions> =>
  Sink.fromTransform((upstream) =>
    Effect.scoped(Effect.gen(function*() {
      const sessions = yield* Sessions
      const session = yield* sessions.borrow
      const judge = sessions.judge(session)
      const copy = yield* session.copyIn(targetStatement(target))
      const failed = (error: SqlError): SqlError => withExtent(judge(error), { bytes: copy.bytes, direction: "sent" })
      const send = (frame: Uint8Array): Effect.Effect<void, SqlError> => {
        const sent = Effect.mapError(copy.send(frame, frame.length - copyHeaderSize), failed)
        return options.onProgress === undefined
          ? sent
          : Effect.andThen(sent, Effect.suspend(() => options.onProgress!(copy.bytes)))
      }

      yield* Effect.mapError(copy.open, failed)
      // Small pieces are joined, for each write costs more than the bytes in it.
      let waiting: Array<Uint8Array> = []
      let size = 0
      const takeWaiting = (): Uint8Array => {
        const frame = Buffer.allocUnsafe(copyHeaderSize + size)
        writeCopyHeader(frame, 0, size)
        let offset = copyHeaderSize
        for (const piece of waiting) {
          frame.set(piece, offset)
          offset += piece.length
        }
        waiting = []
        size = 0
        return frame
      }
      const take = (pieces: ReadonlyArray<Uint8Array | string>): Effect.Effect<void, SqlError> => {
        for (const piece of pieces) {
          const bytes = typeof piece === "string" ? Buffer.from(piece) : piece
          if (bytes.length === 0) continue
          waiting.push(bytes)
          size += bytes.length
        }
        return size < pieceSize ? Effect.void : send(takeWaiting())
      }
      yield* Effect.forever(Effect.flatMap(upstream, take)).pipe(Pull.catchDone(() => Effect.void))
      if (size > 0) yield* send(takeWaiting())
      const tag = yield* Effect.mapError(copy.finish, failed)
      return [{ rows: rowsOf(tag), bytes: copy.bytes }] as const
    }))
  )

const pieceSize = 64 * 1024

const rowsOf = (tag: string): number => Number(tag.slice("COPY ".length)) || 0

/**
 * The data that a table or a query copies, in the pieces that the server sends: one for each row.
 *
 * @category streams
 * @since 0.1.0
 */
export const stream = (source: Source): Stream.Stream<Uint8Array, SqlError, Sessions> =>
  Stream.unwrap(Effect.gen(function*() {
    const sessions = yield* Sessions
    const session = yield* sessions.borrow
    return dataOf(sessions, session, sourceStatement(source))
  }))

const dataOf = (sessions: Sessions, session: Session, statement: string): Stream.Stream<Uint8Array, SqlError> => {
  const judge = sessions.judge(session)
  return Stream.fromChannel(
    Channel.fromTransform((_, scope) =>
      Effect.map(Scope.provide(session.copyOut(statement), scope), (copy) =>
        Effect.mapError(
          copy.pull,
          (error) =>
            Cause.isDone(error) ? error : withExtent(judge(error), { bytes: copy.bytes, direction: "received" })
        ))
    )
  )
}

/**
 * A row.
 *
 * @category models
 * @since 0.1.0
 */
export type Row = Readonly<Record<string, unknown>>

/**
 * Where rows come from: a table or a query. The format is how they travel.
 *
 * @category models
 * @since 0.1.0
 */
export type RowsSource =
  & { readonly format?: "binary" | "text" | undefined }
  & (
    | { readonly table: string; readonly columns?: ReadonlyArray<string> | undefined }
    | { readonly query: string }
  )

/**
 * The rows that a table or a query copies, as objects of values: in `"binary"` (the default) as fast as the stream of a
 * statement, and in `"text"` for every type.
 *
 * **Details**
 *
 * A table or a query with a column that has no binary form is read as text by itself.
 *
 * @category streams
 * @since 0.1.0
 */
export const rows = (
  source: RowsSource
): Stream.Stream<Row, SqlError, Sessions> =>
  Stream.unwrap(Effect.gen(function*() {
    const sessions = yield* Sessions
    const session = yield* sessions.borrow
    const judge = sessions.judge(session)
    const query = "query" in source
      ? source.query
      : `select ${source.columns === undefined ? "*" : source.columns.map(quoteName).join(", ")} from ${
        quotePath(source.table)
      }`
    const shape = yield* Effect.mapError(session.executeRaw(`select * from (${query}\n) source limit 0`, []), judge)
    const columns = shape.fields.map(({ dataTypeId, name }) => ({
      name,
      codec: session.types.codec(dataTypeId) ?? onlyText(name)
    }))
    const isReadable = columns.every(({ codec }) => codec.read !== undefined)
    const format = source.format === "text" || !isReadable ? "text" : "binary"
    const reader = makeRowReader(columns, format)
    const unreadable = (cause: unknown): SqlError =>
      withExtent(
        judge(unknownError(
          sessions.database,
          `the data ran, but column "${reader.column()}" cannot be decoded`,
          cause,
          "copy"
        )),
        { bytes: 0, rows: reader.count(), direction: "received" }
      )
    // The codec boundary: readers throw what they cannot read.
    const read = (pieces: ReadonlyArray<Uint8Array>) =>
      Effect.try({ try: () => reader.read(pieces), catch: unreadable })
    return Stream.transformPull(dataOf(sessions, session, sourceStatement({ query, format })), (pull) => {
      const next: Pull.Pull<Arr.NonEmptyReadonlyArray<Row>, SqlError, void> = Effect.flatMap(
        Effect.flatMap(pull, read),
        (found) => Arr.isArrayNonEmpty(found) ? Effect.succeed(found) : next
      )
      return Effect.succeed(next)
    })
  }))

// ---------------------------------------------------------------------------------------------------------------------
// statements
// ---------------------------------------------------------------------------------------------------------------------

const formatClause = (options: FormatOptions): string => {
  const parts: Array<string> = []
  if (options.format !== undefined) parts.push(`FORMAT ${quoteText(options.format)}`)
  if (options.header !== undefined) parts.push(`HEADER ${quoteText(String(options.header))}`)
  if (options.delimiter !== undefined) parts.push(`DELIMITER ${quoteText(options.delimiter)}`)
  if (options.null !== undefined) parts.push(`NULL ${quoteText(options.null)}`)
  if (options.quote !== undefined) parts.push(`QUOTE ${quoteText(options.quote)}`)
  if (options.escape !== undefined) parts.push(`ESCAPE ${quoteText(options.escape)}`)
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`
}

const tableClause = ({ columns, table }: TableTarget): string =>
  columns === undefined ? quotePath(table) : `${quotePath(table)} (${columns.map(quoteName).join(", ")})`

const targetStatement = (target: Target): string =>
  typeof target === "string" ? target : `COPY ${tableClause(target)} FROM STDIN${formatClause(target)}`

const sourceStatement = (source: Source): string =>
  typeof source === "string"
    ? source
    : `COPY ${"query" in source ? `(${source.query}\n)` : tableClause(source)} TO STDOUT${formatClause(source)}`
