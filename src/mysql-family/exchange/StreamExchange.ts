/** The exchange of a statement whose rows are read as they come. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { DriverConnection, RowSource, StreamReceiver } from "../driver/Driver.ts"
import * as Parameters from "../statement/parameters.ts"
import type { RowDecoder, Undecodable } from "../statement/results.ts"
import { type Pieces, split } from "../statement/statements.ts"
import { CallerExchange } from "./CallerExchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"

/** How many rows a stream keeps before it holds the server back. */
const streamBuffer = 1_024

/** How many it takes in at most to let a statement pass that waits behind it. */
export const streamOverflow = 65_536

export class StreamExchange extends CallerExchange implements StreamReceiver {
  readonly pipelines = false

  protected readonly sql: string
  private readonly params: ReadonlyArray<Parameters.Parameter>

  private source: RowSource | undefined = undefined
  private isText = false
  private text = ""
  private pieces: ReadonlyArray<Pieces> = []
  private isPaused = false
  /** Nothing has come since the time was last looked at, although it could have. */
  private isSilent = true
  private pausedAt = 0
  private longestPause = 0
  private isYielding = false
  private isFlushing = false
  private decoder: RowDecoder | undefined = undefined
  /** Rows that have come, and those among them that have been made objects of. */
  private rows: Array<Array<any>> = []
  private objects: Array<Record<string, unknown>> = []
  private problem: Undecodable | undefined = undefined
  private exit: Effect.Effect<never, SqlError | Cause.Done> | undefined = undefined
  private taker: ((effect: Pull.Pull<any, SqlError>) => void) | undefined = undefined

  constructor(
    host: ExchangeHost,
    sql: string,
    params: ReadonlyArray<Parameters.Parameter>,
    fiber: Fiber.Fiber<unknown, unknown>
  ) {
    super(host, "stream", host.profiles.get(sql), fiber)
    this.sql = sql
    this.params = params
  }

  /** The next rows. */
  readonly pull: Pull.Pull<any, SqlError> = Effect.callback<any, SqlError | Cause.Done>((resume) => {
    this.taker = resume as never
    this.flush()
    return Effect.sync(() => {
      this.taker = undefined
    })
  }) as never

  settle(exit: Effect.Effect<never, SqlError | Cause.Done>): void {
    this.exit = exit
    this.flush()
  }

  /** A reader has any time. */
  override get hasStalled(): boolean {
    const stalled = this.isSilent && !this.isPaused
    this.isSilent = true
    return stalled
  }

  /**
   * The server ends a session whose rows are not taken for as long as it waits for that. What it has written before is
   * still read, so this may be noticed when the reader goes on.
   */
  override blame(): string | undefined {
    if (!this.isPaused && this.longestPause < this.host.readerLimit) return undefined
    const seconds = Math.round((this.isPaused ? performance.now() - this.pausedAt : this.longestPause) / 1_000)
    return `the rows were not read for ${seconds} s, and the server waits for \`net_write_timeout\``
  }

  start(): void {
    this.isText = !this.canPrepare(this.params)
    this.pieces = this.isText || this.profile.placeholders === undefined
      ? split(this.sql, this.host.noBackslashEscapes)
      : []
    this.sendChecked()
  }

  protected objection(): SqlError | undefined {
    // What was sent while this one waited may have decided what the parameters are.
    if (!this.isText && !this.host.driver.accepts(this.sql, this.params)) {
      this.isText = true
      this.pieces = split(this.sql, this.host.noBackslashEscapes)
    }
    if (this.isText && this.pieces.length !== 1) {
      return this.failureOf("the statement was not sent: a stream is of one statement")
    }
    const count = this.pieces.length === 0
      ? this.profile.placeholders!
      : this.pieces.reduce((sum, piece) => sum + Parameters.countOf(piece), 0)
    if (count !== this.params.length) return this.miscounted(count, this.params.length)
    if (!this.isText) return this.oversized(this.sql, this.params)
    this.text = Parameters.inline(this.pieces[0]!, this.params, 0)
    return this.oversized(this.text, [])
  }

  protected transmit(driver: DriverConnection): void {
    this.source = this.isText
      ? driver.stream(this.text, undefined, this)
      : driver.stream(this.sql, this.params, this)
    if (this.isPaused) this.source.pause()
  }

  onColumns(decoder: RowDecoder): void {
    // The rows of an earlier result have other columns.
    this.decode()
    this.decoder = decoder
  }

  /** Makes objects of the rows that have come. */
  private decode(): void {
    const { decoder, rows } = this
    if (rows.length === 0 || decoder === undefined) return
    this.rows = []
    this.problem ??= decoder.values(rows, {
      safeIntegers: this.fiber.getRef(SafeIntegers),
      dateStrings: this.host.dateStrings
    })
    if (this.problem !== undefined) return
    const objects = decoder.objects(rows)
    this.objects = this.objects.length === 0 ? objects : this.objects.concat(objects)
  }

  onRow(row: Array<any>): void {
    this.isSilent = false
    if (this.abandoned || this.isDone) return
    this.rows.push(row)
    // The rows that arrived together are passed on together.
    if (!this.isFlushing && this.taker !== undefined) {
      this.isFlushing = true
      queueMicrotask(() => {
        this.isFlushing = false
        this.flush()
      })
    }
    if (this.rows.length >= (this.isYielding ? streamOverflow : streamBuffer) && !this.isPaused) {
      this.isPaused = true
      this.pausedAt = performance.now()
      this.source?.pause()
      if (this.isYielding) {
        this.isYielding = false
        this.host.refuseWaiting()
      }
    }
  }

  private flush(): void {
    const taker = this.taker
    if (taker === undefined) return
    this.decode()
    const { objects, problem } = this
    if (objects.length > 0 || problem !== undefined) {
      this.objects = []
      this.taker = undefined
      taker(
        problem === undefined
          ? Effect.succeed(objects)
          : Effect.fail(this.failureOf(`column \`${problem.column}\` could not be decoded`, problem.cause))
      )
      if (this.isPaused && !this.isDone) this.goOn()
      return
    }
    if (this.exit === undefined) return
    this.taker = undefined
    taker(this.exit)
  }

  /** A statement waits behind: it must not wait for the reader of the stream, who may be waiting for the statement. */
  override makeWay(): void {
    this.isYielding = true
    if (this.isPaused) this.goOn()
  }

  override discard(): void {
    this.rows = []
    this.objects = []
    this.goOn()
  }

  private goOn(): void {
    if (this.isPaused) this.longestPause = Math.max(this.longestPause, performance.now() - this.pausedAt)
    this.isPaused = false
    this.isSilent = false
    this.source?.resume()
  }

  onEnd(): void {
    if (!this.isDone) this.looked(() => this.end(Cause.done()))
  }

  onError(error: unknown, sent: boolean): void {
    if (this.isDone) return
    this.onServerError(error, sent, this.isText && this.params.length > 0, (serverError) => {
      this.looked((error) => {
        this.host.noteError(error!, this.profile)
        this.end(Effect.fail(this.failureFrom(error!)))
      }, serverError)
    })
  }
}
