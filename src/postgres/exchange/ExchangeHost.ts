/**
 * What the exchanges that outlive one cycle, portals and COPY, need of their session.
 */
import type { Exchange } from "./Exchange.ts"
import type { StatementExchange } from "./StatementExchange.ts"

export interface ExchangeHost {
  readonly inTransaction: boolean
  /** How many bytes have been received. */
  readonly received: number
  /** The session's clock in milliseconds, as of the last chunk or write. */
  readonly now: number
  /** Plans and queues a statement. */
  readonly open: (exchange: StatementExchange) => void
  /** Queues a cycle. */
  readonly submit: (exchange: Exchange) => void
  readonly abandon: (exchange: Exchange) => void
  /** Writes a message of the cycle that is under way, whose time begins anew. */
  readonly writeNow: (exchange: Exchange, frame: Uint8Array) => void
  /** Writes data of the exchange that has the wire. Answers whether the socket takes more. */
  readonly writeData: (frame: Uint8Array) => boolean
  /** Calls back once when the socket takes more. Returns what forgets the callback. */
  readonly onDrain: (callback: () => void) => () => void
  /** Stops reading, and with it the clock of the exchange, or goes on. */
  readonly pauseReading: (exchange: Exchange, paused: boolean) => void
}
