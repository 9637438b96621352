/**
 * What waits for the server: a question to it with its answer, and the queue in which such exchanges stand.
 *
 * Exchanges know the session only as an `ExchangeHost`.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"

/** One piece of work on a connection. */
export abstract class Exchange {
  /** What errors call it. */
  readonly operation: string
  /** Whether the server may have run it. */
  sent = false
  /** Where it ends among the bytes of the connection, as far as it was written; infinite until it was. */
  writtenTo = Infinity
  /** Its caller has been interrupted. */
  abandoned = false
  /** It has its turn: it is on the wire, or about to be. */
  isRunning = false
  isDone = false
  /** Its time was over after so many milliseconds, and the server was asked to stop it. */
  expiredAfter: number | undefined = undefined
  /** How long it may take from `startedAt` on, in milliseconds of the monotonic clock. */
  limit = Infinity
  startedAt = 0
  /** The server has answered it with an error, after which it may have ended the session. */
  isAnswered = false

  next: Exchange | undefined = undefined
  previous: Exchange | undefined = undefined

  constructor(operation: string) {
    this.operation = operation
  }

  /** Whether others may be on the wire with it. */
  abstract readonly pipelines: boolean

  /** Whether the server may be asked to stop it. */
  abstract readonly canBeKilled: boolean

  /** Whether it need not be begun once it is abandoned. */
  abstract readonly canBeDropped: boolean

  /** Its turn has come: nothing stands in the way. */
  abstract start(): void

  /** Gives the caller its result. Never called once the exchange is abandoned. */
  abstract settle(effect: Effect.Effect<any, any>): void

  /** What the end of the session was owed to, if it was the way in which this exchange was read or fed. */
  blame(): string | undefined {
    return undefined
  }

  /** The server has not begun with what was written last. */
  takeBack(): void {
    this.sent = false
  }

  /** The session ended, or never sent it. The queues know it no more. */
  fail(error: SqlError): void {
    this.settle(Effect.fail(error))
  }

  /** Whether the server has had its time, and has not been waiting for us meanwhile. */
  get hasStalled(): boolean {
    return true
  }

  /** Its caller has been interrupted while it ran: what still comes is thrown away. */
  discard(): void {}

  /** Another one waits behind it. */
  makeWay(): void {}
}

/** Exchanges in order. Each of them can leave at any time. */
export class ExchangeQueue {
  head: Exchange | undefined = undefined
  tail: Exchange | undefined = undefined
  size = 0

  push(exchange: Exchange): void {
    const { tail } = this
    exchange.previous = tail
    exchange.next = undefined
    if (tail === undefined) this.head = exchange
    else tail.next = exchange
    this.tail = exchange
    this.size++
  }

  remove(exchange: Exchange): void {
    const { next, previous } = exchange
    if (previous === undefined) this.head = next
    else previous.next = next
    if (next === undefined) this.tail = previous
    else next.previous = previous
    exchange.next = undefined
    exchange.previous = undefined
    this.size--
  }

  /** Takes everything. */
  drain(): Array<Exchange> {
    const all: Array<Exchange> = []
    for (let exchange = this.head; exchange !== undefined; exchange = this.head) {
      all.push(exchange)
      this.remove(exchange)
    }
    return all
  }
}
