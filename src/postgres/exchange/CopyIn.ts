/**
 * A `COPY … FROM STDIN`: an exchange that takes the wire over.
 *
 * It travels as a simple query, because there the server drops what data is still on its way when it has reported an
 * error, and needs no `Sync` that it could take for a part of the data. Nothing else is on the wire with it.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { type Traces, tracesOf } from "../statement/trace.ts"
import * as frames from "../wire/frames.ts"
import { notCopy } from "./copyFrames.ts"
import { Exchange } from "./Exchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"

export class CopyIn extends Exchange {
  /** Whether the server has been asked to make the rows permanent. Before that, a lost connection has lost them all. */
  private committing = false
  /** The bytes of data that were handed to the socket. */
  bytes = 0
  /** The formats that the server asks for, once it does. */
  response: PgProtocol.CopyInResponse | undefined = undefined

  private readonly host: ExchangeHost
  private readonly sql: string
  private readonly traces: Traces
  private submitted = false
  private failed = false
  private exit: Effect.Effect<string | undefined, SqlError> | undefined = undefined
  /** Whoever waits: for the server to be ready, for the socket, or for the end. */
  private waiting: (() => void) | undefined = undefined

  constructor(host: ExchangeHost, sql: string, ownLimit: number | undefined) {
    super("copy", Infinity, (effect) => {
      this.exit = effect
      this.wake()
    }, ownLimit)
    this.host = host
    this.sql = sql
    this.traces = tracesOf(sql)
    this.exclusive = true
    this.tail = frames.simpleQuery(sql)
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

  override get isSent(): boolean {
    return this.committing && super.isSent
  }

  override withXidQuery(query: string): Uint8Array | undefined {
    return frames.simpleQuery(`${this.sql}\n;${query}`)
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
    this.host.submit(this)
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
      if (this.host.writeData(frame)) return Effect.void
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
      this.host.writeData(frames.copyDone)
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
    if (this.submitted && this.exit === undefined) this.host.abandon(this)
  })

  override onCopyIn(response: PgProtocol.CopyInResponse): undefined {
    if (this.abandoned || this.response !== undefined) return this.fail()
    this.response = response
    this.wake()
  }

  override onCopyOut(): void {
    this.failure ??= { what: "this is not a COPY FROM STDIN", cause: undefined }
  }

  override onAbandon(): void {
    if (this.response !== undefined && !this.committing) this.fail()
  }

  override onReady(): Effect.Effect<string, SqlError> | undefined {
    if (this.tag?.startsWith("COPY") === true) return Effect.succeed(this.tag)
    this.failure = notCopy
    return undefined
  }

  /** A COPY that is not wanted any more, or a second one in the same text. */
  private fail(): undefined {
    if (this.failed) return
    this.failed = true
    this.host.writeData(frames.copyAbandoned)
  }
}
