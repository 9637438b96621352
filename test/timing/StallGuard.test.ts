import { assert, describe, it } from "@effect/vitest"
import { describeStall, type Host, type Stall, StallGuard, stallGuard } from "../../src/timing/StallGuard.ts"

/** A process whose event loop is stepped by hand. */
class FakeHost implements Host {
  time = 0
  private timers: Array<{ readonly at: number; readonly f: () => void }> = []

  readonly now = () => this.time
  readonly after = (millis: number, f: () => void) => void this.timers.push({ at: this.time + millis, f })

  get armed(): number {
    return this.timers.length
  }

  /** The event loop runs, and each timer fires when it is due. */
  run(millis: number): void {
    const end = this.time + millis
    for (;;) {
      const next = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.timers.splice(this.timers.indexOf(next), 1)
      this.time = Math.max(this.time, next.at)
      next.f()
    }
    this.time = end
  }

  /** The process stands still. */
  stall(millis: number): void {
    this.time += millis
  }
}

const make = () => {
  const host = new FakeHost()
  const guard = new StallGuard(host)
  const heard: Array<Stall> = []
  const stop = guard.onStall((stall) => heard.push(stall))
  return { guard, heard, host, stop }
}

describe("StallGuard", () => {
  it("a loop that runs: no stall, and the heart stops when nobody needs it", () => {
    const { guard, heard, host } = make()
    guard.watch(1_000)
    assert.strictEqual(host.armed, 1)
    host.run(2_000)
    assert.strictEqual(host.armed, 0)
    assert.deepStrictEqual(heard, [])
    assert.strictEqual(guard.stalledBetween(0, 2_000), 0)
  })

  it("nothing watched: no timer at all", () => {
    const { guard, host } = make()
    guard.watch(-1)
    guard.watch(-Infinity)
    assert.strictEqual(host.armed, 0)
    assert.strictEqual(guard.stalledBetween(0, 1), 0)
  })

  it("a stall while the heart beats: it counts from the last beat on", () => {
    const { guard, heard, host } = make()
    guard.watch(10_000)
    host.run(120)
    host.stall(5_000)
    host.run(0)
    assert.deepStrictEqual(heard, [{ from: 100, to: 5_120 }])
    assert.strictEqual(guard.stalledBetween(0, 6_000), 5_020)
    // Only the part that lies in the interval.
    assert.strictEqual(guard.stalledBetween(1_000, 2_000), 1_000)
    assert.strictEqual(guard.stalledBetween(5_120, 6_000), 0)
    assert.strictEqual(guard.stalledBetween(0, 100), 0)
  })

  it("asked before the heart beats again: the stall counts, and once", () => {
    const { guard, heard, host } = make()
    guard.watch(10_000)
    host.run(100)
    host.stall(100)
    assert.strictEqual(guard.stalledBetween(0, 10_000), 0)
    host.stall(4_900)
    assert.strictEqual(guard.stalledBetween(0, 10_000), 5_000)
    assert.strictEqual(guard.stalledBetween(3_000, 4_000), 1_000)
    assert.deepStrictEqual(heard, [])
    guard.late(2_000)
    host.stall(50)
    assert.strictEqual(guard.stalledBetween(0, 10_000), 5_000)
    host.run(0)
    assert.strictEqual(guard.stalledBetween(0, 10_000), 5_000)
  })

  it("watched after a long time in which nobody has: what was before is no stall", () => {
    const { guard, heard, host } = make()
    host.run(5_000)
    guard.watch(6_000)
    host.run(500)
    assert.deepStrictEqual(heard, [])
  })

  it("watched for longer while the heart beats: it beats until then", () => {
    const { guard, host } = make()
    guard.watch(200)
    guard.watch(3_000)
    guard.watch(100)
    host.run(2_900)
    assert.strictEqual(host.armed, 1)
    host.run(200)
    assert.strictEqual(host.armed, 0)
  })

  it("the heart of the process: keeps nothing alive", () => {
    const alive = () => process.getActiveResourcesInfo().filter((what) => what === "Timeout").length
    const before = alive()
    stallGuard.watch(stallGuard.now() + 1_000)
    assert.strictEqual(alive(), before)
  })

  it("a late timer where no heart beats: the stall counts from when it was due", () => {
    const { guard, heard, host } = make()
    host.stall(900)
    guard.late(400)
    assert.deepStrictEqual(heard, [{ from: 400, to: 900 }])
  })

  it("several witnesses of one stall: it counts once", () => {
    const { guard, heard, host } = make()
    guard.watch(10_000)
    host.run(100)
    host.stall(1_000)
    guard.late(600)
    guard.late(200)
    host.run(0)
    assert.deepStrictEqual(heard, [{ from: 100, to: 1_100 }])
    assert.strictEqual(guard.stalledBetween(0, 2_000), 1_000)
  })

  it("a timer that is late by less than a beat's tolerance: no stall", () => {
    const { guard, heard, host } = make()
    guard.watch(10_000)
    for (let i = 0; i < 50; i++) {
      host.stall(90)
      host.run(0)
    }
    guard.late(host.time - 100)
    assert.deepStrictEqual(heard, [])
  })

  it("an overloaded loop: stalls that follow each other are one, however many", () => {
    const { guard, host } = make()
    guard.watch(60_000)
    for (let i = 0; i < 400; i++) {
      host.stall(150)
      host.run(0)
    }
    assert.strictEqual(guard.stalledBetween(0, host.time), 60_000)
  })

  it("many stalls: the oldest ones are forgotten", () => {
    const { guard, host } = make()
    for (let i = 0; i < 1_000; i++) {
      guard.watch(host.time + 1_000)
      host.run(200)
      host.stall(500)
      host.run(0)
    }
    const sum = guard.stalledBetween(0, host.time)
    assert.strictEqual(sum, guard.stalledBetween(host.time - 256 * 800, host.time))
    assert.isAbove(sum, 255 * 500)
    assert.isBelow(sum, 257 * 550)
  })

  it("how long it was, in words: nothing of what is no stall", () => {
    assert.deepStrictEqual([0, 99, 100, 1_540].map(describeStall), [
      "",
      "",
      ", of which this process stood still for 0.1 s",
      ", of which this process stood still for 1.5 s"
    ])
  })

  it("a limit of hours: the heart beats for a minute at most", () => {
    const { guard, host } = make()
    guard.watch(Infinity)
    host.run(61_000)
    assert.strictEqual(host.armed, 0)
    guard.watch(Infinity)
    assert.strictEqual(host.armed, 1)
  })

  it("listeners: none hears anything after it has left", () => {
    const { guard, heard, host, stop } = make()
    stop()
    guard.watch(1_000)
    host.stall(500)
    host.run(0)
    assert.deepStrictEqual(heard, [])
    assert.strictEqual(guard.stalledBetween(0, 500), 500)
  })
})
