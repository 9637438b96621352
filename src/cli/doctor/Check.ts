/** One thing that is looked at, and what was found. */
import * as Effect from "effect/Effect"

/** How it stands. What nobody may look at is `skipped`, and not wrong. */
export type Status = "ok" | "warning" | "problem" | "skipped"

/** What was found. */
export interface Line {
  readonly check: string
  readonly status: Status
  readonly found: string
  /** What to do about it. */
  readonly remedy: string | undefined
}

export const ok = (check: string, found: string): Line => ({ check, status: "ok", found, remedy: undefined })

export const warning = (check: string, found: string, remedy: string): Line => ({
  check,
  status: "warning",
  found,
  remedy
})

export const problem = (check: string, found: string, remedy: string): Line => ({
  check,
  status: "problem",
  found,
  remedy
})

export const skipped = (check: string, why: string): Line => ({
  check,
  status: "skipped",
  found: why,
  remedy: undefined
})

/** How long one check may take. */
const limit = "5 seconds"

/** Looks at one thing. What cannot be looked at is skipped. */
export const look = <R>(
  check: string,
  effect: Effect.Effect<Line | ReadonlyArray<Line>, unknown, R>
): Effect.Effect<ReadonlyArray<Line>, never, R> =>
  effect.pipe(
    Effect.timeout(limit),
    Effect.map((lines) => "check" in lines ? [lines] : lines),
    Effect.catch((error) => Effect.succeed([skipped(check, `could not be looked at: ${firstLine(error)}`)]))
  )

/** The first line of what went wrong. */
export const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n", 1)[0]!
