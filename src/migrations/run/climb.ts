/** Tries again what did not get its locks, for a limited time. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { type Ladder, type Rung, rung } from "../plan/ladder.ts"
import { now } from "./site.ts"

/** What has been tried in vain. */
export interface Climbed {
  readonly attempts: number
  readonly waitedMillis: number
}

/** Tries until it succeeds, fails for another reason, or the limit is reached. */
export const climb = <A, E, E2, R>(
  ladder: Ladder,
  attempt: (rung: Rung) => Effect.Effect<A, E, R>,
  options: {
    readonly isPassing: (error: E) => boolean
    readonly onRetry: (climbed: Climbed) => Effect.Effect<void>
    readonly onLimit: (error: E, climbed: Climbed) => E2
  }
): Effect.Effect<A, E | E2, R> =>
  Effect.flatMap(now, (startedAt) => {
    const loop = (attempts: number): Effect.Effect<A, E | E2, R> => {
      const { lockTimeout, pause } = rung(ladder, attempts)
      return Effect.catch(attempt({ lockTimeout, pause }), (error) => {
        if (!options.isPassing(error)) return Effect.fail(error)
        return Effect.flatMap(now, (at) => {
          const climbed = { attempts: attempts + 1, waitedMillis: at - startedAt }
          if (climbed.waitedMillis + pause > ladder.limit) return Effect.fail(options.onLimit(error, climbed))
          return Effect.flatMap(Random.next, (chance) =>
            options.onRetry(climbed).pipe(
              Effect.andThen(Effect.sleep(pause * (1 - chance / 2))),
              Effect.andThen(Effect.suspend(() => loop(attempts + 1)))
            ))
        })
      })
    }
    return loop(0)
  })
