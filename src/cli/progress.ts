/** A line that says what goes on and how far it is. Only on a terminal: elsewhere nothing of it is printed. */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Where the line is drawn: the standard error, so that the answer can be sent elsewhere. */
export interface Screen {
  readonly columns: () => number
  readonly write: (text: string) => void
}

/** The terminal, if there is one. */
export const CurrentScreen = Context.Reference<Screen | undefined>("watertight/cli/CurrentScreen", {
  defaultValue: () => undefined
})

/** What goes on. */
export interface Progress {
  /** What is done now. */
  readonly now: (label: string) => Effect.Effect<void>
  /** There are so many things to do, and this many are done. */
  readonly of: (total: number, done: number) => Effect.Effect<void>
  /** Prints a line that stays. */
  readonly line: (text: string) => Effect.Effect<void>
}

const erase = "\r\u001b[K"

const signs = ["|", "/", "-", "\\"]

/** The line. It is never wider than the terminal, whose last column stays free: a full line would break. */
export const draw = (
  state: { readonly label: string; readonly total: number; readonly done: number; readonly millis: number },
  columns: number
): string => {
  const { done, label, millis, total } = state
  const width = 20
  const filled = total === 0 ? 0 : Math.round(width * done / total)
  const head = total === 0
    ? signs[Math.floor(millis / 200) % signs.length]!
    : `[${"#".repeat(filled)}${".".repeat(width - filled)}] ${done} of ${total}`
  const seconds = millis < 1000 ? "" : `  ${Math.floor(millis / 1000)} s`
  return [...`${head}  ${label}${seconds}`].slice(0, Math.max(0, columns - 1)).join("")
}

/**
 * Draws the line until the scope ends, which erases it. Nothing is drawn where there is no terminal, and with `--json`,
 * where lines that stay are left out too.
 */
export const progress = (isJson: boolean): Effect.Effect<Progress, never, Scope.Scope> =>
  Effect.gen(function*() {
    const screen = isJson ? undefined : yield* CurrentScreen
    if (screen === undefined) {
      return {
        now: () => Effect.void,
        of: () => Effect.void,
        line: (text) => isJson ? Effect.void : Console.error(text)
      }
    }
    const clock = yield* Clock.Clock
    let [label, total, done, since] = ["", 0, 0, clock.currentTimeMillisUnsafe()]
    const show = Effect.sync(() => {
      const millis = clock.currentTimeMillisUnsafe() - since
      if (label !== "") screen.write(`${erase}${draw({ label, total, done, millis }, screen.columns())}`)
    })
    const clear = Effect.sync(() => screen.write(erase))
    yield* Effect.addFinalizer(() => clear)
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep("200 millis"), show)))
    return {
      now: (next) =>
        Effect.suspend(() => {
          label = next
          since = clock.currentTimeMillisUnsafe()
          return show
        }),
      of: (all, some) =>
        Effect.suspend(() => {
          total = all
          done = some
          return show
        }),
      line: (text) => Effect.andThen(clear, Effect.andThen(Console.error(text), show))
    }
  })
