import { assert, describe, it } from "@effect/vitest"
import { type Pair, verdictOf } from "../../bench/guard/verdict.ts"
import { generator } from "../../bench/harness/load.ts"

const rounds = 10

/** What a machine with neighbours measures: each run is disturbed by up to a fifth, and now and then by a lot. */
const measured = (random: () => number, slower: number): ReadonlyArray<Pair> => {
  const disturbed = () => 1 + 0.2 * random() + (random() < 0.1 ? random() : 0)
  return Array.from({ length: rounds }, () => ({ base: 10 * disturbed(), now: 10 * slower * disturbed() }))
}

const alarms = (slower: number, judge: (pairs: ReadonlyArray<Pair>) => boolean): number => {
  const random = generator(1)
  let count = 0
  for (let run = 0; run < 1000; run++) if (judge(measured(random, slower))) count++
  return count
}

const isWorse = (pairs: ReadonlyArray<Pair>) => verdictOf(pairs, 0.03).change === "worse"

/** A guard that looks at the median alone. */
const naive = (pairs: ReadonlyArray<Pair>) => verdictOf(pairs, 0.03).ratio > 1.03

describe("the verdict of the guard", () => {
  it("raises no alarm where nothing has changed, as a median alone does", () => {
    assert.isBelow(alarms(1, isWorse), 60)
    assert.isAbove(alarms(1, naive), 200)
  })

  it("finds what is slower by a third", () => {
    assert.isAbove(alarms(1.33, isWorse), 900)
  })

  it("finds what is slower by a little where nothing disturbs", () => {
    const pairs = Array.from({ length: rounds }, (_, round) => ({ base: 10, now: 10.5 + round / 100 }))
    assert.strictEqual(verdictOf(pairs, 0.03).change, "worse")
    assert.strictEqual(verdictOf(pairs.map(({ base, now }) => ({ base: now, now: base })), 0.03).change, "better")
  })

  it("takes counts at their word", () => {
    assert.strictEqual(verdictOf([{ base: 350, now: 360 }], 0.02).change, "worse")
    assert.strictEqual(verdictOf([{ base: 350, now: 353 }], 0.02).change, "same")
    assert.strictEqual(verdictOf([{ base: 0, now: 0 }], 0.02).change, "same")
  })
})
