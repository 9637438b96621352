/**
 * A `COPY … TO STDOUT`: an exchange that takes the wire over.
 *
 * Stopping early cancels the statement, which would take an open transaction with it, so inside one it runs behind a
 * savepoint.
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { type Traces, tracesOf } from "../statement/trace.ts"
import * as frames from "../wire/frames.ts"
import { Control, ControlExchange } from "./ControlExchange.ts"
import { notCopy } from "./copyFrames.ts"
import { Exchange } from "./Exchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"

type Chunks = Arr.NonEmptyReadonlyArray<Uint8Array>

/** How many bytes may wait for whoever reads before the socket is left alone. */
const highWater = 1024 * 1024

let names = 0

/**
 * A `COPY … TO STDOUT`.
 *
 * Stopping early cancels the statement, which would take an open transaction with it, so inside one it runs behind a
 * savepoint.
 */
export class CopyOut extends Exchange {
  /** The bytes of data that were received. */
  bytes = 0

  private readonly host: ExchangeHost
  private readonly sql: string
  private readonly traces: Traces
  private readonly savepoint: string | undefined
  private opened = false
  private exit: Effect.Effect<unknown, SqlError> | undefined = undefined
  private chunks: Array<Uint8Array> = []
  private buffered = 0
  private paused = false
  private scheduled = false
  private stopped = false
  private waiting: ((effect: Effect.Effect<Chunks, SqlError | Cause.Done>) => void) | undefined = undefined

  constructor(host: ExchangeHost, sql: string, ownLimit: number | undefined) {
    super("copy", Infinity, (effect) => {
      this.exit = effect
      this.deliver()
    }, ownLimit)
    this.host = host
    this.sql = sql
    this.traces = tracesOf(sql)
    this.savepoint = host.inTransaction ? `watertight_copy_${++names}` : undefined
    this.exclusive = true
    this.tail = frames.simpleQuery(this.savepoint === undefined ? sql : `SAVEPOINT ${this.savepoint};${sql}`)
  }

  override get text(): string {
    return this.sql
  }

  override get trace(): number {
    return this.traces.trace
  }

  override get calls(): ReadonlyArray<string> | undefined {
    return this.traces.calls
  }

  /** Waits for data. */
  readonly pull: Effect.Effect<Chunks, SqlError | Cause.Done> = Effect.callback((resume) => {
    this.waiting = resume
    if (!this.opened) {
      this.opened = true
      this.host.submit(this)
    } else {
      this.deliver()
    }
    return Effect.sync(() => {
      this.waiting = undefined
    })
  })

  private readonly deliver = (): void => {
    this.scheduled = false
    const { waiting } = this
    if (waiting === undefined) return
    if (this.chunks.length > 0) {
      const chunks = this.chunks as unknown as Chunks
      this.waiting = undefined
      this.chunks = []
      this.buffered = 0
      if (this.paused) {
        this.paused = false
        this.host.pauseReading(this, false)
      }
      waiting(Effect.succeed(chunks))
    } else if (this.exit !== undefined) {
      this.waiting = undefined
      waiting(Effect.flatMap(this.exit, () => Cause.done()))
    }
  }

  /** Ends the exchange, whether all data was read or not. Nothing is waited for. */
  readonly stop: Effect.Effect<void> = Effect.sync(() => {
    if (this.stopped) return
    this.stopped = true
    this.chunks = []
    if (!this.opened) return
    if (this.exit === undefined) this.host.abandon(this)
    if (this.savepoint === undefined) return
    const release = `RELEASE SAVEPOINT ${this.savepoint}`
    const frame = frames.simpleQuery(
      this.exit === undefined ? `ROLLBACK TO SAVEPOINT ${this.savepoint};${release}` : release
    )
    // Of a transaction that has failed nothing can be released, and nothing has to be.
    if (this.exit === undefined || this.host.inTransaction) {
      this.host.submit(new ControlExchange(Control.Other, frame, "copy", () => {}))
    }
  })

  override onCopyIn(): Uint8Array {
    this.failure ??= { what: "this is not a COPY TO STDOUT", cause: undefined }
    return frames.copyAbandoned
  }

  override onCopyOut(): void {}

  override onCopyData(data: Uint8Array): void {
    if (this.stopped) return
    this.bytes += data.length
    this.buffered += data.length
    this.chunks.push(data)
    if (this.waiting !== undefined && !this.scheduled) {
      // The server sends a message for each row. What came in one piece is handed on in one piece.
      this.scheduled = true
      queueMicrotask(this.deliver)
    }
    if (this.buffered > highWater && !this.paused && this.waiting === undefined) {
      this.paused = true
      this.host.pauseReading(this, true)
    }
  }

  override onAbandon(): void {
    if (!this.paused) return
    this.paused = false
    this.host.pauseReading(this, false)
  }

  override onReady(): Effect.Effect<string, SqlError> | undefined {
    if (this.tag?.startsWith("COPY") === true) return Effect.succeed(this.tag)
    this.failure = notCopy
    return undefined
  }
}
