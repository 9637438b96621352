/**
 * A result that is fetched a few rows at a time.
 *
 * Inside a transaction each fetch is a cycle of its own on a named portal, so other statements can run in between, and
 * stopping early leaves the transaction as it is. Outside of one a portal lives until the next `Sync`, so the session
 * is held by the portal and fetches are separated by `Flush`.
 *
 * One fetch runs ahead of the consumer. No more than the rows of two fetches are ever in memory, and the number of
 * rows of a fetch follows from how large they are.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { Entry, Mode } from "./Entry.ts"
import * as frames from "./frames.ts"

/** What a portal needs of its session. */
export interface PortalHost {
  readonly inTransaction: boolean
  /** How many bytes have been received. */
  readonly received: number
  /** Plans and queues the first fetch. */
  readonly open: (entry: Entry) => void
  /** Queues a cycle. */
  readonly submit: (entry: Entry) => void
  readonly abandon: (entry: Entry) => void
  /** Writes at once: only for the entry that has the session to itself. */
  readonly writeNow: (entry: Entry, frame: Uint8Array) => void
}

type Batch = Arr.NonEmptyReadonlyArray<any>
type Resume = (effect: Effect.Effect<Batch, SqlError | Cause.Done>) => void

/** How many rows the first fetch asks for. How large they are is not known yet. */
const firstRows = 64

/** How many bytes a fetch should bring. */
const targetBytes = 1024 * 1024

let names = 0

export class Portal {
  /** The name that the first `Bind` gives it. */
  readonly name: string
  private readonly host: PortalHost
  private readonly maxRows: number
  private readonly inTransaction: boolean
  /** The fetch under way, or the last one. */
  private entry: Entry
  private fetching = false
  private rowsAsked = 0
  private receivedBefore = 0
  private frame: Uint8Array | undefined = undefined
  private frameRows = 0
  private batch: Batch | undefined = undefined
  private waiting: Resume | undefined = undefined
  private opened = false
  /** The server has sent the last row. */
  private completed = false
  /** The last row is in `batch`, or was given away. */
  private exhausted = false
  private failure: Effect.Effect<any, SqlError> | undefined = undefined
  private stopped = false
  /** Somebody waited for rows and was interrupted, so the fetch under way is in the way. */
  private interrupted = false
  /** Outside a transaction: the `Sync` that ends the only cycle has been written. */
  private synced = false

  constructor(host: PortalHost, sql: string, params: ReadonlyArray<unknown>, maxRows: number, limit: number) {
    this.host = host
    this.maxRows = maxRows
    this.inTransaction = host.inTransaction
    this.name = this.inTransaction ? `wtp_${(++names).toString(36)}` : ""
    this.rowsAsked = Math.min(firstRows, maxRows)
    this.entry = new Entry(Mode.Portal, sql, params, true, limit, "execute", (effect) => this.onFailure(effect))
    this.entry.portal = this
    this.entry.portalName = this.name
    this.entry.exclusive = !this.inTransaction
  }

  /** Waits for rows. */
  readonly pull: Effect.Effect<Batch, SqlError | Cause.Done> = Effect.callback((resume) => {
    if (!this.opened) {
      this.opened = true
      this.fetching = true
      this.receivedBefore = this.host.received
      this.waiting = resume
      this.host.open(this.entry)
    } else {
      this.waiting = resume
      this.deliver()
    }
    return Effect.sync(() => {
      this.waiting = undefined
      this.interrupted = true
    })
  })

  /** The end of the cycle that binds the portal. */
  firstFetch(confirm: boolean): Uint8Array {
    const fetch = this.fetchFrame(this.rowsAsked)
    return confirm
      ? frames.join(PgProtocol.encodeDescribe({ target: "portal", name: this.name }), fetch)
      : fetch
  }

  private fetchFrame(rows: number): Uint8Array {
    return frames.join(
      PgProtocol.encodeExecute({ portal: this.name, maxRows: rows }),
      this.inTransaction ? frames.sync : frames.flush
    )
  }

  /** The server has sent as many rows as were asked for. */
  onSuspended(entry: Entry): void {
    // With a `Sync` behind the fetch, its answer is what ends it.
    if (!this.inTransaction) this.onBatch(entry)
  }

  /** The server has sent the last row. */
  onComplete(entry: Entry): void {
    this.completed = true
    if (!this.inTransaction) this.sync(entry, frames.sync)
  }

  /** The server has reported an error, and reads nothing until the next `Sync`. */
  onError(entry: Entry): void {
    if (!this.inTransaction) this.sync(entry, frames.sync)
  }

  /** The cycle is over. */
  onReady(entry: Entry): void {
    this.onBatch(entry)
  }

  /** The first fetch is repeated, because the server had lost the statement. */
  onRepeat(): void {
    this.synced = false
  }

  private sync(entry: Entry, frame: Uint8Array): void {
    if (this.synced) return
    this.synced = true
    this.host.writeNow(entry, frame)
  }

  private onBatch(entry: Entry): void {
    this.fetching = false
    this.exhausted = this.completed
    const rows = entry.rows
    entry.rows = []
    if (this.stopped) return
    if (rows.length > 0) {
      this.batch = rows as unknown as Batch
      const rowBytes = (this.host.received - this.receivedBefore) / rows.length
      this.rowsAsked = Math.max(1, Math.min(this.maxRows, Math.floor(targetBytes / rowBytes)))
    }
    this.deliver()
  }

  private onFailure(effect: Effect.Effect<any, SqlError>): void {
    this.fetching = false
    this.failure ??= effect
    this.deliver()
  }

  /** Gives rows to whoever waits, and sends for the next ones. */
  private deliver(): void {
    const { batch, waiting } = this
    if (batch === undefined) {
      if (waiting === undefined) return
      if (this.failure !== undefined) {
        this.waiting = undefined
        waiting(this.failure)
      } else if (this.exhausted) {
        this.waiting = undefined
        waiting(Cause.done())
      } else if (!this.fetching) {
        this.fetch()
      }
      return
    }
    if (waiting !== undefined) {
      this.batch = undefined
      this.waiting = undefined
    }
    // Ahead of the consumer, but only while there is nothing left to give it.
    if (this.batch === undefined && !this.fetching && !this.exhausted && this.failure === undefined) this.fetch()
    if (waiting !== undefined) waiting(Effect.succeed(batch))
  }

  private fetch(): void {
    this.fetching = true
    this.receivedBefore = this.host.received
    if (this.frame === undefined || this.frameRows !== this.rowsAsked) {
      this.frameRows = this.rowsAsked
      this.frame = this.fetchFrame(this.rowsAsked)
    }
    if (!this.inTransaction) return this.host.writeNow(this.entry, this.frame)
    const { description, limit, params, sql } = this.entry
    const entry = new Entry(Mode.Portal, sql, params, false, limit, "execute", (effect) => this.onFailure(effect))
    entry.portal = this
    entry.description = description
    entry.head = this.frame
    this.entry = entry
    this.host.submit(entry)
  }

  /**
   * Ends the portal, whether all rows were fetched or not. Whoever comes next waits behind it on the wire, so nothing
   * is waited for here.
   */
  readonly stop: Effect.Effect<void> = Effect.sync(() => {
    if (this.stopped) return
    this.stopped = true
    this.batch = undefined
    if (!this.opened) return
    const { entry } = this
    if (!this.inTransaction) {
      if (entry.sent) this.sync(entry, frames.join(closePortal(""), frames.sync))
      this.host.abandon(entry)
      return
    }
    if (!entry.sent || this.interrupted) this.host.abandon(entry)
    const close = new Entry(Mode.Control, "", [], false, Infinity, "close", () => {})
    close.head = frames.join(closePortal(this.name), frames.sync)
    this.host.submit(close)
  })
}

const closePortal = (name: string): Uint8Array => PgProtocol.encodeClose({ target: "portal", name })
