import { assert, describe, it } from "@effect/vitest"
import { same, Steps } from "./steps.ts"

describe("PoolState: opening connections", () => {
  it("opens at most maxConnecting at a time", () => {
    const pool = new Steps({ maxConnecting: 2 })
    for (const name of ["a", "b", "c", "d"]) pool.whole(name)
    same(pool.in("Connecting"), [1, 2])
    same(pool.connected(1), ["Lease a 1", "Connect 3"])
    same(pool.connected(2), ["Lease b 2", "Connect 4"])
  })

  it("lets a single prober try again after a failure", () => {
    const pool = new Steps()
    for (const name of ["a", "b", "c", "d", "e"]) pool.whole(name)
    for (const id of [1, 2, 3, 4]) same(pool.connectFailed(id), [])
    same(pool.sleep(124), [])
    same(pool.sleep(1), ["Connect 5"])
    same(pool.connectFailed(5), [])
    same(pool.sleep(125), ["Connect 6"])
  })

  it("lets 1, 2, 4 through after the first success", () => {
    const pool = new Steps({ max: 20 })
    for (let i = 0; i < 20; i++) pool.whole(`${i}`)
    for (const id of [1, 2, 3, 4]) pool.connectFailed(id)
    same(pool.sleep(125), ["Connect 5"])
    same(pool.connected(5), ["Lease 0 5", "Connect 6", "Connect 7"])
    same(pool.connected(6), ["Lease 1 6", "Connect 8", "Connect 9", "Connect 10"])
    same(pool.connected(7), ["Lease 2 7", "Connect 11"])
    same(pool.state.counts.connecting, 4)
  })

  it("takes attempts that fail together for one piece of evidence", () => {
    const pool = new Steps()
    for (const name of ["a", "b", "c", "d"]) pool.whole(name)
    for (const id of [1, 2, 3, 4]) {
      pool.random = id === 1 ? 0.2 : 0.9
      pool.connectFailed(id)
    }
    // The first one has drawn the delay; the others neither prolong nor shorten it.
    same(pool.sleep(49), [])
    same(pool.sleep(1), ["Connect 5"])
  })

  it("draws the delay from zero to a ceiling: a tenth of the outage, from backoffBase to backoffCap", () => {
    for (const random of [0, 0.001, 0.25, 0.5, 0.999]) {
      for (const outage of [0, 1_000, 2_500, 3_000, 20_000, 50_000, 60_000]) {
        const pool = new Steps({ acquireTimeout: Infinity })
        pool.whole("a")
        // The attempts fail at once until the outage is as old as it should be.
        pool.random = 0.999
        pool.connectFailed(1)
        while (pool.now < outage) {
          pool.untilConnect()
          if (pool.now < outage) pool.connectFailed(pool.in("Connecting")[0]!)
        }
        pool.random = random
        if (outage > 0) pool.connectFailed(pool.in("Connecting")[0]!)
        const ceiling = Math.min(5_000, Math.max(250, pool.now / 10))
        assert.closeTo(pool.untilConnect(), ceiling * (outage === 0 ? 0.999 : random), 0.001)
      }
    }
  })

  it("a failure after a pause in which nothing was tried: a new outage", () => {
    const pool = new Steps({ acquireTimeout: Infinity })
    pool.random = 0.999
    pool.whole("a")
    pool.connectFailed(1)
    while (pool.now < 30_000) {
      pool.untilConnect()
      pool.connectFailed(pool.in("Connecting")[0]!)
    }
    assert.isAbove(pool.untilConnect(), 2_000)
    pool.end("a")
    pool.connectFailed(pool.in("Connecting")[0]!)
    pool.suspend()
    pool.sleep(20_000)
    pool.whole("b")
    pool.resume()
    pool.connectFailed(pool.in("Connecting")[0]!)
    assert.closeTo(pool.untilConnect(), 250, 1)
  })

  it("does not take the time that an attempt needed to fail for such a pause", () => {
    const pool = new Steps({ acquireTimeout: Infinity, maxConnecting: 1 })
    pool.random = 0.999
    pool.whole("a")
    pool.connectFailed(1)
    // A black hole: every attempt takes ten seconds.
    for (let i = 0; i < 3; i++) {
      pool.untilConnect()
      pool.sleep(10_000)
      pool.connectFailed(pool.in("Connecting")[0]!)
    }
    assert.isAbove(pool.untilConnect(), 3_000)
  })

  it("waits for the back-off also with newcomers", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.connectFailed(1)
    same(pool.whole("b"), [])
    same(pool.whole("c"), [])
    same(pool.sleep(125), ["Connect 2"])
  })

  it("does not count a connect that hangs on, so that it blocks nobody", () => {
    const pool = new Steps()
    pool.whole("a")
    same(pool.sleep(999), [])
    same(pool.sleep(1), ["Connect 2"])
    same(pool.connected(2), ["Lease a 2"])
    // Whoever comes later does not count on it either.
    same(pool.whole("b"), ["Connect 3"])
  })

  it("wakes a waiter that came after the attempt which then hangs", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.end("a")
    pool.sleep(600)
    same(pool.whole("b"), [])
    same(pool.sleep(399), [])
    same(pool.sleep(1), ["Connect 2"])
  })

  it("lets another prober try when the one of an outage hangs", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.connectFailed(1)
    same(pool.sleep(125), ["Connect 2"])
    same(pool.sleep(1_000), ["Connect 3"])
    same(pool.connected(3), ["Lease a 3"])
  })

  it("has never more than maxConnecting hanging", () => {
    const pool = new Steps({ maxConnecting: 3, acquireTimeout: Infinity })
    pool.whole("a")
    pool.sleep(60_000)
    same(pool.in("Connecting"), [1, 2, 3])
  })

  it("fails who waits on a failure that stays, if no connection is open", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.shared("b")
    pool.whole("c")
    same(pool.connectFailed(1, "Permanent"), [
      "Fail a ConnectFailed",
      "Fail b ConnectFailed",
      "Fail c ConnectFailed"
    ])
    same(pool.connectFailed(2, "Permanent"), [])
    // The next one tries again.
    same(pool.sleep(1_000), [])
    same(pool.whole("d"), ["Connect 4"])
  })

  it("keeps who waits on a failure that stays, if an open connection can serve them", () => {
    const pool = new Steps().open(1)
    pool.whole("a")
    same(pool.whole("b"), ["Connect 2"])
    same(pool.connectFailed(2, "Permanent"), [])
    same(pool.end("a"), ["Lease b 1"])
  })

  it("keeps who waits on a failure that passes", () => {
    const pool = new Steps()
    pool.whole("a")
    same(pool.connectFailed(1), [])
    same(pool.sleep(125), ["Connect 2"])
    same(pool.connected(2), ["Lease a 2"])
  })

  it("an outage and no waiter: one attempt at a time finds out when the server is back", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.connectFailed(1)
    pool.end("a")
    for (let attempts = 0; attempts < 20; attempts++) {
      const waited = pool.untilConnect()
      assert.isAtMost(waited, 5_000)
      same(pool.in("Connecting").length, 1)
      // It hangs, and no second one is started for nobody.
      same(pool.sleep(3_000), [])
      pool.connectFailed(pool.in("Connecting")[0]!)
    }
    pool.untilConnect()
    pool.connected(pool.in("Connecting")[0]!)
    same(pool.sleep(60_000), [])
    same(pool.in("Idle").length, 1)
  })

  it("a refusal for good and no waiter: asked again, but seldom", () => {
    const pool = new Steps()
    pool.random = 0
    pool.whole("a")
    same(pool.connectFailed(1, "Permanent"), ["Fail a ConnectFailed"])
    assert.isAtLeast(pool.untilConnect(), 30_000)
    // A caller does not wait for that.
    pool.connectFailed(pool.in("Connecting")[0]!, "Permanent")
    same(pool.whole("b"), ["Connect 3"])
  })

  for (const reason of ["Unreachable", "Full", "Permanent"] as const) {
    it(`suspended, drained or shut down during an outage (${reason}): nothing is tried`, () => {
      for (const command of ["suspend", "drain", "shutdown"] as const) {
        const pool = new Steps()
        pool.whole("a")
        pool.connectFailed(1, reason)
        if (pool.lease("a").state === "Waiting") pool.end("a")
        pool[command]()
        same(pool.sleep(600_000).filter((action) => action.startsWith("Connect")), [])
      }
    })
  }

  it("an attempt that the pool has ended: no outage, no pause, no failure", () => {
    const pool = new Steps({ maxConnecting: 2 })
    pool.whole("a")
    pool.whole("b")
    same(pool.connectFailed(1, "Interrupted"), ["Connect 3"])
    same(pool.connectFailed(2, "Interrupted"), ["Connect 4"])
    same(pool.connected(3), ["Lease a 3"])
  })
})
