/**
 * What the server says, message by message. The head of the exchanges in flight is the one that it is talking about.
 *
 * What a handler throws is the end of the session: the exchange in hand, those in the queues and those that are parked
 * are told.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import * as Evidence from "../../failure/Evidence.ts"
import { ResultUnreadable } from "../../failure/ResultUnreadable.ts"
import { pgError, statementError, transactionFailed, unknownError } from "../errors/errors.ts"
import { ControlExchange } from "../exchange/ControlExchange.ts"
import { Carries, type Exchange, Progress } from "../exchange/Exchange.ts"
import { ScriptExchange } from "../exchange/ScriptExchange.ts"
import { StatementExchange } from "../exchange/StatementExchange.ts"
import { describeRows, skipField } from "../statement/RowDecoder.ts"
import { markCompleted } from "../statement/scripts.ts"
import { hasChanged, isStale } from "../statement/StatementEncoder.ts"
import { Stage } from "../statement/StatementPlan.ts"
import { withParameter } from "../wire/parameters.ts"
import { isTooLarge } from "../wire/tooLarge.ts"
import type { Cancellation } from "./Cancellation.ts"
import type { Describer } from "./Describer.ts"
import type { Restoration } from "./Restoration.ts"
import type { SessionCore } from "./SessionCore.ts"
import { describeCause, type Termination } from "./Termination.ts"
import { readAnswer } from "./transaction/CommitEvidence.ts"
import type { TransactionControl } from "./transaction/TransactionControl.ts"
import type { Writer } from "./Writer.ts"

/** The SQLSTATE of what a cancel request or a time limit has ended. */
const queryCanceled = "57014"

/** How servers and poolers call the encoding that texts travel in. */
const isUtf8 = /^(?:utf-?8|unicode)$/i

const noFields: ReadonlyArray<PgProtocol.FieldDescription> = []
const none: ReadonlyArray<Exchange> = []

/** The parts of a session that an answer may be about. */
export interface Parts {
  readonly core: SessionCore
  readonly termination: Termination
  readonly writer: Writer
  readonly cancellation: Cancellation
  readonly describer: Describer
  readonly transaction: TransactionControl
  readonly restoration: Restoration
}

export class Reader {
  private readonly core: SessionCore
  private readonly parts: Parts
  noticeListeners: ReadonlyArray<(fields: PgProtocol.ErrorFields) => void> = []
  parameterListeners: ReadonlyArray<(name: string, value: string) => void> = []

  constructor(parts: Parts) {
    this.core = parts.core
    this.parts = parts
  }

  readonly onData = (chunk: Uint8Array): void => {
    const { core } = this
    if (core.end !== undefined) return
    core.tick()
    core.heardAt = core.now
    core.received += chunk.length
    const { writer } = this.parts
    writer.isReceiving = true
    // The codec boundary: the parser throws what it cannot make sense of, and is of no use after that.
    try {
      core.parser.pushEach(chunk, this.onMessage)
    } catch (cause) {
      core.inFlight.head?.description?.takeFailure()
      this.onUnparsable(cause)
    }
    core.inHand = undefined
    writer.isReceiving = false
    if (core.pending.size > 0) writer.flush()
  }

  private onUnparsable(cause: unknown): void {
    const { head } = this.core.inFlight
    if (head === undefined || !isTooLarge(cause)) return this.parts.termination.violation(describeCause(cause), cause)
    this.parts.termination.lose({
      what: `the answer is larger than \`maxMessageSize\`: ${describeCause(cause)}`,
      endedBy: "Client",
      culprit: { exchange: head, endedBy: "Statement" },
      cause
    })
  }

  readonly onMessage = (message: PgProtocol.BackendMessage<unknown>): void => {
    const { core } = this
    if (core.end !== undefined) return
    const { head } = core.inFlight
    switch (message._tag) {
      case "BindComplete":
        if (head !== undefined && head.carries !== Carries.Begin && head.stage === Stage.Run) {
          head.progress = Progress.Bound
          head.wasBound = true
        }
        return
      case "ParseComplete":
      case "CloseComplete":
        return
      case "ParameterDescription":
        if (head instanceof StatementExchange) core.encoder.onParameters(head, message.parameterTypes)
        return
      case "ReadyForQuery":
        return this.onReady(head, message.status)
      case "NoticeResponse":
        for (const listener of this.noticeListeners) listener(message.fields)
        return
      case "ParameterStatus":
        return this.onParameter(head, message.name, message.value)
      case "NotificationResponse":
        return core.listeners.onNotification(message)
      case "ErrorResponse":
        return this.onErrorResponse(head, message.fields)
    }
    if (head === undefined) return this.unexpected(message)
    switch (message._tag) {
      case "DataRow":
        return this.onRow(head, message.values)
      case "CommandComplete":
        return this.onCommand(head, message.commandTag)
      case "EmptyQueryResponse":
        head.onEmpty()
        return this.onPart(head)
      case "RowDescription":
        return this.onColumns(head, message.fields)
      case "NoData":
        return this.onColumns(head, noFields)
      case "PortalSuspended":
        if (head.onSuspended()) core.startTime(head, head.limit)
        else head.deadline = Infinity
        return
      case "CopyInResponse":
        return this.onCopyIn(head, message)
      case "CopyOutResponse":
        return head.onCopyOut(message)
      case "CopyData":
        return head.onCopyData(message.data)
      case "CopyDone":
        return
      default:
        return this.unexpected(message)
    }
  }

  private unexpected(message: PgProtocol.BackendMessage<unknown>): void {
    this.parts.termination.violation(`unexpected ${message._tag}`)
  }

  private onParameter(head: Exchange | undefined, name: string, value: string): void {
    const { core } = this
    const parameters = withParameter(core.parameters, name, value)
    if (parameters === undefined) {
      return this.parts.termination.violation("it reports more parameters than can be true")
    }
    core.parameters = parameters
    if (name === "client_encoding" && !isUtf8.test(value)) return this.onForeignEncoding(head, value)
    if (core.residue.onParameter(name, value, head?.text ?? "")) this.parts.restoration.retire()
    for (const listener of this.parameterListeners) listener(name, value)
  }

  /** What comes from now on is not what it is taken for, and what is sent neither. */
  private onForeignEncoding(head: Exchange | undefined, encoding: string): void {
    this.parts.termination.lose({
      what: `the encoding of the session was set to ${encoding}, and only UTF8 can be read: ` +
        "let the server convert, for example with `convert_from`",
      endedBy: "Client",
      culprit: head === undefined ? undefined : { exchange: head, endedBy: "Statement" }
    })
  }

  private onCopyIn(head: Exchange, message: PgProtocol.CopyInResponse): void {
    const refusal = head.onCopyIn(message)
    if (refusal !== undefined) this.core.transport.socket.write(refusal)
  }

  private onRow(head: Exchange, values: ReadonlyArray<unknown>): void {
    const { core } = this
    if (head.carriesXidQuery && head.tag !== undefined) return core.evidence.answered(values[0])
    const { description } = head
    const undecodable = description?.takeFailure()
    if (undecodable !== undefined) this.onUndecodable(head, undecodable.column, undecodable.cause)
    if (head.abandoned || head.failure !== undefined) return
    if (description === undefined || values.length !== description.columns.length) {
      return this.parts.termination.violation("a row does not fit its description")
    }
    head.onRow(values)
  }

  private onUndecodable(head: Exchange, column: number, cause: unknown): void {
    const name = head.description?.columns[column]?.name
    head.failure ??= { what: `the statement ran, but column "${name}" cannot be decoded`, cause }
    this.core.parser.readField = skipField
    if (head instanceof StatementExchange) this.core.encoder.onUnreadable(head, this.core.now)
  }

  private onColumns(head: Exchange, columns: ReadonlyArray<PgProtocol.FieldDescription>): void {
    if (head.carriesXidQuery && head.tag !== undefined) return
    if (head instanceof StatementExchange) {
      const problem = this.core.encoder.onColumns(head, columns, this.core.now)
      if (problem !== undefined) head.failure = { what: `the statement ran, but ${problem}`, cause: undefined }
    } else {
      // In text format, of which nothing more is expected than strings.
      head.description = describeRows(columns, this.core.types)
    }
    this.core.parser.readField = head.reader
  }

  private onCommand(head: Exchange, tag: string): void {
    const { core } = this
    if (head.carries === Carries.Begin) {
      if (core.begin.stepped()) head.carries = Carries.Begun
      return
    }
    // What stands around a question for a description.
    if (head.stage === Stage.Describe) return
    if (head.carriesXidQuery) {
      if (head.tag !== undefined && !tag.startsWith("COPY")) return this.onPart(head)
      core.parser.readField = readAnswer
    }
    core.encoder.onCommand(tag, head.text)
    if (head.isStatement) core.onCompleted(tag, head.text)
    if (tag === "CREATE FUNCTION") core.options.functions.forget()
    head.onComplete(tag)
    if (!head.carriesXidQuery) this.onPart(head)
  }

  /** An exchange has been answered in full. If its cycle goes on, the next message is about the one behind it. */
  private onPart(head: Exchange): void {
    if (!head.goesOn) return
    const { core } = this
    this.leave(head)
    // The status of the session is that of the end of the cycle.
    core.inFlight.head!.carries = head.carries
    head.carries = Carries.Nothing
    this.parts.writer.promote()
    this.parts.cancellation.onAnswered(head)
    this.succeeded(head)
    core.inHand = undefined
  }

  /** An exchange leaves the queue, and is in hand until its caller is told. */
  private leave(head: Exchange): void {
    const { core } = this
    core.inFlight.shift()
    core.inHand = head
    head.progress = Progress.Answered
    if (!head.abandoned) core.awaited--
    if (head.stage === Stage.Describe) core.describing--
    if (head.carriesXidQuery) core.evidence.asked(head)
  }

  /** A statement of a cycle has failed: what the server has skipped because of that. */
  private takeSkipped(failed: Exchange): ReadonlyArray<Exchange> {
    if (!failed.goesOn) return none
    if (failed.error === undefined) throw new Error("a cycle has ended before all of it was answered")
    const skipped: Array<Exchange> = []
    for (let last = failed; last.goesOn;) {
      const next = this.core.inFlight.shift()!
      this.core.parked.add(next)
      next.progress = Progress.Answered
      if (!next.abandoned) this.core.awaited--
      if (next.carriesXidQuery) this.core.evidence.asked(next)
      skipped.push(next)
      last = next
    }
    return skipped
  }

  private onErrorResponse(head: Exchange | undefined, fields: PgProtocol.ErrorFields): void {
    const severity = fields.severityUnlocalized ?? fields.severity
    if (head === undefined || severity === "FATAL" || severity === "PANIC") {
      return this.parts.termination.lose({
        what: `the server ended the session: ${fields.message ?? "unknown error"} (${fields.code ?? "?"})`,
        endedBy: "Server",
        serverError: pgError(fields)
      })
    }
    if (fields.code === "25006" && this.core.residue.wasReadWrite) this.parts.restoration.retire()
    head.onError(fields)
  }

  private onReady(head: Exchange | undefined, status: PgProtocol.TransactionStatus): void {
    const { core } = this
    const { cancellation, describer, termination, transaction, writer } = this.parts
    if (head === undefined) return termination.violation("there was no question")
    this.leave(head)
    const { carries } = head
    const skipped = this.takeSkipped(head)
    if (carries !== Carries.Nothing) {
      head.carries = Carries.Nothing
      core.begin.answered()
    }
    core.status = core.begin.statusAfter(status, core.status)
    if (head.endsTransaction) core.ownTransaction = "None"
    if (core.status === "I") core.onIdle()
    if (core.inFlight.size > 0) writer.promote()
    cancellation.onAnswered(head)
    if (carries === Carries.Begin && head.error === undefined) throw new Error("BEGIN was not answered")
    if (carries === Carries.Begin && head.error !== undefined) {
      transaction.refused([head, ...skipped], head.error, describer, this.fail)
    } else if (head.stage === Stage.Describe) {
      describer.described(head as StatementExchange, this.fail)
    } else if (head.error !== undefined) {
      this.failed(head, head.error)
    } else {
      this.succeeded(head)
    }
    for (const one of skipped) {
      if (carries !== Carries.Begin) this.skip(one)
      core.parked.delete(one)
    }
    core.inHand = undefined
  }

  /** The server has not run it, because the transaction had failed before. It would have said so in another cycle. */
  private skip(exchange: Exchange): void {
    const { encoder, now, options } = this.core
    if (exchange instanceof StatementExchange) {
      encoder.onSkipped(exchange, now)
      encoder.release(exchange)
    }
    exchange.settle(Effect.fail(statementError(options.database, transactionFailed, true, exchange.operation)))
  }

  private failed(exchange: Exchange, error: PgProtocol.ErrorFields): void {
    if (exchange instanceof StatementExchange && exchange.prepared !== undefined) {
      const { encoder, now, status } = this.core
      if (this.wasHitByMistake(exchange, error)) {
        exchange.repeated = true
        return this.parts.describer.replan(exchange)
      }
      const changed = hasChanged(exchange, error, now)
      if (!changed && !isStale(error)) {
        encoder.onFailed(exchange, exchange.prepared)
      } else {
        encoder.onStale(exchange.prepared, now)
        // Inside a transaction the error has aborted it, and a second try would only hide it.
        if (status === "I" && !exchange.repeated && !exchange.abandoned) {
          exchange.repeated = true
          exchange.prepare = false
          return this.parts.describer.replan(exchange)
        }
        // That the statement was written for another schema is what its repetition needs to know.
        if (changed && error.code?.startsWith("42") === true) return this.fail(exchange, { ...error, stale: "true" })
      }
    }
    this.fail(exchange, error)
  }

  /** Whether a statement was hit by a cancel request for another one. It was undone, so it can be run again. */
  private wasHitByMistake(exchange: StatementExchange, error: PgProtocol.ErrorFields): boolean {
    return exchange.endangered && !exchange.expired && error.code === queryCanceled && this.core.status === "I" &&
      !exchange.repeated && !exchange.abandoned
  }

  /** An exchange ends with the server's report. */
  private readonly fail = (exchange: Exchange, error: PgProtocol.ErrorFields): void => {
    const { core } = this
    if (exchange instanceof StatementExchange) core.encoder.release(exchange)
    const failure = statementError(core.options.database, error, core.inTransaction, exchange.operation)
    if (exchange.expired && error.code === queryCanceled) {
      const answered = Evidence.answered(failure.reason.cause)
      Evidence.attach(failure, { ...answered, endedBy: "Limit", limitMillis: exchange.limit })
    }
    if (exchange instanceof ScriptExchange) markCompleted(failure, exchange.results.length)
    // What a transaction is that outlives its COMMIT cannot be known. The pool hears it before the caller, who may give
    // the session back at once.
    if (exchange instanceof ControlExchange && exchange.isCommit && core.inTransaction) {
      core.inHand = undefined
      this.parts.termination.lose({ what: "COMMIT was refused and the transaction is still open", endedBy: "Client" })
    }
    exchange.settle(Effect.fail(failure))
  }

  private succeeded(exchange: Exchange): void {
    if (exchange instanceof StatementExchange) this.core.encoder.release(exchange)
    if (exchange.abandoned) return
    if (!exchange.isComplete) throw new Error("an exchange has ended without saying how")
    const result = exchange.failure === undefined ? exchange.onReady() : undefined
    const { failure } = exchange
    if (failure !== undefined) exchange.settle(Effect.fail(this.unreadable(exchange, failure)))
    else if (result !== undefined) exchange.settle(result)
  }

  private unreadable(exchange: Exchange, failure: { readonly what: string; readonly cause: unknown }) {
    const cause = new ResultUnreadable(failure.cause === undefined ? {} : { cause: failure.cause })
    return unknownError(this.core.options.database, failure.what, cause, exchange.operation)
  }
}
