import { assert, describe, it } from "@effect/vitest"
import { Limiter } from "../../../src/pool/state/Limiter.ts"
import { PoolState } from "../../../src/pool/state/PoolState.ts"
import { Lease, type Slot } from "../../../src/pool/state/Slot.ts"
import { defaults } from "./steps.ts"

describe("Limiter", () => {
  const run = (limiter: Limiter, windows: number, millis: (running: number) => number, now = 0) => {
    for (let i = 0; i < windows * 16; i++) limiter.observe(millis(limiter.limit), limiter.limit, now)
    return limiter.limit
  }

  it("grows while answers take no longer", () => {
    assert.strictEqual(run(new Limiter(50), 200, () => 5), 50)
  })

  it("does not grow as long as it is not used", () => {
    const limiter = new Limiter(50)
    for (let i = 0; i < 1_000; i++) limiter.observe(5, 1, 0)
    assert.strictEqual(limiter.limit, 4)
  })

  it("shrinks when answers take longer the more is run, and stays above zero", () => {
    const limiter = new Limiter(100)
    const settled = run(limiter, 500, (running) => running <= 10 ? 5 : 5 * (running / 10) ** 3)
    assert.isAtLeast(settled, 8)
    assert.isAtMost(settled, 20)
    assert.isAtLeast(run(limiter, 500, () => 1_000), 1)
  })

  it("takes a database that is slower for good as it is", () => {
    const limiter = new Limiter(50)
    run(limiter, 100, () => 5)
    for (let minute = 1; minute <= 4; minute++) run(limiter, 100, () => 50, minute * 60_000)
    assert.strictEqual(limiter.limit, 50)
  })
})

/**
 * How many statements a database completes within 20 seconds that can do eight at a time without loss, while 200
 * workers want a connection each: beyond eight, each takes longer by the cube of what is too much.
 */
const throughput = (adaptive: boolean): { readonly done: number; readonly late: number } => {
  const pool = new PoolState<number>({ ...defaults, max: 64, maxConnecting: 64, adaptive }, () => 0.5)
  const running = new Map<Lease<number>, number>()
  let done = 0
  let late = 0
  for (let now = 0; now < 20_000; now++) {
    for (const action of pool.actions.splice(0)) {
      if (action._tag === "Connect") pool.connected(action.slot as Slot<number>, 1, now)
      if (action._tag === "Lease") running.set(action.lease, 10)
    }
    // A millisecond of each, at the speed that is left.
    const speed = running.size <= 8 ? 1 : (8 / running.size) ** 3
    for (const [lease, left] of running) {
      if (left > speed) {
        running.set(lease, left - speed)
        continue
      }
      running.delete(lease)
      if (now > 10_000) {
        done++
        if (now - lease.since > 1_000) late++
      }
      pool.end(lease, now, true)
    }
    while (pool.waiting + running.size < 200) {
      const lease = new Lease<number>(false)
      if (pool.acquire(lease, now)) running.set(lease, 10)
    }
  }
  return { done, late }
}

describe("A database that slows down under load", () => {
  it("keeps its throughput where a fixed pool makes it collapse", () => {
    const fixed = throughput(false)
    const adaptive = throughput(true)
    // Eight at a time, ten milliseconds each, are 8,000 in ten seconds.
    assert.isAtLeast(adaptive.done, 3_000, JSON.stringify({ fixed, adaptive }))
    assert.isAtMost(fixed.done, adaptive.done / 10, JSON.stringify({ fixed, adaptive }))
  })
})
