/**
 * A COPY: the exchange that takes the wire over.
 *
 * It travels as a simple query, because there the server drops what data is still on its way when it has reported an
 * error, and needs no `Sync` that it could take for a part of the data. Nothing else is on the wire with it.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as frames from "../wire/frames.ts"
import { Exchange, Mode } from "./Exchange.ts"

/** What a COPY needs of its session. */
export interface CopyHost {
  readonly inTransaction: boolean
  readonly submit: (entry: Exchange) => void
  readonly abandon: (entry: Exchange) => void
  /** Writes a message of the exchange that has the wire. Answers whether the socket takes more. */
  readonly writeCopy: (frame: Uint8Array) => boolean
  /** Calls back once when the socket takes more. Returns what forgets the callback. */
  readonly onDrain: (callback: () => void) => () => void
  /** Stops reading, and with it the clock of the exchange, or goes on. */
  readonly pauseReading: (entry: Exchange, paused: boolean) => void
}

/** What the session tells a COPY. */
export interface CopyHandler {
  /** Whether it writes rows. */
  readonly writes: boolean
  /** Whether the server has been asked to make the rows permanent. Before that, a lost connection has lost them all. */
  readonly committing: boolean
  readonly onCopyIn: (entry: Exchange, response: PgProtocol.CopyInResponse) => void
  readonly onCopyOut: (entry: Exchange, response: PgProtocol.CopyOutResponse) => void
  readonly onData: (data: Uint8Array) => void
  /** Nobody waits any more. */
  readonly onAbandon: () => void
}

const wrongDirection = {
  in: "this is not a COPY FROM STDIN",
  out: "this is not a COPY TO STDOUT"
}

const makeEntry = (
  handler: CopyHandler,
  sql: string,
  frame: Uint8Array,
  limit: number,
  resume: (effect: Effect.Effect<any, SqlError>) => void
): Exchange => {
  const entry = new Exchange(Mode.Copy, sql, [], false, limit, "copy", resume)
  // What replaces it may follow from what the transaction has done until then.
  entry.tail = frame
  entry.exclusive = true
  entry.copy = handler
  return entry
}

/** How long the head of a `CopyData` is. */
export const copyHeaderSize = 5

/** Writes the head of a `CopyData` with that many bytes of data behind it. */
export const writeCopyHeader = (frame: Uint8Array, offset: number, length: number): void => {
  const size = length + 4
  frame[offset] = 0x64
  frame[offset + 1] = size >>> 24
  frame[offset + 2] = size >>> 16
  frame[offset + 3] = size >>> 8
  frame[offset + 4] = size
}

// ---------------------------------------------------------------------------------------------------------------------
// to the server
// ---------------------------------------------------------------------------------------------------------------------

/** A `COPY … FROM STDIN`. */
export class CopyIn implements CopyHandler {
  readonly writes = true
  committing = false
  /** The bytes of data that were handed to the socket. */
  bytes = 0
  /** The formats that the server asks for, once it does. */
  response: PgProtocol.CopyInResponse | undefined = undefined

  private readonly host: CopyHost
  private readonly entry: Exchange
  private submitted = false
  private failed = false
  private exit: Effect.Effect<string | undefined, SqlError> | undefined = undefined
  /** Whoever waits: for the server to be ready, for the socket, or for the end. */
  private waiting: (() => void) | undefined = undefined

  constructor(host: CopyHost, sql: string, limit: number) {
    this.host = host
    this.entry = makeEntry(this, sql, frames.simpleQuery(sql), limit, (effect) => {
      this.exit = effect
      this.wake()
    })
  }

  private wake(): void {
    const { waiting } = this
    this.waiting = undefined
    if (waiting !== undefined) waiting()
  }

  /** Waits until `ready` says so, or the exchange has ended. */
  private wait(ready: () => boolean): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const check = (): void => {
        if (this.exit !== undefined || ready()) resume(Effect.void)
        else this.waiting = check
      }
      check()
      return Effect.sync(() => {
        this.waiting = undefined
      })
    })
  }

  /** Asks for the COPY, and waits until the server wants the data. */
  readonly open: Effect.Effect<PgProtocol.CopyInResponse, SqlError> = Effect.suspend(() => {
    this.submitted = true
    this.host.submit(this.entry)
    return Effect.flatMap(
      this.wait(() => this.response !== undefined),
      () =>
        this.exit !== undefined
          // One that succeeds without asking for data was no COPY, and the session has made a failure of it.
          ? this.exit as Effect.Effect<never, SqlError>
          : Effect.succeed(this.response!)
    )
  })

  /** Writes complete `CopyData` messages with that many bytes of data, and waits until the socket takes more. */
  send(frame: Uint8Array, bytes: number): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      if (this.exit !== undefined) return Effect.asVoid(this.exit)
      this.bytes += bytes
      if (this.host.writeCopy(frame)) return Effect.void
      return Effect.flatMap(
        Effect.callback<void>((resume) => {
          const forget = this.host.onDrain(() => {
            this.waiting = undefined
            resume(Effect.void)
          })
          this.waiting = () => {
            forget()
            resume(Effect.void)
          }
          return Effect.sync(() => {
            this.waiting = undefined
            forget()
          })
        }),
        () => this.exit === undefined ? Effect.void : Effect.asVoid(this.exit)
      )
    })
  }

  /** All data has been sent: waits for the command tag. */
  readonly finish: Effect.Effect<string, SqlError> = Effect.suspend(() => {
    if (this.exit === undefined && !this.committing) {
      this.committing = true
      this.host.writeCopy(frames.copyDone)
    }
    return Effect.flatMap(
      this.wait(() => false),
      () => Effect.map(this.exit!, (tag) => tag ?? "")
    )
  })

  /**
   * Ends the exchange, however far it got. Whoever comes next waits behind it on the wire, so nothing is waited for.
   */
  readonly stop: Effect.Effect<void> = Effect.sync(() => {
    if (this.submitted && this.exit === undefined) this.host.abandon(this.entry)
  })

  onCopyIn(entry: Exchange, response: PgProtocol.CopyInResponse): void {
    if (entry.abandoned || this.response !== undefined) return this.fail()
    this.response = response
    this.wake()
  }

  onCopyOut(entry: Exchange): void {
    entry.failure ??= { what: wrongDirection.in, cause: undefined }
  }

  onData(): void {}

  onAbandon(): void {
    if (this.response !== undefined && !this.committing) this.fail()
  }

  /** A COPY that is not wanted any more, or a second one in the same text. */
  private fail(): void {
    if (this.failed) return
    this.failed = true
    this.host.writeCopy(frames.copyAbandoned)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// from the server
// ---------------------------------------------------------------------------------------------------------------------

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
export class CopyOut implements CopyHandler {
  readonly writes = false
  readonly committing = true
  /** The bytes of data that were received. */
  bytes = 0

  private readonly host: CopyHost
  private readonly entry: Exchange
  private readonly savepoint: string | undefined
  private opened = false
  private exit: Effect.Effect<unknown, SqlError> | undefined = undefined
  private chunks: Array<Uint8Array> = []
  private buffered = 0
  private paused = false
  private scheduled = false
  private stopped = false
  private waiting: ((effect: Effect.Effect<Chunks, SqlError | Cause.Done>) => void) | undefined = undefined

  constructor(host: CopyHost, sql: string, limit: number) {
    this.host = host
    this.savepoint = host.inTransaction ? `watertight_copy_${++names}` : undefined
    const text = this.savepoint === undefined ? sql : `SAVEPOINT ${this.savepoint};${sql}`
    this.entry = makeEntry(this, sql, frames.simpleQuery(text), limit, (effect) => {
      this.exit = effect
      this.deliver()
    })
  }

  /** Waits for data. */
  readonly pull: Effect.Effect<Chunks, SqlError | Cause.Done> = Effect.callback((resume) => {
    this.waiting = resume
    if (!this.opened) {
      this.opened = true
      this.host.submit(this.entry)
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
        this.host.pauseReading(this.entry, false)
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
    if (this.exit === undefined) this.host.abandon(this.entry)
    if (this.savepoint === undefined) return
    const end = new Exchange(Mode.Control, "", [], false, Infinity, "copy", () => {})
    const release = `RELEASE SAVEPOINT ${this.savepoint}`
    end.head = frames.simpleQuery(
      this.exit === undefined ? `ROLLBACK TO SAVEPOINT ${this.savepoint};${release}` : release
    )
    // Of a transaction that has failed nothing can be released, and nothing has to be.
    if (this.exit === undefined || this.host.inTransaction) this.host.submit(end)
  })

  onCopyIn(entry: Exchange): void {
    entry.failure ??= { what: wrongDirection.out, cause: undefined }
    this.host.writeCopy(frames.copyAbandoned)
  }

  onCopyOut(): void {}

  onData(data: Uint8Array): void {
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
      this.host.pauseReading(this.entry, true)
    }
  }

  onAbandon(): void {
    if (!this.paused) return
    this.paused = false
    this.host.pauseReading(this.entry, false)
  }
}
