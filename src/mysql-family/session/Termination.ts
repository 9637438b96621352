/** How a session ends, and what those are told who wait for it then. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Socket } from "node:net"
import { lostError } from "../../failure/lostError.ts"
import type { MysqlError } from "../errors/errors.ts"
import type { Exchange } from "../exchange/Exchange.ts"

/** How a session ended. */
interface End {
  readonly what: string
  readonly serverError: MysqlError | undefined
  readonly cause: unknown
}

/** How long the goodbye may take, in milliseconds. */
const closeLimit = 1_000

export class Termination {
  private readonly database: string
  private readonly socket: Socket
  /** Takes all exchanges out of the session. */
  private readonly drain: () => ReadonlyArray<Exchange>
  private end: End | undefined = undefined
  private lost: SqlError | undefined = undefined
  private readonly listeners: Array<(error: SqlError) => void> = []

  constructor(database: string, socket: Socket, drain: () => ReadonlyArray<Exchange>) {
    this.database = database
    this.socket = socket
    this.drain = drain
  }

  get isOver(): boolean {
    return this.end !== undefined
  }

  /** Calls `listener` once if the session ends other than by `close` or `destroy`. */
  onLost(listener: (error: SqlError) => void): void {
    if (this.lost !== undefined) listener(this.lost)
    else this.listeners.push(listener)
  }

  lose(what: string, cause: unknown, serverError: MysqlError | undefined): void {
    if (this.end !== undefined) return
    const end: End = { what, cause, serverError }
    this.end = end
    this.lost = lostError({ database: this.database, operation: "connection", sent: false, ...end })
    // The pool hears it first: a caller whose statement has failed may give the session back at once.
    for (const listener of this.listeners.splice(0)) listener(this.lost)
    this.finish(end)
    this.socket.destroy()
  }

  /** Says goodbye by `quit`. */
  close(quit: () => void): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const { socket } = this
      if (this.end === undefined) {
        this.finish({ what: "the session was closed", cause: undefined, serverError: undefined })
        quit()
        socket.end()
      }
      if (socket.closed) return resume(Effect.void)
      const timer = setTimeout(() => socket.destroy(), closeLimit)
      socket.once("close", () => {
        clearTimeout(timer)
        resume(Effect.void)
      })
    })
  }

  destroy(reason: string): void {
    if (this.end === undefined) this.finish({ what: reason, cause: undefined, serverError: undefined })
    // A goodbye may be under way, and hang.
    this.socket.destroy()
  }

  private finish(end: End): void {
    this.end = end
    for (const exchange of this.drain()) {
      exchange.isDone = true
      clearTimeout(exchange.timer)
      if (!exchange.abandoned) exchange.fail(this.errorFor(exchange))
    }
  }

  /** What an exchange fails with, once the session is over. */
  errorFor(exchange: Exchange): SqlError {
    return lostError({
      database: this.database,
      operation: exchange.operation,
      sent: exchange.sent,
      ...this.end!
    })
  }
}
