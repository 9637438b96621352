/**
 * What portals and COPY see of their session.
 */
import type { Exchange } from "../exchange/Exchange.ts"
import type { ExchangeHost } from "../exchange/ExchangeHost.ts"
import type { Cancellation } from "./Cancellation.ts"
import type { Describer } from "./Describer.ts"
import type { SessionCore } from "./SessionCore.ts"
import type { Writer } from "./Writer.ts"

export class SessionHost implements ExchangeHost {
  private readonly core: SessionCore
  readonly open: ExchangeHost["open"]
  readonly submit: ExchangeHost["submit"]
  readonly abandon: ExchangeHost["abandon"]
  readonly writeNow: ExchangeHost["writeNow"]
  readonly writeData: ExchangeHost["writeData"]

  constructor(core: SessionCore, writer: Writer, describer: Describer, cancellation: Cancellation) {
    this.core = core
    this.open = describer.open
    this.submit = writer.submit
    this.abandon = cancellation.abandon
    this.writeNow = writer.writeNow
    this.writeData = writer.writeData
  }

  get inTransaction(): boolean {
    return this.core.inTransaction
  }

  get received(): number {
    return this.core.received
  }

  get now(): number {
    return this.core.now
  }

  readonly onDrain = (callback: () => void): () => void => {
    const { socket } = this.core.transport
    socket.once("drain", callback)
    return () => void socket.off("drain", callback)
  }

  readonly pauseReading = (exchange: Exchange, paused: boolean): void => {
    const { core } = this
    if (core.end !== undefined) return
    const { socket } = core.transport
    if (paused) {
      // While nobody reads, the server's answer cannot be late.
      exchange.deadline = Infinity
      socket.pause()
      return
    }
    core.tick()
    core.startTime(exchange, exchange.limit)
    socket.resume()
  }
}
