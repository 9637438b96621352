/**
 * A runtime that a test owns: fibers are suspended after every single operation, what runs next is drawn, and time goes
 * on when nothing can run. Everything happens within one call and can be repeated with its seed.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as References from "effect/References"
import type * as Scheduler from "effect/Scheduler"
import type { Seed } from "./seed.ts"

export class Simulation {
  /** In milliseconds. */
  now = 0
  /** How often something ran. */
  steps = 0
  private readonly seed: Seed
  private readonly tasks: Array<() => void> = []
  private readonly sleeping: Array<{ readonly at: number; readonly wake: () => void }> = []
  private readonly scheduler: Scheduler.Scheduler
  private readonly context: Context.Context<never>

  /** `yields` is the chance with which a fiber is suspended before an operation. */
  constructor(seed: Seed, yields: number) {
    this.seed = seed
    const random = seed.fork()
    this.scheduler = {
      executionMode: "async",
      // Being resumed and coming back to the operation before which it was suspended counts three.
      shouldYield: (fiber) => fiber.currentOpCount > 3 && seed.chance(yields),
      makeDispatcher: () => ({ scheduleTask: (task) => void this.tasks.push(task), flush: () => {} })
    }
    const nanos = () => BigInt(Math.round(this.now * 1_000_000))
    const clock: Clock.Clock = {
      currentTimeMillisUnsafe: () => this.now,
      currentTimeMillis: Effect.sync(() => this.now),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: nanos,
      monotonicTimeNanos: Effect.sync(nanos),
      sleep: (duration) => this.sleep(Duration.toMillis(duration))
    }
    this.context = Context.empty().pipe(
      Context.add(Clock.Clock, clock),
      // A run that is meant to fail has nothing to tell.
      Context.add(References.MinimumLogLevel, "None"),
      Context.add(Random.Random, { nextDoubleUnsafe: random.next, nextIntUnsafe: () => random.int(0, 2 ** 31) })
    )
  }

  private sleep(millis: number): Effect.Effect<void> {
    if (millis === Infinity) return Effect.never
    return Effect.callback((resume) => {
      const entry = { at: this.now + millis, wake: () => resume(Effect.void) }
      this.sleeping.push(entry)
      return Effect.sync(() => {
        const index = this.sleeping.indexOf(entry)
        if (index >= 0) this.sleeping.splice(index, 1)
      })
    })
  }

  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(Effect.andThen(Effect.yieldNow, effect), { scheduler: this.scheduler })
  }

  /** Lets something run: one task, or the passing of time. Returns whether there was anything. */
  step(): boolean {
    this.steps++
    if (this.tasks.length > 0) {
      const index = this.seed.int(0, this.tasks.length - 1)
      const task = this.tasks[index]!
      this.tasks.splice(index, 1)
      task()
      return true
    }
    const next = this.sleeping.reduce((a, b) => (b.at < a.at ? b : a), this.sleeping[0]!)
    if (next === undefined) return false
    this.now = Math.max(this.now, next.at)
    this.sleeping.splice(this.sleeping.indexOf(next), 1)
    next.wake()
    return true
  }

  /** Lets everything run until the condition holds. Returns whether it does. */
  until(condition: () => boolean, limit = 100_000): boolean {
    for (let i = 0; i < limit; i++) {
      if (condition()) return true
      if (!this.step()) return condition()
    }
    return false
  }

  /** What an effect comes to while everything else runs as well. */
  complete<A, E>(effect: Effect.Effect<A, E>): A {
    const fiber = this.fork(effect)
    if (!this.until(() => fiber.pollUnsafe() !== undefined)) throw new Error("an effect hangs")
    const exit = fiber.pollUnsafe()!
    if (exit._tag === "Failure") throw new Error(`an effect failed: ${String(exit.cause)}`)
    return exit.value
  }
}
