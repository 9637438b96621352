import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { LocalCircuit, Ticket, Work } from "./LocalCircuit.ts"

/** More than this many records wait only if the store does not keep up. */
const maxWork = 1000

/** What the recorder has done by others. */
export interface Options {
  readonly local: () => LocalCircuit
  readonly runFork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  /** Looks into the store. */
  readonly refresh: Effect.Effect<void>
  /** Records one outcome of a call that was admitted under the ticket. */
  readonly record: (ticket: Ticket, outcome: "Success" | "Failure") => Effect.Effect<void>
}

/**
 * Records outcomes apart from all calls, one after the other, in the order in which they came.
 *
 * As far as the store answers at once, an outcome is recorded before `submit` returns.
 */
export class Recorder {
  private readonly options: Options
  private readonly queue: Array<Work> = []
  private working: Fiber.Fiber<void> | undefined = undefined
  private proceeding = false
  private ended = false

  constructor(options: Options) {
    this.options = options
  }

  submit(work: Work): void {
    if (this.ended) return
    if (this.queue.length < maxWork) this.queue.push(work)
    this.proceed()
  }

  /** Whether a look into the store is waiting. */
  get isLooking(): boolean {
    return this.queue.some((work) => work.ticket === undefined)
  }

  /** Drops what waits. A record under way ends by itself, soon. */
  end(): void {
    this.ended = true
    this.working?.interruptUnsafe()
  }

  get isEnded(): boolean {
    return this.ended
  }

  private proceed(): void {
    if (this.proceeding) return
    this.proceeding = true
    for (let next = this.nextStep(); next !== undefined; next = this.nextStep()) {
      const fiber = this.options.runFork(next)
      if (fiber.pollUnsafe() !== undefined) continue
      this.working = fiber
      fiber.addObserver(() => {
        this.working = undefined
        this.proceeding = false
        this.proceed()
      })
      return
    }
    this.proceeding = false
  }

  private nextStep(): Effect.Effect<void> | undefined {
    const { queue } = this
    while (!this.ended && queue.length > 0) {
      const work = queue[0]!
      if (work.ticket === undefined) {
        queue.shift()
        return this.options.refresh
      }
      // Something before it has ended the epoch.
      if (work.ticket.epoch !== this.options.local().epoch) queue.shift()
      else if (work.successes > 0) {
        work.successes--
        return this.options.record(work.ticket, "Success")
      } else {
        queue.shift()
        if (work.failure) return this.options.record(work.ticket, "Failure")
      }
    }
    return undefined
  }
}
