import { assert, describe, it } from "@effect/vitest"
import { RoundTrip } from "../../../src/pool/state/RoundTrip.ts"
import { StatementProfile } from "../../../src/pool/state/StatementProfile.ts"
import { Steps } from "./steps.ts"

describe("RoundTrip", () => {
  it("is the fastest answer", () => {
    const trip = new RoundTrip()
    assert.strictEqual(trip.fastest, 0)
    for (const millis of [30, 21, 25]) trip.observe(millis, 1_000)
    assert.strictEqual(trip.fastest, 21)
  })

  it("follows a way that got longer after a minute or two", () => {
    const trip = new RoundTrip()
    trip.observe(1, 0)
    for (let now = 1_000; now < 60_000; now += 1_000) trip.observe(20, now)
    assert.strictEqual(trip.fastest, 1)
    for (let now = 60_000; now <= 120_000; now += 1_000) trip.observe(20, now)
    assert.strictEqual(trip.fastest, 20)
  })

  it("forgets what was fast before a long silence", () => {
    const trip = new RoundTrip()
    trip.observe(1, 0)
    trip.observe(20, 500_000)
    assert.strictEqual(trip.fastest, 20)
  })
})

/** A pool of one connection whose answers take `millis` on their way, which a new statement has been run on twice. */
const over = (millis: number) => {
  const pool = new Steps({ max: 1 })
  pool.whole("opener")
  pool.sleep(millis * 4)
  pool.connected(1)
  pool.end("opener")
  const profile = new StatementProfile()
  for (const name of ["first", "second"]) {
    pool.shared(name, profile)
    pool.sleep(millis + 1)
    pool.end(name)
  }
  return { pool, profile }
}

describe("Statements over a long way", () => {
  it("count as quick by what the server takes for them", () => {
    assert.isTrue(over(0).profile.quick)
    assert.isTrue(over(20).profile.quick)
    assert.isTrue(over(300).profile.quick)
  })

  it("share a connection although no answer can be there yet", () => {
    const { pool, profile } = over(20)
    pool.shared("a", profile)
    pool.sleep(15)
    assert.deepStrictEqual(pool.shared("b", profile), ["Lease b 1"])
    // The server has had 10 milliseconds for it.
    pool.sleep(16)
    assert.deepStrictEqual(pool.shared("c", profile), [])
  })

  it("are slow when the server takes long for them", () => {
    const { pool, profile } = over(20)
    for (const name of ["a", "b"]) {
      pool.shared(name, profile)
      pool.sleep(60)
      pool.end(name)
    }
    assert.isFalse(profile.quick)
  })
})
