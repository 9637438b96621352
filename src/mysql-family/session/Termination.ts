/** How a session ends, and what those are told who wait for it then. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Socket } from "node:net"
import type { EndedBy, SessionTimes } from "../../failure/Evidence.ts"
import { lostError } from "../../failure/lostError.ts"
import type { Writes } from "../../node/Writes.ts"
import { afterAwake } from "../../timing/DeadlineTimer.ts"
import type { MysqlError } from "../errors/errors.ts"
import type { Exchange } from "../exchange/Exchange.ts"

/** How a session ended. */
export interface Ending {
  readonly what: string
  readonly endedBy: EndedBy
  readonly cause?: unknown
  readonly serverError?: MysqlError | undefined
  /** The limit of ours that was reached, in milliseconds. */
  readonly limitMillis?: number | undefined
  readonly stalledMillis?: number | undefined
  /** The exchange whose limit it was: it alone has reached one. */
  readonly culprit?: Exchange | undefined
  /** Whether the server has begun with nothing of what was written. */
  readonly hasBegunNothing?: boolean | undefined
}

/** How long the goodbye may take, in milliseconds. */
const closeLimit = 1_000

/** 1159 and 1161: the server has waited in vain for what was to come, or for what it sent to be taken. */
const waitedTooLong = new Set([1159, 1161])

export class Termination {
  private readonly database: string
  private readonly socket: Socket
  private readonly writes: Writes
  /** Takes all exchanges out of the session. */
  private readonly drain: () => ReadonlyArray<Exchange>
  private readonly openedAt = performance.now()
  private ending: Ending | undefined = undefined
  private session: SessionTimes | undefined = undefined
  private lost: SqlError | undefined = undefined
  private readonly listeners: Array<(error: SqlError) => void> = []

  constructor(database: string, socket: Socket, writes: Writes, drain: () => ReadonlyArray<Exchange>) {
    this.database = database
    this.socket = socket
    this.writes = writes
    this.drain = drain
  }

  get isOver(): boolean {
    return this.ending !== undefined
  }

  /** Calls `listener` once if the session ends other than by `close` or `destroy`. */
  onLost(listener: (error: SqlError) => void): void {
    if (this.lost !== undefined) listener(this.lost)
    else this.listeners.push(listener)
  }

  lose(ending: Ending): void {
    if (this.ending !== undefined) return
    this.begin(ending)
    const { culprit, what } = ending
    this.lost = this.error("connection", false, culprit === undefined ? undefined : { what, endedBy: "Client" })
    // The pool hears it first: a caller whose statement has failed may give the session back at once.
    for (const listener of this.listeners.splice(0)) listener(this.lost)
    this.failAll(ending)
    this.socket.destroy()
  }

  /** Says goodbye by `quit`. */
  close(quit: () => void): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const { socket } = this
      if (this.ending === undefined) {
        this.finish("the session was closed")
        quit()
        socket.end()
      }
      if (socket.closed) return resume(Effect.void)
      const stop = afterAwake(closeLimit, () => socket.destroy())
      socket.once("close", () => {
        stop()
        resume(Effect.void)
      })
    })
  }

  destroy(reason: string): void {
    if (this.ending === undefined) this.finish(reason)
    // A goodbye may be under way, and hang.
    this.socket.destroy()
  }

  private finish(what: string): void {
    const ending: Ending = { what, endedBy: "Client" }
    this.begin(ending)
    this.failAll(ending)
  }

  private begin(ending: Ending): void {
    this.ending = ending
    this.session = { openedAt: this.openedAt, endedAt: performance.now() }
  }

  private failAll(ending: Ending): void {
    for (const exchange of this.drain()) {
      exchange.isDone = true
      // The server begins with nothing before it has the whole of it.
      if (ending.hasBegunNothing === true || exchange.writtenTo > this.writes.accepted) exchange.takeBack()
      if (!exchange.abandoned) exchange.fail(this.errorFor(exchange))
    }
  }

  /** What an exchange fails with, once the session is over. */
  errorFor(exchange: Exchange): SqlError {
    const { culprit, endedBy, serverError, what } = this.ending!
    if (culprit !== undefined && culprit !== exchange) {
      return this.error(exchange.operation, exchange.sent, { what, endedBy: "Client" })
    }
    const isUntold = endedBy === "Silence" || endedBy === "Network" || waitedTooLong.has(serverError?.errno ?? 0)
    const blame = isUntold ? exchange.blame() : undefined
    const own = blame === undefined
      ? exchange.isAnswered ? { what, endedBy, answer: "Error" as const } : undefined
      : { what: `${what}: ${blame}`, endedBy: "Reader" as const }
    return this.error(exchange.operation, exchange.sent, own)
  }

  private error(
    operation: string,
    sent: boolean,
    own?: Pick<Ending, "what" | "endedBy"> & { readonly answer?: "Error" }
  ): SqlError {
    return lostError({ database: this.database, operation, sent, session: this.session, ...this.ending!, ...own })
  }
}
