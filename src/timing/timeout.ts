/**
 * Time limits of effects that a stalled process does not use up, see `StallGuard`.
 *
 * **Details**
 *
 * `timeoutOrElse` is Effect's own with the two rules of `StallGuard`: when the limit is over, the event loop reads first,
 * and the time during which the process stood still does not count. With another clock than the live one, a `TestClock`
 * for example, time is what that clock says, and there are no stalls.
 *
 * @since 0.2.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Result from "effect/Result"
import { afterReading, type StallGuard, stallGuard } from "./StallGuard.ts"

const liveClock = Context.get(Context.empty(), Clock.Clock)

/**
 * The guard for limits that are measured by a clock; `undefined` if it is not the clock of this process.
 *
 * @category getters
 * @since 0.2.0
 */
export const guardOf = (clock: Clock.Clock): StallGuard | undefined => clock === liveClock ? stallGuard : undefined

/**
 * Reads the monotonic time of a clock in milliseconds, for the live clock without a bigint.
 *
 * @category getters
 * @since 0.2.0
 */
export const monotonicOf = (clock: Clock.Clock): () => number =>
  clock === liveClock ? () => performance.now() : () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

/**
 * Ends after the event loop has read what has arrived on its sockets.
 *
 * @category effects
 * @since 0.2.0
 */
export const reading: Effect.Effect<void> = Effect.callback((resume) => {
  const cancel = afterReading(() => resume(Effect.void))
  return Effect.sync(cancel)
})

/**
 * Sleeps until the process has been awake for that long, and returns for how many milliseconds it stood still
 * meanwhile.
 *
 * @category effects
 * @since 0.2.0
 */
export const sleep = (duration: Duration.Input): Effect.Effect<number> =>
  Effect.clockWith((clock) => {
    const guard = guardOf(clock)
    const millis = Duration.toMillis(Duration.fromInputUnsafe(duration))
    if (guard === undefined) return Effect.as(clock.sleep(Duration.millis(millis)), 0)
    const from = guard.now()
    const sleepUntil = (due: number): Effect.Effect<number> => {
      guard.watch(due)
      return clock.sleep(Duration.millis(Math.max(0, due - guard.now()))).pipe(
        Effect.andThen(Effect.suspend(() => {
          guard.late(due)
          return reading
        })),
        Effect.flatMap(() => {
          const now = guard.now()
          const stalled = guard.stalledBetween(from, now)
          const next = from + millis + stalled
          return next - now > 1 ? sleepUntil(next) : Effect.succeed(stalled)
        })
      )
    }
    return sleepUntil(from + millis)
  })

/**
 * Interrupts an effect when its time is over and does something else then, which learns for how many milliseconds of it
 * the process stood still.
 *
 * @category combinators
 * @since 0.2.0
 */
export const timeoutOrElse: {
  <A2, E2, R2>(options: {
    readonly duration: Duration.Input
    readonly orElse: (stalledMillis: number) => Effect.Effect<A2, E2, R2>
  }): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | A2, E | E2, R | R2>
  <A, E, R, A2, E2, R2>(self: Effect.Effect<A, E, R>, options: {
    readonly duration: Duration.Input
    readonly orElse: (stalledMillis: number) => Effect.Effect<A2, E2, R2>
  }): Effect.Effect<A | A2, E | E2, R | R2>
} = dual(2, <A, E, R, A2, E2, R2>(self: Effect.Effect<A, E, R>, options: {
  readonly duration: Duration.Input
  readonly orElse: (stalledMillis: number) => Effect.Effect<A2, E2, R2>
}): Effect.Effect<A | A2, E | E2, R | R2> =>
  Effect.raceFirst(
    Effect.map(self, Result.succeed),
    Effect.map(sleep(options.duration), Result.fail)
  ).pipe(
    Effect.flatMap((result: Result.Result<A, number>): Effect.Effect<A | A2, E2, R2> =>
      Result.isSuccess(result) ? Effect.succeed(result.success) : options.orElse(result.failure)
    )
  ))

/**
 * Interrupts an effect when its time is over, and fails with a `TimeoutError` then.
 *
 * @category combinators
 * @since 0.2.0
 */
export const timeout: {
  (duration: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Cause.TimeoutError, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E | Cause.TimeoutError, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E | Cause.TimeoutError, R> =>
    timeoutOrElse(self, { duration, orElse: () => Effect.fail(new Cause.TimeoutError()) })
)
