import { assert, describe, it } from "@effect/vitest"
import type { PoolEvent } from "../../../src/pool/state/PoolEvent.ts"
import { Meter, Needs, required, requiredToShare, type Sample, Scaling } from "../../../src/pool/state/Scaling.ts"
import { partsOf } from "./model/parts.ts"
import { defaults, quick, Steps } from "./steps.ts"

const options = { utilization: 0.75, wait: 5, interval: 1_000, window: 60_000 }

/** A second in which so many came and had their connection for so long. */
const second = (arrivals: number, millis: number, more: Partial<Sample> = {}): Sample => ({
  millis: 1_000,
  arrivals,
  load: arrivals * millis / 1_000,
  peak: 0,
  sharing: 0,
  ...more
})

describe("The connections that are required", () => {
  it("are as many as keep their utilization below the threshold", () => {
    const patient = { utilization: 0.75, wait: Infinity }
    for (const [load, connections] of [[0.7, 1], [0.75, 1], [0.8, 2], [1.5, 2], [3, 4], [6, 8], [6.1, 9]] as const) {
      assert.deepStrictEqual(required(second(load * 100, 10), patient, 100), { connections, reason: "Utilization" })
    }
  })

  it("are as many as keep the wait that Erlang predicts below the threshold", () => {
    // Of two connections with a load of 1 a third of the callers find none, and wait for 1 / (2 - 1) of 20 ms.
    const connections = (wait: number) => required(second(50, 20), { utilization: 0.75, wait }, 100)
    assert.deepStrictEqual(connections(6.67), { connections: 2, reason: "Utilization" })
    assert.deepStrictEqual(connections(6.66), { connections: 3, reason: "Wait" })
    // As tables have it: of ten with a load of 8, 40.9 % wait, for half of the time of use.
    const ten = (wait: number) => required(second(800, 10), { utilization: 1, wait }, 100).connections
    assert.strictEqual(ten(10 * 0.4092 / 2), 10)
    assert.strictEqual(ten(10 * 0.4091 / 2), 11)
  })

  it("are more for the same load when each keeps its connection for longer", () => {
    const connections = [1, 20, 100].map((millis) => required(second(2_000 / millis, millis), options, 100).connections)
    assert.deepStrictEqual(connections, [3, 4, 5])
  })

  it("are never more than there may be", () => {
    assert.strictEqual(required(second(10_000, 10), options, 10).connections, 10)
    assert.strictEqual(required(second(10_000, 10, { sharing: 5 }), options, 10).connections, 10)
  })

  it("are not known from a few who come", () => {
    assert.strictEqual(required(second(9, 5_000), options, 100).connections, 0)
    assert.isAbove(required(second(10, 5_000), options, 100).connections, 50)
  })

  it("are one more while there are statements that share, however many these are", () => {
    for (const sharing of [0.1, 1, 1_000]) {
      assert.strictEqual(required(second(50, 20, { sharing }), options, 100).connections, 4)
      assert.strictEqual(required(second(0, 0, { sharing }), options, 100).connections, 0)
    }
  })

  it("for statements that share are as many as keep them from waiting for each other", () => {
    assert.strictEqual(requiredToShare(0, 1, 1), 0)
    assert.strictEqual(requiredToShare(10, 0, 1), 1)
    // Of eleven, ten wait for those before them, for a tenth of a millisecond each.
    assert.strictEqual(requiredToShare(11, 0.1, 1), 1)
    assert.strictEqual(requiredToShare(12, 0.1, 1), 2)
    assert.strictEqual(requiredToShare(10, 1, 0), 10)
  })
})

describe("What was needed lately", () => {
  it("is the median of the window", () => {
    const needs = new Needs(5)
    for (const need of [9, 1, 2]) needs.add(need)
    assert.strictEqual(needs.median, 9)
    for (const need of [8, 3]) needs.add(need)
    assert.strictEqual(needs.median, 3)
    for (let i = 0; i < 3; i++) needs.add(1)
    assert.strictEqual(needs.median, 1)
  })

  it("is not known before half of the window is over", () => {
    const needs = new Needs(4)
    needs.add(1)
    assert.strictEqual(needs.median, Infinity)
    needs.add(1)
    assert.strictEqual(needs.median, 1)
  })
})

describe("The meter", () => {
  it("counts arrivals, and how many are there on average and at the most", () => {
    const meter = new Meter()
    meter.restart(1_000)
    meter.began(false, 1_000)
    meter.began(false, 1_250)
    meter.ended(false, 1_500)
    meter.began(true, 1_500)
    meter.began(true, 1_500)
    assert.deepStrictEqual(meter.sample(2_000), { millis: 1_000, arrivals: 2, load: 1.25, peak: 2, sharing: 1 })
    // Those who are still there count from now on.
    meter.restart(2_000)
    meter.ended(false, 2_100)
    assert.deepStrictEqual(meter.sample(2_200), { millis: 200, arrivals: 0, load: 0.5, peak: 1, sharing: 2 })
  })

  it("is at rest when nobody was there for a whole sample", () => {
    const meter = new Meter()
    meter.restart(0)
    assert.isTrue(meter.isAtRest)
    meter.began(true, 10)
    meter.restart(20)
    meter.ended(true, 30)
    assert.isFalse(meter.isAtRest)
    meter.restart(40)
    assert.isTrue(meter.isAtRest)
  })

  it("takes a rest for a time in which nothing was needed", () => {
    const scaling = new Scaling({ ...options, window: 10_000 })
    const look = (now: number) => scaling.look(now, 10, () => 0)
    scaling.begin(0)
    for (let i = 0; i < 8; i++) scaling.meter.began(false, 0)
    for (let now = 1_000; now <= 10_000; now += 1_000) assert.strictEqual(look(now)!.enough, now < 5_000 ? Infinity : 8)
    for (let i = 0; i < 8; i++) scaling.meter.ended(false, 10_000)
    assert.strictEqual(look(11_000)!.enough, 8)
    assert.isUndefined(look(12_000))
    scaling.begin(20_000)
    scaling.meter.began(false, 20_000)
    assert.strictEqual(look(21_000)!.enough, 0)
  })
})

/** Uses of so many milliseconds, one begins each time so many have passed; returns what the pool told meanwhile. */
const traffic = (
  pool: Steps,
  { every, millis: duration, use, kind = "whole" }: {
    readonly every: number
    readonly use: number
    readonly millis: number
    readonly kind?: "whole" | "shared"
  }
): ReadonlyArray<PoolEvent> => {
  const ends: Array<readonly [at: number, name: string]> = []
  const until = pool.now + duration
  for (let next = pool.now; next < until; next += every) {
    while (ends.length > 0 && ends[0]![0] <= next) {
      const [at, name] = ends.shift()!
      pool.sleep(at - pool.now)
      pool.end(name)
    }
    pool.sleep(next - pool.now)
    const name = `use ${next}`
    if (kind === "whole") pool.whole(name)
    else pool.shared(name, quick())
    for (const id of pool.in("Connecting")) pool.connected(id)
    for (const id of pool.in("Closing")) pool.closed(id)
    ends.push([next + use, name])
  }
  for (const [at, name] of ends) {
    pool.sleep(at - pool.now)
    pool.end(name)
  }
  if (until > pool.now) pool.sleep(until - pool.now)
  return pool.events()
}

describe("PoolState", () => {
  const scaling = options

  it("opens connections ahead of demand, and says why", () => {
    const pool = new Steps({ scaling })
    assert.deepStrictEqual(traffic(pool, { every: 10, use: 9, millis: 1_500 }), [
      { _tag: "ScaledUp", from: 1, to: 2, reason: "Utilization" }
    ])
    assert.strictEqual(pool.state.counts.total, 2)
    // For the same load, but with longer waits for those who find no connection.
    const slow = new Steps({ scaling })
    assert.deepStrictEqual(traffic(slow, { every: 100, use: 90, millis: 1_500 }), [
      { _tag: "ScaledUp", from: 1, to: 3, reason: "Wait" }
    ])
    // Neither without the option.
    assert.deepStrictEqual(traffic(new Steps(), { every: 100, use: 90, millis: 1_500 }), [])
  })

  it("opens none for statements that share and are answered at once", () => {
    // They always have one connection in use, but none waits for long for those before it.
    const share = (pool: Steps) => [
      ...traffic(pool, { every: 0.5, use: 0.4, millis: 100, kind: "shared" }),
      ...traffic(pool, { every: 0.2, use: 0.5, millis: 2_500, kind: "shared" })
    ]
    const pool = new Steps({ scaling })
    assert.deepStrictEqual(share(pool), [])
    assert.strictEqual(pool.state.counts.total, 1)
    // A pool that took a connection which is shared for one that is in use would open more.
    const naive = new Steps({ scaling })
    const { meter } = partsOf(naive.state).demand.scaling!
    const [began, ended] = [meter.began.bind(meter), meter.ended.bind(meter)]
    meter.began = (_, now) => began(false, now)
    meter.ended = (_, now) => ended(false, now)
    assert.isAbove(share(naive).length, 0)
  })

  it("goes below neither `min` nor what recent need justifies, and leaves the last one to idleTimeout", () => {
    for (const [min, left] of [[0, 2], [4, 4]] as const) {
      const pool = new Steps({ scaling, min }).open(10)
      pool.events()
      const events = traffic(pool, { every: 10, use: 9, millis: 60_000 })
      assert.deepStrictEqual(events, [{ _tag: "ScaledDown", from: 10, to: left, reason: "Unneeded" }])
      assert.strictEqual(pool.state.counts.total, left)
    }
    const pool = new Steps({ scaling }).open(10)
    for (let i = 0; i < 60; i++) traffic(pool, { every: 1_000, use: 0, millis: 1_000 })
    assert.strictEqual(pool.state.counts.total, 1)
  })

  it("keeps what it has opened ahead as if it were `min`: idleTimeout does not close it again and again", () => {
    const pool = new Steps({ scaling, idleTimeout: 3_000 })
    traffic(pool, { every: 10, use: 9, millis: 30_000 })
    assert.strictEqual(pool.slots.size, 2)
    // It does so when nobody comes any more.
    pool.sleep(10_000)
    assert.deepStrictEqual(pool.in("Idle"), [])
  })

  it("has no timer when nobody comes, nor before anybody has come", () => {
    const pool = new Steps({ scaling, min: 1 })
    pool.start()
    pool.connected(1)
    pool.sleep(3_000)
    assert.strictEqual(pool.wakeAt, Infinity)
    traffic(pool, { every: 10, use: 9, millis: 1_000 })
    assert.isBelow(pool.wakeAt, Infinity)
    pool.sleep(3_000)
    assert.strictEqual(pool.wakeAt, Infinity)
  })

  it("does not ask a server for more ahead of demand that has refused one more", () => {
    const pool = new Steps({ scaling, overloadRecovery: 4_000 })
    pool.whole("a")
    pool.whole("b")
    pool.connected(1)
    pool.connectFailed(2, "Full")
    pool.end("b")
    pool.end("a")
    pool.events()
    assert.deepStrictEqual(traffic(pool, { every: 10, use: 9, millis: 3_900 }), [])
    assert.strictEqual(pool.state.counts.total, 1)
  })

  it("goes as far as there is room outside", () => {
    const pool = new Steps({ scaling })
    pool.state.roomInQuota = 1
    assert.deepStrictEqual(traffic(pool, { every: 100, use: 90, millis: 1_500 }), [
      { _tag: "ScaledUp", from: 1, to: 2, reason: "Wait" }
    ])
    pool.state.roomInQuota = 0
    assert.deepStrictEqual(traffic(pool, { every: 100, use: 90, millis: 5_000 }), [])
    assert.strictEqual(pool.state.counts.total, 2)
  })

  it("goes as far as the adaptive limit lets any run", () => {
    const pool = new Steps({ ...defaults, scaling, adaptive: true })
    traffic(pool, { every: 50, use: 190, millis: 1_500 })
    assert.isAtMost(pool.state.counts.total, 4)
  })
})
