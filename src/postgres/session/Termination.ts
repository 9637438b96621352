/**
 * How a session ends, and what each exchange is told that it did not live to complete.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { EndedBy } from "../../failure/Evidence.ts"
import * as Evidence from "../../failure/Evidence.ts"
import { lostError } from "../../failure/lostError.ts"
import { afterAwake } from "../../timing/DeadlineTimer.ts"
import { statementError } from "../errors/errors.ts"
import { ControlExchange } from "../exchange/ControlExchange.ts"
import { type Exchange, Progress } from "../exchange/Exchange.ts"
import { ScriptExchange } from "../exchange/ScriptExchange.ts"
import * as frames from "../wire/frames.ts"
import type { End, SessionCore } from "./SessionCore.ts"

/** How long the goodbye may take, in milliseconds. */
const closeLimit = 1_000

export class Termination {
  private readonly core: SessionCore
  private lostBecause: SqlError | undefined = undefined
  /** As long as it must be: `push` would make room for sixteen more in each idle session. */
  private listeners: ReadonlyArray<(error: SqlError) => void> = []

  constructor(core: SessionCore) {
    this.core = core
  }

  onLost(listener: (error: SqlError) => void): void {
    if (this.lostBecause !== undefined) listener(this.lostBecause)
    else this.listeners = [...this.listeners, listener]
  }

  readonly onSocketError = (cause: Error): void =>
    this.lose({ what: `the connection failed: ${describeCause(cause)}`, endedBy: "Network", cause })

  readonly onSocketClose = (): void =>
    this.lose({ what: "the connection was closed by the other side", endedBy: "Silence" })

  /** What the server has sent makes no sense, or was not expected. */
  violation(what: string, cause?: unknown): void {
    this.lose({ what: `the server's answer makes no sense: ${what}`, endedBy: "Network", cause })
  }

  /** The session has come to an end that was not asked for. */
  lose(end: End): void {
    const { core } = this
    if (core.end !== undefined) return
    core.tick()
    core.endedAt = core.now
    const error = this.lostBy(end, { operation: "session", sent: false, endedBy: end.endedBy })
    core.transport.socket.destroy()
    this.finish(end, error)
  }

  private lostBy(
    end: End,
    what: {
      readonly operation: string
      readonly sent: boolean
      readonly endedBy: EndedBy
      readonly answer?: Evidence.Evidence["answer"]
      readonly what?: string
    }
  ): SqlError {
    const { core } = this
    return lostError({
      database: core.options.database,
      what: end.what,
      serverError: end.serverError,
      cause: end.cause,
      session: { openedAt: core.openedAt, endedAt: core.endedAt },
      stalledMillis: end.stalledMillis,
      ...what
    })
  }

  private finish(end: End, error: SqlError | undefined): void {
    const { core } = this
    core.end = end
    if (core.endedAt === 0) {
      core.tick()
      core.endedAt = core.now
    }
    core.timer.stop()
    // The pool, which lends connections, hears it before the callers that might ask for another one.
    if (error !== undefined) {
      this.lostBecause = error
      const { listeners } = this
      this.listeners = []
      for (const listener of listeners) listener(error)
    }
    const exchanges = [...core.inFlight.drain(), ...core.pending.drain(), ...core.parked]
    core.parked.clear()
    if (core.inHand !== undefined) exchanges.push(core.inHand)
    for (const exchange of exchanges) exchange.settle(this.lastWord(exchange))
    core.listeners.end(error)
  }

  /** What the caller hears of an exchange that the session did not live to complete. */
  private lastWord(exchange: Exchange): Effect.Effect<any, SqlError> {
    const { core } = this
    if (exchange.error !== undefined) {
      const error = statementError(core.options.database, exchange.error, core.inTransaction, exchange.operation)
      const answered = Evidence.answered(error.reason.cause)
      return Effect.fail(Evidence.attach(error, { ...answered, endedBy: core.end!.endedBy, ready: false }))
    }
    return exchange.lastWord ?? Effect.fail(this.errorOf(exchange))
  }

  /**
   * A server that ends the session in order says all it has to say before its last word. What it has not even bound by
   * then it has not run. Only its own last word counts: a pooler's does not say what the server behind it has done.
   */
  private wasTurnedAway(exchange: Exchange): boolean {
    return this.isUnwritten(exchange) ||
      this.isOrderly && exchange.isBoundFirst && exchange.progress === Progress.Written
  }

  /**
   * Whether the kernel has not taken all of it. The server begins with nothing that it has not seen a byte of. Of what it
   * has seen in part it commits nothing, unless the statement itself commits.
   */
  private isUnwritten(exchange: Exchange): boolean {
    const { writes } = this.core.transport
    return exchange.writtenTo > writes.accepted && (writes.isWhole || exchange.isStatement && commitsLast(exchange))
  }

  /**
   * Whether the server has undone what it was running. It commits a statement after it has said that it is complete, or
   * right before it does, when it does not look for interruptions. So one that it ends the session instead of completing
   * was not committed.
   */
  private wasUndone(exchange: Exchange): boolean {
    return this.isOrderly && exchange.tag === undefined && commitsLast(exchange)
  }

  /** Whether the server ended the session where it looks for interruptions. */
  private get isOrderly(): boolean {
    const routine = this.core.end!.serverError?.routine
    return routine === "ProcessInterrupts" || routine === "ProcessRecoveryConflictInterrupt"
  }

  /** The failure of an exchange that comes to a session which has ended, or was under way when it did. */
  errorOf(exchange: Exchange): SqlError {
    const end = this.core.end!
    const sent = exchange.isSent && !this.wasTurnedAway(exchange)
    const answer = sent && this.wasUndone(exchange) ? "Undone" : "None"
    return this.lostBy(end, {
      operation: exchange.operation,
      sent,
      answer,
      endedBy: end.culprit?.exchange === exchange ? end.culprit.endedBy : end.endedBy,
      ...(exchange instanceof ControlExchange && exchange.isCommit && sent
        ? {
          what: answer === "Undone"
            ? `the transaction was not committed (${end.what})`
            : `COMMIT was sent but not answered: it may or may not have been applied (${end.what})`
        }
        : undefined)
    })
  }

  get close(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const { socket } = this.core.transport
      if (this.core.end === undefined) {
        this.finish({ what: "the connection has been closed", endedBy: "Client" }, undefined)
        socket.end(frames.terminate)
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
    const { core } = this
    core.transport.socket.destroy()
    if (core.end === undefined) {
      this.finish({
        what: `the connection was destroyed: ${reason}`,
        endedBy: "Client"
      }, undefined)
    }
  }
}

/** How statements begin that cannot commit anything before they are complete, as a procedure or VACUUM can. */
const committedLast =
  /^(?:[\s(]|--[^\n]*\n|\/\*(?:(?!\/\*)[^])*?\*\/)*(?:select|insert|update|delete|merge|with|values|table|copy|truncate)\b/i

/** Whether an exchange is COMMIT, or one statement that the server commits as a whole and at its end. */
const commitsLast = (exchange: Exchange): boolean =>
  exchange instanceof ControlExchange
    ? exchange.isCommit
    : !(exchange instanceof ScriptExchange) && committedLast.test(exchange.text)

export const describeCause = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)
