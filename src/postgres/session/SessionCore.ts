/**
 * What the parts of a session share: its queues, its clock, what the server has said last, and what is known.
 *
 * Exchanges wait in `pending`, are written together when the current tick is over, and are answered in order: the head
 * of `inFlight` is the one that the server is talking about. One that is in neither queue, because it waits for
 * something else to be answered, is in `parked`, so that the end of the session reaches each exchange.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as Clock from "effect/Clock"
import type { EndedBy } from "../../failure/Evidence.ts"
import { DeadlineTimer } from "../../timing/DeadlineTimer.ts"
import type { StallGuard } from "../../timing/StallGuard.ts"
import { guardOf, monotonicOf } from "../../timing/timeout.ts"
import type { TransactionSettings } from "../../transaction/TransactionSettings.ts"
import type { PgError } from "../errors/errors.ts"
import type { Exchange } from "../exchange/Exchange.ts"
import { ExchangeQueue } from "../exchange/ExchangeQueue.ts"
import { Listeners } from "../listen/Listeners.ts"
import { endsTransaction } from "../statement/scripts.ts"
import { StatementEncoder } from "../statement/StatementEncoder.ts"
import type { TypeStore } from "../types/TypeStore.ts"
import type { MessageReader } from "../wire/MessageReader.ts"
import type { Parameters } from "../wire/parameters.ts"
import type { Transport } from "../wire/Socket.ts"
import type { Started } from "../wire/Startup.ts"
import type { SessionOptions } from "./SessionOptions.ts"
import { SessionResidue } from "./SessionResidue.ts"
import { StatementLimit } from "./StatementLimit.ts"
import { CommitEvidence } from "./transaction/CommitEvidence.ts"
import { LazyBegin } from "./transaction/LazyBegin.ts"

/** How a session ended. */
export interface End {
  readonly what: string
  readonly endedBy: EndedBy
  readonly serverError?: PgError | undefined
  readonly cause?: unknown
  /** The exchange that ended it for all of them, and what that is for its own caller. */
  readonly culprit?: { readonly exchange: Exchange; readonly endedBy: EndedBy } | undefined
  /** For how long this process stood still meanwhile, in milliseconds. */
  readonly stalledMillis?: number | undefined
}

export class SessionCore {
  readonly options: SessionOptions
  readonly transport: Transport
  readonly parser: MessageReader
  /** What the server reports of itself and the session. */
  parameters: Parameters
  readonly encoder: StatementEncoder
  readonly types: TypeStore
  readonly evidence: CommitEvidence
  /** What borrowers leave behind. */
  readonly residue: SessionResidue
  readonly listeners = new Listeners()

  private readonly monotonic: () => number
  /** Knows when this process stood still, unless the clock is one of a test. */
  readonly guard: StallGuard | undefined

  readonly pending = new ExchangeQueue()
  readonly inFlight = new ExchangeQueue()
  /** Exchanges that wait for the answer to another one before they can be queued. */
  readonly parked = new Set<Exchange>()
  /** The exchange whose answer is being dealt with: it has left its queue. */
  inHand: Exchange | undefined = undefined
  /** How many of those in flight are still waited for. */
  awaited = 0
  /** How many questions for columns or types have to be answered before what waits for them can run. */
  describing = 0

  /** The status that the server reported last, or will have reported once it has seen BEGIN. */
  status: PgProtocol.TransactionStatus = "I"
  readonly begin = new LazyBegin()
  /**
   * The transaction that `begin` has begun. A statement may have ended it and begun another one at once, which the
   * status of the server does not tell: `COMMIT AND CHAIN`, a script with COMMIT and BEGIN in it.
   */
  ownTransaction: "None" | "Open" | "EndedInside" = "None"
  /** The settings that the open transaction has begun with. */
  settings: TransactionSettings | undefined = undefined

  /** The session's clock in milliseconds, as of the last chunk or write. */
  now = 0
  readonly openedAt: number
  endedAt = 0
  /** When the last chunk came. */
  heardAt = 0
  /** How many bytes have been received. */
  received = 0
  /** Called when the earliest deadline may have passed. */
  onDue: () => void = () => {}
  readonly timer = new DeadlineTimer(() => this.onDue())

  /** How long statements may take. */
  readonly limit: StatementLimit
  end: End | undefined = undefined

  constructor(options: SessionOptions, clock: Clock.Clock, transport: Transport, started: Started) {
    this.options = options
    this.monotonic = monotonicOf(clock)
    this.guard = guardOf(clock)
    this.transport = transport
    this.parser = started.parser
    this.parameters = started.parameters
    this.encoder = new StatementEncoder(options)
    this.types = options.types
    this.evidence = new CommitEvidence(options.identity, started.parameters.get("server_version"), started.processId)
    this.residue = new SessionResidue(started.parameters, options.functions)
    this.limit = new StatementLimit(options.statementTimeout, options.statementLimit)
    this.tick()
    this.openedAt = this.now
  }

  get inTransaction(): boolean {
    return this.status !== "I"
  }

  tick(): void {
    this.now = this.monotonic()
  }

  /** A transaction begins with settings. */
  settle(settings: TransactionSettings): void {
    this.settings = settings
    this.encoder.scope = settings.scope
  }

  /** A statement of a caller has been completed. */
  onCompleted(tag: string, text: string): void {
    if (this.ownTransaction === "Open" && endsTransaction(tag, text)) this.ownTransaction = "EndedInside"
  }

  /** No transaction is open any more. */
  onIdle(): void {
    if (this.ownTransaction === "EndedInside") this.ownTransaction = "None"
    if (this.settings !== undefined) {
      this.settings = undefined
      this.encoder.scope = ""
    }
    this.encoder.onPath(this.residue.hasState)
    this.residue.onIdle()
    this.limit.onIdle()
  }

  /** The time of an exchange begins now. */
  startTime(exchange: Exchange, millis: number): void {
    if (millis === Infinity) {
      exchange.deadline = Infinity
      return
    }
    exchange.startedAt = this.now
    exchange.deadline = this.now + millis
    this.timer.arm(exchange.deadline, this.now)
  }
}
