/** Fibers of Effect 4 that wait, and nothing else. */
import * as Effect from "effect/Effect"
import type { Subject } from "../harness/model.ts"
import { effects } from "../harness/styles.ts"

export const open = async (): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  let waiting: Array<() => void> = []
  return {
    style: effects,
    close: async () => {},
    sleep: (millis) =>
      Effect.callback((resume) => {
        setTimeout(() => {
          resume(Effect.void)
          for (const release of waiting) release()
          waiting = []
        }, millis)
      }),
    echo: (n) =>
      Effect.callback((resume) => {
        waiting.push(() => resume(Effect.succeed(n)))
      })
  }
}
