/**
 * A result that is fetched a few rows at a time.
 *
 * Inside a transaction each fetch is a cycle of its own on a named portal, so other statements can run in between, and
 * stopping early leaves the transaction as it is. Outside of one a portal lives until the next `Sync`, so the session
 * is held by the portal and fetches are separated by `Flush`.
 *
 * Fetches run ahead of the consumer, one more for each that it has taken: the server need not wait for a consumer that
 * is quick, and has done little in vain for one that stops early. How many rows a fetch asks for follows from how large
 * they are, which bounds the memory, and from how long they take, which bounds the wait for somebody who stops early
 * inside a transaction, where a fetch cannot be taken back.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { Stage } from "../statement/StatementPlan.ts"
import * as frames from "../wire/frames.ts"
import { Control, ControlExchange } from "./ControlExchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"
import { Shape, StatementExchange } from "./StatementExchange.ts"

type Batch = Arr.NonEmptyReadonlyArray<any>
type Resume = (effect: Effect.Effect<Batch, SqlError | Cause.Done>) => void

/** How many rows the first fetch asks for. How large they are is not known yet. */
const firstRows = 64

/** How many fetches are under way or wait for the consumer, at most. */
const maxAhead = 8

/** How many bytes a fetch should bring. */
const targetBytes = 128 * 1024

/** How long a fetch should take, in milliseconds. */
const targetMillis = 20

let names = 0

/** The cycle of one fetch; outside a transaction, of all of them. */
export class Fetch extends StatementExchange {
  private readonly portal: Portal
  /** Whether the portal makes a cycle of each fetch. */
  private readonly isOneOfMany: boolean
  /** Whether the server has said that there are more rows. */
  isSuspended = false

  constructor(
    portal: Portal,
    sql: string,
    params: ReadonlyArray<unknown>,
    prepare: boolean,
    ownLimit: number | undefined
  ) {
    super(Shape.Objects, sql, params, prepare, ownLimit, (effect) => portal.onFailure(effect), portal.name)
    this.portal = portal
    this.isOneOfMany = portal.name !== ""
  }

  override get canCarryBegin(): boolean {
    return false
  }

  override ending(confirm: boolean): Uint8Array {
    return this.portal.firstFetch(confirm)
  }

  override onComplete(tag: string): void {
    super.onComplete(tag)
    this.portal.onComplete(this)
  }

  override get isComplete(): boolean {
    return this.isSuspended || super.isComplete
  }

  override onEmpty(): void {
    super.onEmpty()
    this.portal.onComplete(this)
  }

  override onSuspended(): boolean {
    if (this.rows.length === 0 && !this.abandoned && this.failure === undefined) {
      throw new Error("a portal was suspended without a row")
    }
    // Outside a transaction only the end of the portal ends the cycle.
    this.isSuspended = this.isOneOfMany
    return this.portal.onSuspended(this)
  }

  override onError(fields: PgProtocol.ErrorFields): void {
    super.onError(fields)
    if (this.stage === Stage.Run) this.portal.onError(this)
  }

  override onCopyIn(): Uint8Array | undefined {
    return this.portal.onCopyIn()
  }

  override again(): void {
    super.again()
    this.isSuspended = false
    this.portal.onRepeat()
  }

  override onReady(): undefined {
    this.portal.onReady(this)
    return undefined
  }
}

export class Portal {
  /** The name that the first `Bind` gives it. */
  readonly name: string
  private readonly host: ExchangeHost
  private readonly maxRows: number
  private readonly inTransaction: boolean
  /** The cycles under way, in order. Outside a transaction there is one for all fetches. */
  private readonly fetches: Array<Fetch>
  private readonly first: Fetch
  private opened = false
  /** How many fetches are under way. */
  private fetching = 0
  /** How many may run ahead by now. */
  private ahead = 1
  private rowsAsked: number
  private frame: Uint8Array | undefined = undefined
  private frameRows = 0
  /** What had been received when the last fetch ended, and when that was. */
  private receivedBefore = 0
  private endedAt = 0
  private readonly batches: Array<Batch> = []
  private waiting: Resume | undefined = undefined
  /** The server has sent the last row. */
  private completed = false
  /** The last row is in `batches`, or was given away. */
  private exhausted = false
  private failure: Effect.Effect<any, SqlError> | undefined = undefined
  private stopped = false
  /** Somebody waited for rows and was interrupted, so the fetches under way are in the way. */
  private interrupted = false
  /** Outside a transaction: the `Sync` that ends the only cycle has been written. */
  private synced = false

  constructor(host: ExchangeHost, sql: string, params: ReadonlyArray<unknown>, maxRows: number, ownLimit?: number) {
    this.host = host
    this.maxRows = maxRows
    this.inTransaction = host.inTransaction
    this.name = this.inTransaction ? `wtp_${(++names).toString(36)}` : ""
    this.rowsAsked = Math.min(firstRows, maxRows)
    this.first = new Fetch(this, sql, params, true, ownLimit)
    this.first.exclusive = !this.inTransaction
    this.fetches = [this.first]
  }

  /** Waits for rows. */
  readonly pull: Effect.Effect<Batch, SqlError | Cause.Done> = Effect.callback((resume) => {
    this.waiting = resume
    if (!this.opened) {
      this.opened = true
      this.fetching = 1
      this.markEnd()
      this.host.open(this.first)
    } else {
      this.deliver()
    }
    return Effect.sync(() => {
      this.waiting = undefined
      this.interrupted = true
    })
  })

  /** The end of the cycle that binds the portal. */
  firstFetch(confirm: boolean): Uint8Array {
    const fetch = this.fetchFrame()
    return confirm
      ? frames.join(PgProtocol.encodeDescribe({ target: "portal", name: this.name }), fetch)
      : fetch
  }

  private fetchFrame(): Uint8Array {
    if (this.frame === undefined || this.frameRows !== this.rowsAsked) {
      this.frameRows = this.rowsAsked
      this.frame = frames.join(
        PgProtocol.encodeExecute({ portal: this.name, maxRows: this.rowsAsked }),
        this.inTransaction ? frames.sync : frames.flush
      )
    }
    return this.frame
  }

  /** The server has sent as many rows as were asked for. Returns whether more are asked for already. */
  onSuspended(fetch: Fetch): boolean {
    // With a `Sync` behind the fetch, its answer is what ends it.
    if (this.inTransaction) return true
    // Nothing more is wanted of rows that cannot be read.
    if (fetch.failure !== undefined) this.sync(fetch, frames.join(closePortal(""), frames.sync))
    else this.onBatch(fetch)
    return this.fetching > 0 || this.synced
  }

  /** The server has sent the last row. */
  onComplete(fetch: Fetch): void {
    this.completed = true
    if (!this.inTransaction) this.sync(fetch, frames.sync)
  }

  /** The server has reported an error, and reads nothing until the next `Sync`. */
  onError(fetch: Fetch): void {
    if (!this.inTransaction) this.sync(fetch, frames.sync)
  }

  /** The statement is a COPY. The `Sync` behind a fetch was taken for a part of the data. */
  onCopyIn(): Uint8Array {
    return this.inTransaction ? frames.join(frames.copyFail, frames.sync) : frames.copyFail
  }

  /** The cycle is over. */
  onReady(fetch: Fetch): void {
    this.fetches.shift()
    // However the server has ended it: only a portal that it has suspended has more to give.
    if (!fetch.isSuspended) this.completed = true
    this.exhausted = this.completed
    this.onBatch(fetch)
  }

  /** The first fetch is repeated, because the server had lost the statement. */
  onRepeat(): void {
    this.synced = false
  }

  private sync(fetch: Fetch, frame: Uint8Array): void {
    if (this.synced) return
    this.synced = true
    this.host.writeNow(fetch, frame)
  }

  private onBatch(fetch: Fetch): void {
    this.fetching--
    const rows = fetch.rows
    fetch.rows = []
    if (this.stopped) return
    if (rows.length > 0) {
      this.batches.push(rows as unknown as Batch)
      const bytes = (this.host.received - this.receivedBefore) / rows.length
      const millis = (this.host.now - this.endedAt) / rows.length
      this.rowsAsked = Math.max(1, Math.floor(Math.min(this.maxRows, targetBytes / bytes, targetMillis / millis)))
    }
    this.markEnd()
    this.deliver()
  }

  private markEnd(): void {
    this.receivedBefore = this.host.received
    this.endedAt = this.host.now
  }

  onFailure(effect: Effect.Effect<any, SqlError>): void {
    this.fetches.shift()
    this.fetching--
    this.failure ??= effect
    this.deliver()
  }

  /** Gives rows to whoever waits, and sends for more. */
  private deliver(): void {
    const { waiting } = this
    if (waiting === undefined) return
    const batch = this.batches.shift()
    if (batch === undefined && !this.exhausted && this.failure === undefined) return
    this.waiting = undefined
    if (batch !== undefined) {
      this.fetchAhead()
      if (this.ahead < maxAhead) this.ahead++
      waiting(Effect.succeed(batch))
    } else {
      waiting(this.exhausted ? Cause.done() : this.failure!)
    }
  }

  private fetchAhead(): void {
    // Behind the `Sync` there is no portal any more: the next statement would meet the error.
    if (this.completed || this.synced || this.failure !== undefined) return
    // Several at a time, for each write costs more than what it says.
    const missing = this.ahead - this.fetching - this.batches.length
    if (missing * 2 < this.ahead) return
    if (this.fetching === 0) this.markEnd()
    this.fetching += missing
    const frame = this.fetchFrame()
    if (!this.inTransaction) {
      return this.host.writeNow(this.first, missing === 1 ? frame : frames.join(...Array(missing).fill(frame)))
    }
    const { description, ownLimit, params, sql } = this.first
    for (let index = 0; index < missing; index++) {
      const fetch = new Fetch(this, sql, params, false, ownLimit)
      fetch.description = description
      fetch.head = frame
      this.fetches.push(fetch)
      this.host.submit(fetch)
    }
  }

  /**
   * Ends the portal, whether all rows were fetched or not. Whoever comes next waits behind it on the wire, so nothing
   * is waited for here.
   */
  readonly stop: Effect.Effect<void> = Effect.sync(() => {
    if (this.stopped) return
    this.stopped = true
    this.batches.length = 0
    if (!this.opened) return
    if (!this.inTransaction) {
      if (this.first.isSent) this.sync(this.first, frames.join(closePortal(""), frames.sync))
      this.host.abandon(this.first)
      return
    }
    for (const fetch of this.fetches) if (!fetch.isSent || this.interrupted) this.host.abandon(fetch)
    this.host.submit(
      new ControlExchange(Control.Sync, frames.join(closePortal(this.name), frames.sync), "close", () => {})
    )
  })
}

const closePortal = (name: string): Uint8Array => PgProtocol.encodeClose({ target: "portal", name })
