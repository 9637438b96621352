/**
 * The time that each exchange has. There is one timer for all of them, and the time during which this process stood
 * still does not count.
 */
import { DeadlineTimer } from "../../timing/DeadlineTimer.ts"
import { stallGuard } from "../../timing/StallGuard.ts"
import type { Exchange } from "../exchange/Exchange.ts"

export class Deadlines {
  private readonly exchanges: () => Iterable<Exchange>
  /** The time of an exchange is over, of which the process stood still for some. */
  private readonly expire: (exchange: Exchange, stalledMillis: number) => void
  private readonly timer: DeadlineTimer = new DeadlineTimer(() => this.due())

  constructor(
    exchanges: () => Iterable<Exchange>,
    expire: (exchange: Exchange, stalledMillis: number) => void
  ) {
    this.exchanges = exchanges
    this.expire = expire
  }

  /** The time of an exchange begins now. */
  start(exchange: Exchange, limit: number): void {
    exchange.limit = limit
    if (limit === Infinity) return
    const now = stallGuard.now()
    exchange.startedAt = now
    this.timer.arm(now + limit, now)
  }

  /** What is measured from now on is over. */
  stop(): void {
    this.timer.stop()
  }

  private due(): void {
    const now = stallGuard.now()
    let soonest = Infinity
    const over: Array<readonly [exchange: Exchange, stalled: number]> = []
    for (const exchange of this.exchanges()) {
      if (exchange.limit === Infinity) continue
      const stalled = stallGuard.stalledBetween(exchange.startedAt, now)
      const deadline = exchange.startedAt + exchange.limit + stalled
      if (deadline <= now) over.push([exchange, stalled])
      else soonest = Math.min(soonest, deadline)
    }
    if (soonest !== Infinity) this.timer.arm(soonest, now)
    for (const [exchange, stalled] of over) if (!exchange.isDone) this.expire(exchange, stalled)
  }
}
