import { assert, describe, it } from "@effect/vitest"
import { Histogram, RecentCounter, RecentHistogram } from "../../../src/pool/telemetry/Histogram.ts"
import { seed } from "../../support/seed.ts"

const minute = 60_000
/** More than an hour is counted as about 71 minutes. */
const longest = 4_294_967

describe("Histogram", () => {
  it("tells quantiles within 6 % of the truth, whatever the durations are", () => {
    const random = seed(20261123)
    for (const scale of [0.02, 1, 30, 4_000, 900_000]) {
      const histogram = new Histogram()
      const values = Array.from({ length: 5_000 }, () => scale * (0.1 + random.next() ** 3))
      for (const value of values) histogram.record(value)
      const sorted = values.toSorted((a, b) => a - b)
      const { average, count, max, p50, p95, p99, sum } = histogram.summary
      const near = (actual: number, expected: number) =>
        assert.isBelow(Math.abs(actual - expected), 0.06 * expected + 0.001, random.toString())
      near(p50, sorted[2_499]!)
      near(p95, sorted[4_749]!)
      near(p99, sorted[4_949]!)
      assert.strictEqual(max, sorted[4_999])
      assert.strictEqual(count, 5_000)
      near(sum, values.reduce((a, b) => a + b, 0))
      near(average, sum / 5_000)
    }
  })

  it("takes nothing, less than nothing and more than everything", () => {
    const histogram = new Histogram()
    assert.deepStrictEqual(histogram.summary, { count: 0, sum: 0, average: 0, p50: 0, p95: 0, p99: 0, max: 0 })
    for (const value of [0, -1, 1e12]) histogram.record(value)
    assert.strictEqual(histogram.count, 3)
    assert.strictEqual(histogram.atMost(1), 2)
  })

  it("forgets what is older than its window, slice by slice", () => {
    const recent = new RecentHistogram(60_000)
    for (let second = 0; second < 120; second++) recent.record(second < 60 ? 100 : 1, second * 1000)
    assert.isBelow(recent.summary(119_000).max, 2)
    assert.isAtLeast(recent.summary(119_000).count, 50)
    assert.isAtMost(recent.summary(119_000).count, 60)
    assert.strictEqual(recent.summary(1_000_000).count, 0)
    recent.record(5, 1_000_001)
    assert.strictEqual(recent.summary(1_000_002).count, 1)
  })

  it("keeps for ever what has left the window", () => {
    const recent = new RecentHistogram(60_000)
    for (let second = 0; second < 600; second++) recent.record(second < 300 ? 100 : 1, second * 1000)
    const life = recent.life()
    assert.strictEqual(life.count, 600)
    assert.strictEqual(life.max, 100)
    assert.strictEqual(life.sum, 30_300)
    assert.isBelow(recent.summary(599_000).max, 2)
  })

  it("counts what happened within the window, and always", () => {
    const counter = new RecentCounter(60_000)
    for (let second = 0; second < 120; second++) counter.record(second * 1000)
    assert.strictEqual(counter.total, 120)
    assert.isAtLeast(counter.recent(119_000), 50)
    assert.isAtMost(counter.recent(119_000), 60)
    assert.strictEqual(counter.recent(1_000_000), 0)
    assert.strictEqual(counter.total, 120)
  })
})

describe("a Histogram of long durations", () => {
  for (const millis of [0, 0.001, 0.017, 0.9, 1, 59.3, 1_000, 12_345, 35 * minute, 36 * minute, 71 * minute]) {
    it(`${millis} ms → every quantile is right within 6 %`, () => {
      const histogram = new Histogram()
      for (let i = 0; i < 10; i++) histogram.record(millis)
      const { average, count, max, p50, p95, p99 } = histogram.summary
      assert.deepStrictEqual([count, max], [10, millis])
      assert.closeTo(average, millis, millis * 1e-9)
      for (const quantile of [p50, p95, p99]) assert.closeTo(quantile, millis, millis * 0.06)
    })
  }

  for (const millis of [83 * minute, 150 * minute, 24 * 60 * minute, Number.MAX_SAFE_INTEGER]) {
    it(`${millis} ms → counted among the longest, and the greatest is known`, () => {
      const histogram = new Histogram()
      histogram.record(millis)
      const { max, p50 } = histogram.summary
      assert.strictEqual(max, millis)
      assert.closeTo(p50, longest, longest * 0.06)
    })
  }
})
