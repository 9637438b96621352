/** What is done with something while it is held, in each style. */
import * as Effect from "effect/Effect"
import type { Hold } from "./model.ts"

export const holdPromise = (hold: Hold): Promise<void> | undefined => {
  switch (hold) {
    case "none":
      return undefined
    case "turn":
      return new Promise((resolve) => setImmediate(resolve))
    case "millisecond":
      return new Promise((resolve) => setTimeout(resolve, 1))
  }
}

const turn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})
const millisecond = Effect.callback<void>((resume) => {
  setTimeout(() => resume(Effect.void), 1)
})

export const holdEffect = (hold: Hold): Effect.Effect<void> =>
  hold === "none" ? Effect.void : hold === "turn" ? turn : millisecond
