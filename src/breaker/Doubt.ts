import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { SqlError } from "effect/sql/SqlError"

/** How long an answer holds, in milliseconds. */
const holdsFor = 1_000

export interface Options {
  /** Tells whether the database can be reached. */
  readonly witness: Effect.Effect<void, SqlError>
  readonly now: () => number
  readonly runFork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  /** A call has failed because the database cannot be reached. */
  readonly failed: (error: SqlError) => void
}

/**
 * Callers wait in vain for connections that are all in use, which tells nothing. Somebody else is asked, once for all who
 * doubt at the same time, and what is answered holds for a second.
 */
export class Doubt {
  private readonly options: Options
  private asking: Fiber.Fiber<void, SqlError> | undefined = undefined
  /** How many wait for the answer. */
  private raised = 0
  private error: SqlError | undefined = undefined
  private answeredAt = -Infinity

  constructor(options: Options) {
    this.options = options
  }

  /** A caller has waited in vain. */
  raise(): void {
    this.raised++
    if (this.asking !== undefined) return
    if (this.options.now() - this.answeredAt < holdsFor) return this.answer()
    const fiber = this.asking = this.options.runFork(this.options.witness)
    fiber.addObserver((exit) => {
      if (this.asking !== fiber) return
      this.asking = undefined
      this.error = Option.getOrUndefined(Exit.findErrorOption(exit))
      this.answeredAt = this.options.now()
      this.answer()
    })
  }

  private answer(): void {
    const { error, raised } = this
    this.raised = 0
    if (error === undefined) return
    for (let index = 0; index < raised; index++) this.options.failed(error)
  }

  end(): void {
    const fiber = this.asking
    this.asking = undefined
    fiber?.interruptUnsafe()
  }
}
