import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { FaultProxyError as ServerError } from "../../../src/testing/FaultProxy.ts"

/**
 * A throwaway server, or the proxy before it, could not do what it was asked to. The message says what was tried and,
 * where the server left one, ends with the tail of its log.
 */
export { ServerError }

/**
 * Runs an effect on the real clock. Servers live in real time, also inside `it.effect`, where a `TestClock` that
 * nobody moves would make every deadline of ours wait forever.
 */
export const live: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.provideService(
  Clock.Clock,
  Clock.Clock.defaultValue()
)

/** Fails with a `ServerError` that says `what` did not happen when the effect takes longer than `duration`. */
export const within = (duration: Duration.Input, what: () => string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  live(Effect.timeoutOrElse(self, {
    duration,
    orElse: () => Effect.fail(new ServerError({ message: what() }))
  }))

/** An error's message with those of its causes: what the server said is often the innermost. */
export const explain = (error: unknown): string => {
  const messages: Array<string> = []
  for (let each = error; each instanceof Error; each = each.cause) {
    messages.push(each.message)
  }
  return messages.filter((message, index) => message !== "" && messages.indexOf(message) === index).join(": ")
}
