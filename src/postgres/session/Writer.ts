/**
 * Writes what waits. All that is queued in one tick goes on the wire in one piece.
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import { Buffer } from "node:buffer"
import { unknownError } from "../errors/errors.ts"
import { Carries, type Exchange, Progress } from "../exchange/Exchange.ts"
import { LimitExchange, UserScript } from "../exchange/ScriptExchange.ts"
import { StatementExchange } from "../exchange/StatementExchange.ts"
import { Stage } from "../statement/StatementPlan.ts"
import * as frames from "../wire/frames.ts"
import type { Cancellation } from "./Cancellation.ts"
import type { SessionCore } from "./SessionCore.ts"
import { Trace } from "./SessionResidue.ts"
import { limitQuestion, setLimit } from "./StatementLimit.ts"
import type { Termination } from "./Termination.ts"

export class Writer {
  private readonly core: SessionCore
  private readonly cancellation: Cancellation
  private readonly termination: Termination
  private isScheduled = false
  /** A chunk is being received: what is submitted meanwhile is written together when the chunk is done with. */
  isReceiving = false
  private parts: Array<Uint8Array> = []
  private length = 0
  /** The last exchange of a cycle with BEGIN that others may join as long as it is not written. */
  private open: Exchange | undefined = undefined
  /** Where what was written before ends. */
  private start = 0

  constructor(core: SessionCore, cancellation: Cancellation, termination: Termination) {
    this.core = core
    this.cancellation = cancellation
    this.termination = termination
  }

  /** Queues an exchange behind those that wait. */
  readonly submit = (exchange: Exchange): void => {
    if (this.core.end !== undefined) return exchange.settle(Effect.fail(this.termination.errorOf(exchange)))
    this.core.pending.push(exchange)
    this.schedule()
  }

  /** Queues an exchange ahead of those that wait. */
  submitFirst(exchange: Exchange): void {
    if (this.core.end !== undefined) return exchange.settle(Effect.fail(this.termination.errorOf(exchange)))
    this.core.pending.unshift(exchange)
    this.schedule()
  }

  private schedule(): void {
    if (this.isScheduled || this.isReceiving) return
    this.isScheduled = true
    queueMicrotask(this.flush)
  }

  /** Writes what waits. What is thrown on the way is the end of the session, and of nothing else. */
  readonly flush = (): void => {
    this.isScheduled = false
    const { core } = this
    if (core.end !== undefined || this.cancellation.isHeld || core.pending.size === 0) return
    try {
      this.write()
    } catch (cause) {
      this.parts = []
      this.length = 0
      this.termination.lose({ what: "an exchange could not be written", endedBy: "Client", cause })
    }
  }

  private write(): void {
    const { core } = this
    const wasIdle = core.inFlight.size === 0
    if (wasIdle) core.tick()
    this.open = undefined
    this.start = core.transport.writes.given
    for (let exchange = core.pending.head; exchange !== undefined; exchange = core.pending.head) {
      const trace = core.residue.tracesOf(exchange.trace, exchange.calls)
      // No other caller's statement may follow it before what it leaves behind is undone.
      if (trace !== 0) exchange.exclusive = true
      const joins = this.mayJoin(exchange)
      if (!joins && !this.mayFollow(exchange)) break
      core.pending.shift()
      // A BEGIN is for all who are in the transaction, and a name for all who are bound to it.
      if (exchange.abandoned && !exchange.isNeeded) {
        if (exchange instanceof StatementExchange) core.encoder.release(exchange)
        continue
      }
      if (exchange.onlyInTransaction && core.status === "I") {
        exchange.settle(Effect.void)
        continue
      }
      if (!exchange.mayBeSent) {
        const what = "it was not sent, because a statement ahead of it was not"
        exchange.settle(Effect.fail(unknownError(core.options.database, what, undefined, exchange.operation)))
        continue
      }
      if (exchange.isStatement && core.status !== "E" && !joins) this.prepareLimit(exchange)
      if (core.begin.isHeld && !this.begin(exchange)) continue
      if (joins) this.join(this.open!, exchange)
      const mayBeJoined = joins
        ? exchange.isStatement
        : exchange.carries === Carries.Begin && !exchange.exclusive && exchange.canJoin
      // What comes after BEGIN in a cycle of its own has to wait until BEGIN is known to have succeeded.
      if (joins || exchange.carries !== Carries.Nothing) exchange.exclusive = true
      this.add(exchange, joins)
      this.open = mayBeJoined ? exchange : undefined
      if (exchange.isStatement) {
        core.residue.onStatement(trace)
        if ((trace & Trace.Limit) !== 0) core.limit.onTouched()
        if ((trace & (Trace.Path | Trace.State)) !== 0) core.encoder.onPath(true)
      }
    }
    this.send(wasIdle)
  }

  /** Whether an exchange may be written behind those that are in flight. */
  private mayFollow(exchange: Exchange): boolean {
    const { core } = this
    const ahead = core.inFlight.head
    if (ahead !== undefined && (exchange.exclusive || ahead.exclusive)) return false
    // Inside a transaction the order is kept: COMMIT must not overtake a statement whose description is awaited.
    return core.describing === 0 || core.status === "I" || exchange.overtakes
  }

  /**
   * Whether an exchange may go into the cycle of BEGIN: if BEGIN fails, the server skips it. So what is asked for
   * together at the beginning of a transaction goes in one write.
   */
  private mayJoin(exchange: Exchange): boolean {
    const { core, open } = this
    return open !== undefined && exchange.canJoin && !exchange.exclusive && !exchange.abandoned &&
      core.describing === 0 && (!exchange.isStatement || core.limit.before(exchange.ownLimit) === undefined)
  }

  /**
   * The cycle of an exchange goes on, so what was written as its end is taken back. The server keeps the answers until
   * the end, unless they tell the id of the transaction, which must be known before COMMIT is run.
   */
  private join(ahead: Exchange, exchange: Exchange): void {
    ahead.goesOn = true
    const { parts } = this
    const end = parts.length - 1
    parts[end] = parts[end]!.subarray(0, -frames.sync.length)
    this.length -= frames.sync.length
    if (exchange.endsTransaction && this.core.evidence.isAsking) this.push(frames.flush)
  }

  /** What becomes of a BEGIN that waits, now that an exchange is to be written. Returns whether it is to be written. */
  private begin(exchange: Exchange): boolean {
    const { core } = this
    if (exchange.endsTransaction) {
      // It was never begun.
      core.begin.drop()
      core.status = "I"
      core.onIdle()
      exchange.settle(Effect.void)
      return false
    }
    if (exchange.canCarryBegin) {
      this.push(core.begin.take())
      exchange.carries = Carries.Begin
    }
    return true
  }

  /** Sets the time limit of a statement on the server, or asks for it, if it is not what it has to be. */
  private prepareLimit(exchange: Exchange): void {
    const { limit, options } = this.core
    const preparation = limit.before(exchange.ownLimit)
    if (preparation === undefined) return
    // BEGIN that waits is written behind this.
    const inTransaction = this.core.inTransaction && !this.core.begin.isHeld
    if (preparation._tag === "Ask") {
      limit.onAsked()
      this.addLimit(limitQuestion, exchange, (exit) => {
        if (Exit.isSuccess(exit)) limit.onAnswer(exit.value, inTransaction)
      })
      // It may be another one than the statement is to have.
      if (exchange.ownLimit !== undefined) this.prepareLimit(exchange)
    } else if (inTransaction || !options.pooled) {
      limit.onSet(preparation.millis, inTransaction)
      this.addLimit(setLimit(preparation.millis, inTransaction), exchange, (exit) => {
        if (Exit.isFailure(exit)) limit.onRefused()
      })
    }
  }

  private addLimit(
    sql: string,
    exchange: Exchange,
    done: (exit: Exit.Exit<ReadonlyArray<Result>, SqlError>) => void
  ): void {
    const ahead = new LimitExchange(sql, this.core.options.controlLimit, (effect) => done(effect as never))
    ahead.exclusive = exchange.exclusive
    this.add(ahead)
  }

  private add(exchange: Exchange, joins = false): void {
    const { core } = this
    // What fails ahead of it in its cycle would let the server skip them.
    const closes = joins ? undefined : core.encoder.takeCloses()
    if (closes !== undefined) { for (const close of closes) this.push(close) }
    if (exchange.head !== undefined) this.push(exchange.head)
    if (exchange.bind !== undefined && exchange.stage === Stage.Run) this.push(exchange.bind)
    const tail = core.status === "T" ? core.evidence.rides(exchange) ?? exchange.tail : exchange.tail
    if (tail !== undefined) this.push(tail)
    exchange.progress = Progress.Written
    exchange.writtenTo = this.start + this.length
    if (!exchange.abandoned) core.awaited++
    if (exchange.stage === Stage.Describe) core.describing++
    core.inFlight.push(exchange)
  }

  private push(part: Uint8Array): void {
    this.parts.push(part)
    this.length += part.length
  }

  private send(wasIdle: boolean): void {
    const { length, parts } = this
    if (length === 0) return
    this.parts = []
    this.length = 0
    const frame = Buffer.allocUnsafe(length)
    let offset = 0
    for (let index = 0; index < parts.length; index++) {
      const part = parts[index]!
      frame.set(part, offset)
      offset += part.length
    }
    if (wasIdle) this.promote()
    this.core.transport.socket.write(frame)
  }

  /** It is the head's turn: its rows come next and its time starts. */
  promote(): void {
    const { core } = this
    const { head } = core.inFlight
    if (head === undefined) return
    core.parser.readField = head.reader
    if (head.isStatement) head.limit = this.limitOf(head)
    // A control statement has its time from when it was asked for.
    if (head.isStatement || head.limit !== Infinity) core.startTime(head, head.limit)
  }

  private limitOf(exchange: Exchange): number {
    // A script that changes the limit on its way is limited by the server alone.
    if (exchange instanceof UserScript && (exchange.trace & Trace.Limit) !== 0) return Infinity
    const own = this.core.limit.limitFor(exchange.ownLimit, exchange.statements)
    return exchange.goesOn ? own + this.limitBehind(exchange) : own
  }

  /** The server may keep an answer until the cycle is over. It cuts off each statement in its own time. */
  private limitBehind(head: Exchange): number {
    let limit = 0
    let isBehind = false
    for (const exchange of this.core.inFlight.all()) {
      if (isBehind) {
        limit += exchange.isStatement
          ? this.core.limit.limitFor(exchange.ownLimit, exchange.statements)
          : this.core.options.controlLimit
      }
      isBehind ||= exchange === head
      if (!exchange.goesOn) break
    }
    return limit
  }

  /** Writes a message that belongs to the cycle which is under way. */
  readonly writeNow = (exchange: Exchange, frame: Uint8Array): void => {
    const { core } = this
    if (core.end !== undefined) return
    core.tick()
    core.startTime(exchange, exchange.limit)
    core.transport.socket.write(frame)
  }

  /** Writes data of the exchange that has the wire. Answers whether the socket takes more. */
  readonly writeData = (frame: Uint8Array): boolean =>
    this.core.end !== undefined || this.core.transport.socket.write(frame)
}
