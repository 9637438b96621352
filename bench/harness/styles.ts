/** The styles in which libraries are driven. That of Effect 3 lies beside its candidates, where its `effect` is. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Load, Style } from "./model.ts"

/** Promises: every worker awaits one operation after the other. */
export const promises: Style<Promise<unknown>> = {
  loop: async (workers, load) => {
    const worker = async () => {
      while (load.running) {
        const key = load.key()
        const at = performance.now()
        load.done(key, at, await load.operation(key))
      }
    }
    await Promise.all(Array.from({ length: workers }, worker))
  },
  start: (operation, done) => {
    operation.then((value) => done(value, undefined), (error: unknown) => done(undefined, error))
  }
}

/** Effects: every worker is a fiber, as every request of a server is. The fibers have this context. */
export const effectsIn = (context: Context.Context<never>): Style<Effect.Effect<unknown, unknown>> => {
  const runFork = Effect.runForkWith(context)
  const runPromise = Effect.runPromiseWith(context)
  return {
    loop: async (workers, load) => {
      await Promise.all(Array.from({ length: workers }, () => runPromise(loopOf(load))))
    },
    start: (operation, done) => {
      runFork(operation).addObserver((exit) =>
        Exit.isSuccess(exit) ? done(exit.value, undefined) : done(undefined, Cause.squash(exit.cause))
      )
    }
  }
}

const loopOf = (load: Load<Effect.Effect<unknown, unknown>>): Effect.Effect<void, unknown> => {
  let key = 0
  let at = 0
  return Effect.whileLoop({
    while: () => load.running,
    body: () => {
      key = load.key()
      at = performance.now()
      return load.operation(key)
    },
    step: (value) => load.done(key, at, value)
  })
}

/** Effects, in the context that a program has which provides nothing. */
export const effects = effectsIn(Context.empty())

/** What takes a callback: nothing stands between the worker and the library. */
export type Callback = (done: (value: unknown, error?: unknown) => void) => void

export const callbacks: Style<Callback> = {
  loop: (workers, load) =>
    new Promise<void>((resolve, reject) => {
      let left = workers
      for (let worker = 0; worker < workers; worker++) {
        let key = 0
        let at = 0
        // One that is done at once must not deepen the stack.
        let stepping = false
        let again = false
        const step = (): void => {
          again = true
          if (stepping) return
          stepping = true
          while (again) {
            again = false
            if (!load.running) {
              if (--left === 0) resolve()
              break
            }
            key = load.key()
            at = performance.now()
            load.operation(key)(done)
          }
          stepping = false
        }
        const done = (value: unknown, error?: unknown): void => {
          if (error) return reject(error)
          load.done(key, at, value)
          step()
        }
        step()
      }
    }),
  start: (operation, done) => operation(done)
}
