/** Whether the working tree differs from the base by more than the measurement does. */
import { median } from "../report/statistics.ts"

/** One round: both were measured right after each other. */
export interface Pair {
  readonly base: number
  readonly now: number
}

export interface Verdict {
  readonly base: number
  readonly now: number
  /** The median of the rounds' ratios: above 1 is more, and more is worse. */
  readonly ratio: number
  /** The least and the greatest ratio. */
  readonly from: number
  readonly to: number
  readonly change: "worse" | "better" | "same"
}

/** How many rounds may say the opposite. */
const dissenters = (rounds: number): number => rounds < 6 ? 0 : 1

/**
 * `allowance` is the part by which the median may be more. Beyond it a change counts only where all rounds but one say
 * the same: a neighbour on the machine disturbs some rounds, and not always the same side.
 */
export const verdictOf = (pairs: ReadonlyArray<Pair>, allowance: number): Verdict => {
  const ratios = pairs.map(({ base, now }) => base === now ? 1 : now / base)
  const ratio = median(ratios)
  const against = (isOther: (ratio: number) => boolean) => ratios.filter(isOther).length <= dissenters(ratios.length)
  const change = ratio > 1 + allowance && against((one) => one <= 1)
    ? "worse"
    : ratio < 1 - allowance && against((one) => one >= 1)
    ? "better"
    : "same"
  return {
    base: median(pairs.map(({ base }) => base)),
    now: median(pairs.map(({ now }) => now)),
    ratio,
    from: Math.min(...ratios),
    to: Math.max(...ratios),
    change
  }
}
