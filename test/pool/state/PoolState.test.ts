import { assert, describe, it } from "@effect/vitest"
import { Lease } from "../../../src/pool/state/Slot.ts"
import { StatementProfile } from "../../../src/pool/state/StatementProfile.ts"
import { quick, Steps } from "./steps.ts"

const same = (actual: unknown, expected: unknown) => assert.deepStrictEqual(actual, expected)

describe("PoolState: capacity and demand", () => {
  it("never opens more than max, counting those being opened", () => {
    const pool = new Steps({ max: 2 })
    same(pool.whole("a"), ["Connect 1"])
    same(pool.whole("b"), ["Connect 2"])
    same(pool.whole("c"), [])
    same(pool.connected(1), ["Lease a 1"])
    same(pool.connected(2), ["Lease b 2"])
    same(pool.state.counts, { total: 2, idle: 0, used: 2, connecting: 0, waiting: 1 })
  })

  it("counts a connection that is being closed until it is gone", () => {
    const pool = new Steps({ max: 1, lifetime: 100 })
    pool.whole("a")
    pool.connected(1)
    pool.whole("b")
    pool.sleep(200)
    same(pool.end("a"), ["Close 1 Lifetime"])
    same(pool.state.counts, { total: 1, idle: 0, used: 0, connecting: 0, waiting: 1 })
    same(pool.closed(1), ["Connect 2"])
    same(pool.connected(2), ["Lease b 2"])
  })

  it("counts a connection that is being cleaned up", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    same(pool.end("a", { ready: false }), ["Reset 1"])
    same(pool.whole("b"), [])
    same(pool.wasReset(1, true), ["Lease b 1"])
  })

  it("uses a connection again before it opens one", () => {
    const pool = new Steps().open(1)
    same(pool.whole("a"), ["Lease a 1"])
    same(pool.end("a"), [])
    same(pool.whole("b"), ["Lease b 1"])
  })

  it("lends the connection that was used last", () => {
    const pool = new Steps().open(3)
    same(pool.whole("a"), ["Lease a 3"])
    same(pool.whole("b"), ["Lease b 2"])
    pool.end("a")
    pool.end("b")
    same(pool.whole("c"), ["Lease c 2"])
  })

  it("gives a returned connection to the waiter while another one is being opened for it", () => {
    const pool = new Steps().open(1)
    pool.whole("a")
    same(pool.whole("b"), ["Connect 2"])
    same(pool.end("a"), ["Lease b 1"])
    same(pool.connected(2), [])
    same(pool.in("Idle"), [2])
  })

  it("opens no further connection when the demand is gone", () => {
    const pool = new Steps({ max: 20, maxConnecting: 2 })
    for (let i = 0; i < 50; i++) pool.whole(`${i}`)
    same(pool.in("Connecting"), [1, 2])
    same(pool.connected(1), ["Lease 0 1", "Connect 3"])
    // The first one serves everybody while the other two are still being opened.
    for (let i = 0; i < 49; i++) same(pool.end(`${i}`), [`Lease ${i + 1} 1`])
    same(pool.end("49"), [])
    same(pool.connected(2), [])
    same(pool.connected(3), [])
    same(pool.state.slots.size, 3)
  })

  it("lets an attempt to connect finish when the waiter has gone", () => {
    const pool = new Steps()
    pool.whole("a")
    same(pool.end("a"), [])
    same(pool.connected(1), [])
    same(pool.whole("b"), ["Lease b 1"])
  })

  it("counts an attempt under way as supply for the next waiter", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.end("a")
    same(pool.whole("b"), [])
    same(pool.connected(1), ["Lease b 1"])
  })

  it("opens the connections that min asks for at the start", () => {
    const pool = new Steps({ min: 3, maxConnecting: 2 })
    same(pool.start(), ["Connect 1", "Connect 2"])
    same(pool.connected(1), ["Connect 3"])
    same(pool.connected(2), [])
    same(pool.connected(3), [])
  })

  it("opens a lost connection again up to min, without traffic", () => {
    const pool = new Steps({ min: 2 })
    pool.start()
    pool.connected(1)
    pool.connected(2)
    same(pool.lost(1), ["Connect 3"])
    // Also when that fails.
    same(pool.connectFailed(3), [])
    same(pool.sleep(250), ["Connect 4"])
    same(pool.connected(4), [])
  })

  it("replaces a connection of min while it is still being closed, if max allows", () => {
    const pool = new Steps({ min: 1, max: 2, lifetime: 100 })
    pool.start()
    pool.connected(1)
    same(pool.sleep(100), ["Close 1 Lifetime", "Connect 2"])
    same(pool.closed(1), [])
  })

  it("counts all connections towards min, also lent ones", () => {
    const pool = new Steps({ min: 2 }).open(2)
    pool.whole("a")
    pool.whole("b")
    same(pool.start(), [])
  })

  it("counts a connection that somebody else opens", () => {
    const pool = new Steps({ max: 1 })
    const slot = pool.state.begin(0)
    same(pool.whole("a"), [])
    pool.state.connected(slot, 1, 0)
    same(pool.state.actions.filter(({ _tag }) => _tag !== "Wake" && _tag !== "Report"), [{
      _tag: "Lease",
      lease: pool.lease("a")
    }])
  })
})

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

describe("PoolState: waiting", () => {
  it("serves first come, first served", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    for (const name of ["b", "c", "d"]) pool.whole(name)
    same(pool.end("a"), ["Lease b 1"])
    same(pool.end("b"), ["Lease c 1"])
    same(pool.end("c"), ["Lease d 1"])
  })

  it("lets no newcomer overtake", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    pool.state.end(pool.lease("a"), pool.now, true)
    // The connection is b's before b has been told.
    same(pool.whole("c"), ["Lease b 1"])
    same(pool.end("b"), ["Lease c 1"])
  })

  it("passes on a lease that was made out to somebody who has left meanwhile", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    pool.whole("c")
    pool.state.end(pool.lease("a"), pool.now, true)
    same(pool.lease("b").state, "Held")
    same(pool.end("b"), ["Lease b 1", "Lease c 1"])
    same(pool.state.counts, { total: 1, idle: 0, used: 1, connecting: 0, waiting: 0 })
  })

  it("lets anybody leave the queue, wherever it stands", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    for (const name of ["b", "c", "d", "e"]) pool.whole(name)
    pool.end("c")
    pool.end("e")
    pool.end("b")
    same(pool.state.waiting, 1)
    same(pool.end("a"), ["Lease d 1"])
    same(pool.end("d"), [])
    same(pool.whole("f"), ["Lease f 1"])
  })

  it("fails a waiter at its deadline, neither earlier nor later", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.sleep(500)
    pool.whole("b")
    pool.sleep(200)
    pool.whole("c")
    same(pool.sleep(9_799), [])
    same(pool.sleep(1), ["Fail b AcquireTimeout"])
    same(pool.sleep(199), [])
    same(pool.sleep(1), ["Fail c AcquireTimeout"])
    same(pool.end("a"), [])
  })

  it("keeps the deadline across failed attempts, dead connections and re-queueing", () => {
    const pool = new Steps({ max: 1, validateAfter: 100 }).open(1)
    pool.sleep(1_000)
    same(pool.whole("a"), ["Ping 1"])
    pool.sleep(2_000)
    same(pool.validated(1, false), ["Close 1 PingFailed"])
    same(pool.closed(1), ["Connect 2"])
    pool.sleep(3_000)
    same(pool.connectFailed(2), [])
    same(pool.sleep(125), ["Connect 3"])
    same(pool.sleep(4_874), [])
    same(pool.sleep(1), ["Fail a AcquireTimeout"])
  })

  it("does not give a connection to somebody whose time has run out", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    pool.sleep(10_000)
    same(pool.end("a"), [])
    same(pool.lease("b").state, "Failed")
    same(pool.in("Idle"), [1])
  })

  it("waits for ever without an acquire timeout", () => {
    const pool = new Steps({ max: 1, acquireTimeout: Infinity }).open(1)
    pool.whole("a")
    pool.whole("b")
    same(pool.sleep(1e9), [])
    same(pool.end("a"), ["Lease b 1"])
  })

  it("fails who finds the queue full, at once", () => {
    const pool = new Steps({ max: 1, maxWaiting: 1 }).open(1)
    pool.whole("a")
    same(pool.whole("b"), [])
    same(pool.whole("c"), ["Fail c QueueFull"])
    same(pool.shared("d"), ["Fail d QueueFull"])
    pool.end("b")
    same(pool.whole("e"), [])
  })

  it("does not count towards the queue whom a connection can be opened for", () => {
    const pool = new Steps({ max: 2, maxWaiting: 0, validateAfter: 100 })
    same(pool.whole("a"), ["Connect 1"])
    same(pool.whole("b"), ["Connect 2"])
    same(pool.whole("c"), ["Fail c QueueFull"])
    pool.connected(1)
    pool.connected(2)
    same(pool.whole("d"), ["Fail d QueueFull"])
    pool.end("a")
    // Nor whom one is pinged for.
    pool.sleep(1_000)
    same(pool.whole("e"), ["Ping 1"])
    same(pool.whole("f"), ["Fail f QueueFull"])
  })

  it("gives nothing to a lease that has ended before it asked", () => {
    const pool = new Steps().open(1)
    const lease = new Lease<number>(false)
    pool.state.end(lease, 0, true)
    same(pool.state.acquire(lease, 0), false)
    same(pool.state.counts, { total: 1, idle: 1, used: 0, connecting: 0, waiting: 0 })
  })

  it("serves whoever waits longest when connections come from several sides at once", () => {
    const pool = new Steps({ max: 3 }).open(2)
    pool.whole("a")
    pool.whole("b")
    pool.whole("c")
    pool.whole("d")
    same(pool.in("Connecting"), [3])
    same(pool.end("b"), ["Lease c 1"])
    same(pool.connected(3), ["Lease d 3"])
  })
})

describe("PoolState: the end of a lease", () => {
  it("is harmless the second time", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    same(pool.end("a"), ["Lease b 1"])
    same(pool.end("a"), [])
    same(pool.slot(1).lease, pool.lease("b"))
    same(pool.end("b"), [])
    same(pool.end("b"), [])
    same(pool.state.counts, { total: 1, idle: 1, used: 0, connecting: 0, waiting: 0 })
  })

  it("is harmless the second time for a statement", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a")
    pool.shared("b")
    pool.end("a")
    pool.end("a")
    same(pool.slot(1).load, 1)
    same(pool.slot(1).unproven, 0)
  })

  it("is harmless after a failure", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    pool.sleep(10_000)
    same(pool.end("b"), [])
    same(pool.state.waiting, 0)
  })

  it("cleans up what is not ready, and closes what cannot be cleaned up", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    same(pool.end("a", { ready: false }), ["Reset 1"])
    same(pool.wasReset(1, true), ["Lease b 1"])
    pool.whole("c")
    same(pool.end("b", { ready: false }), ["Reset 1"])
    same(pool.wasReset(1, false), ["Close 1 ResetFailed"])
    same(pool.closed(1), ["Connect 2"])
    same(pool.connected(2), ["Lease c 2"])
  })
})

describe("PoolState: the life of a connection", () => {
  it("ends by lifetime when it is idle", () => {
    const pool = new Steps({ lifetime: 60_000 }).open(2)
    same(pool.sleep(59_999), [])
    same(pool.sleep(1), ["Close 1 Lifetime", "Close 2 Lifetime"])
  })

  it("does not end by lifetime while it is lent, but when it comes back", () => {
    const pool = new Steps({ lifetime: 60_000 }).open(1)
    pool.whole("a")
    same(pool.sleep(120_000), [])
    same(pool.end("a"), ["Close 1 Lifetime"])
  })

  it("is not lent when it is too old, also if the timer is late", () => {
    const pool = new Steps({ lifetime: 1_000 }).open(2)
    pool.now += 5_000
    same(pool.whole("a"), ["Close 2 Lifetime", "Close 1 Lifetime", "Connect 3"])
  })

  it("ends at a time of its own: the jitter spreads", () => {
    const pool = new Steps({ max: 100, lifetime: 60_000, lifetimeJitter: 0.25, maxConnecting: 100 })
    for (let i = 0; i < 100; i++) pool.whole(`${i}`)
    for (let i = 0; i < 100; i++) {
      pool.random = i / 100
      pool.connected(i + 1)
    }
    for (let i = 0; i < 100; i++) pool.end(`${i}`)
    pool.sleep(44_999)
    const perSecond: Array<number> = []
    for (let second = 0; second < 16; second++) perSecond.push(pool.sleep(1_000).length)
    same(perSecond.reduce((a, b) => a + b), 100)
    assert.isAtMost(Math.max(...perSecond), 8)
    assert.isAtLeast(perSecond.filter((count) => count > 0).length, 14)
  })

  it("never ends by lifetime when that is infinite", () => {
    const pool = new Steps({ lifetime: Infinity, lifetimeJitter: 1 }).open(1)
    pool.random = 0.999
    same(pool.sleep(1e12), [])
  })

  it("ends when it was idle for the idle timeout, never before", () => {
    const pool = new Steps({ idleTimeout: 10_000 }).open(1)
    same(pool.sleep(9_000), [])
    pool.whole("a")
    // A long statement is not idle time.
    same(pool.sleep(60_000), [])
    pool.end("a")
    same(pool.sleep(9_999), [])
    same(pool.sleep(1), ["Close 1 IdleTimeout"])
  })

  it("does not end by idle timeout below min, also if many are due at once", () => {
    const pool = new Steps({ min: 3, idleTimeout: 10_000 }).open(8)
    same(pool.sleep(10_000), [1, 2, 3, 4, 5].map((id) => `Close ${id} IdleTimeout`))
    same(pool.sleep(100_000), [])
    for (const id of [1, 2, 3, 4, 5]) same(pool.closed(id), [])
    same(pool.in("Idle"), [6, 7, 8])
  })

  it("counts lent connections towards min when others have been idle for long", () => {
    const pool = new Steps({ min: 1, idleTimeout: 10_000 }).open(2)
    pool.whole("a")
    same(pool.sleep(10_000), ["Close 1 IdleTimeout"])
  })

  it("ends by idle timeout also if it became surplus only after it was due", () => {
    const pool = new Steps({ min: 1, idleTimeout: 10_000 }).open(1)
    pool.sleep(30_000)
    // Opened by somebody who has left meanwhile.
    const slot = pool.state.begin(pool.now)
    pool.slots.set(slot.id, slot)
    same(pool.connected(slot.id), [])
    same(pool.sleep(0), ["Close 1 IdleTimeout"])
  })

  it("is kept alive while it is idle", () => {
    const pool = new Steps({ keepAlive: 60_000 }).open(1)
    same(pool.sleep(59_999), [])
    same(pool.sleep(1), ["Ping 1"])
    same(pool.validated(1, true), [])
    same(pool.sleep(60_000), ["Ping 1"])
  })

  it("is closed when it does not answer, and replaced up to min", () => {
    const pool = new Steps({ min: 1, max: 1, keepAlive: 60_000 }).open(1)
    pool.sleep(60_000)
    same(pool.validated(1, false), ["Close 1 PingFailed"])
    same(pool.closed(1), ["Connect 2"])
  })

  it("is not kept from its idle timeout by being kept alive", () => {
    const pool = new Steps({ idleTimeout: 150_000, keepAlive: 60_000 }).open(1)
    same(pool.sleep(60_000), ["Ping 1"])
    pool.validated(1, true)
    same(pool.sleep(60_000), ["Ping 1"])
    pool.validated(1, true)
    same(pool.sleep(30_000), ["Close 1 IdleTimeout"])
  })

  it("ages out when it is surplus, although others are used and all are kept alive", () => {
    const pool = new Steps({ idleTimeout: 300_000, keepAlive: 60_000, validateAfter: 1_000 }).open(5)
    const closed: Array<string> = []
    const answer = (log: ReadonlyArray<string>) => {
      for (const line of log) {
        const id = Number(line.split(" ")[1])
        if (line.startsWith("Ping")) pool.validated(id, true)
        if (line.startsWith("Close")) {
          closed.push(`${line} ${pool.now}`)
          pool.closed(id)
        }
      }
    }
    // One caller every ten seconds, for twelve minutes, but never within `validateAfter` of a keep-alive.
    pool.sleep(5_000)
    for (let i = 0; i < 72; i++) {
      for (let second = 0; second < 10; second++) answer(pool.sleep(1_000))
      answer(pool.whole(`caller ${i}`))
      same(pool.lease(`caller ${i}`).state, "Held")
      pool.end(`caller ${i}`)
    }
    same(pool.in("Idle"), [5])
    same(closed, [1, 2, 3, 4].map((id) => `Close ${id} IdleTimeout 300000`))
  })

  it("is pinged before it is lent only if it has been idle for longer than validateAfter", () => {
    const pool = new Steps({ validateAfter: 1_000 }).open(1)
    pool.sleep(1_000)
    same(pool.whole("a"), ["Lease a 1"])
    pool.end("a")
    pool.sleep(1_001)
    same(pool.whole("b"), ["Ping 1"])
    same(pool.validated(1, true), ["Lease b 1"])
  })

  it("is skipped when it is dead, until one lives or one is opened", () => {
    const pool = new Steps({ max: 3, validateAfter: 1_000 }).open(3)
    pool.sleep(2_000)
    same(pool.whole("a"), ["Ping 3"])
    same(pool.validated(3, false), ["Close 3 PingFailed", "Ping 2", "Ping 1"])
    same(pool.validated(2, false), ["Close 2 PingFailed"])
    pool.closed(3)
    same(pool.validated(1, false), ["Close 1 PingFailed", "Connect 4"])
    same(pool.connected(4), ["Lease a 4"])
  })

  it("is pinged for one waiter each", () => {
    const pool = new Steps({ validateAfter: 1_000 }).open(3)
    pool.sleep(2_000)
    same(pool.whole("a"), ["Ping 3"])
    same(pool.whole("b"), ["Ping 2"])
    same(pool.validated(2, true), ["Lease a 2"])
    same(pool.validated(3, true), ["Lease b 3"])
  })

  it("is idle when whoever it was pinged for has left", () => {
    const pool = new Steps({ validateAfter: 1_000, idleTimeout: 10_000 }).open(1)
    pool.sleep(2_000)
    same(pool.whole("a"), ["Ping 1"])
    pool.end("a")
    same(pool.validated(1, true), [])
    same(pool.whole("b"), ["Lease b 1"])
  })

  it("goes to another waiter when the one that it was pinged for was served before", () => {
    const pool = new Steps({ validateAfter: 1_000 }).open(2)
    pool.whole("a")
    pool.sleep(2_000)
    same(pool.whole("b"), ["Ping 1"])
    same(pool.end("a"), ["Lease b 2"])
    same(pool.whole("c"), [])
    same(pool.validated(1, true), ["Lease c 1"])
  })

  it("is not waited for when its ping hangs: others are pinged, and one is opened", () => {
    const pool = new Steps({ max: 4, validateAfter: 1_000 }).open(2)
    pool.sleep(2_000)
    same(pool.whole("a"), ["Ping 2"])
    same(pool.sleep(999), [])
    same(pool.sleep(1), ["Ping 1", "Connect 3"])
    same(pool.connected(3), ["Lease a 3"])
    same(pool.validated(2, false), ["Close 2 PingFailed"])
    same(pool.validated(1, true), [])
  })

  it("is idle while it is pinged for nobody", () => {
    const pool = new Steps({ keepAlive: 60_000, idleTimeout: 61_000, min: 0 }).open(1)
    same(pool.sleep(60_000), ["Ping 1"])
    pool.now += 5_000
    same(pool.validated(1, true), [])
    same(pool.sleep(0), ["Close 1 IdleTimeout"])
  })
})

describe("PoolState: sharing", () => {
  const depth = (pool: Steps) => [...pool.slots.values()].map((slot) => slot.load)

  it("shares a connection only when none is free", () => {
    const pool = new Steps({ max: 2 }).open(2)
    same(pool.shared("a"), ["Lease a 2"])
    same(pool.shared("b"), ["Lease b 1"])
    same(pool.shared("c"), ["Lease c 2"])
    same(depth(pool), [1, 2])
  })

  it("takes the least loaded connection", () => {
    const pool = new Steps({ max: 2 }).open(2)
    for (let i = 0; i < 7; i++) pool.shared(`${i}`)
    same(depth(pool), [3, 4])
    pool.end("1")
    pool.end("3")
    same(depth(pool), [1, 4])
    same(pool.shared("7"), ["Lease 7 1"])
  })

  it("sends nobody to wait behind a statement that is not known to be quick", () => {
    const pool = new Steps({ max: 1 }).open(1)
    same(pool.shared("a", new StatementProfile()), ["Lease a 1"])
    same(pool.shared("b"), [])
    same(pool.end("a"), ["Lease b 1"])
    same(pool.shared("c"), ["Lease c 1"])
    // Nor behind one that has no profile at all.
    same(pool.shared("d", undefined), ["Lease d 1"])
    pool.end("b")
    same(pool.shared("e", undefined), ["Lease e 1"])
  })

  it("counts what is not known to be quick, wherever it stands", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a")
    same(pool.shared("b", new StatementProfile()), ["Lease b 1"])
    same(pool.shared("c"), [])
    same(pool.end("a"), [])
    same(pool.end("b"), ["Lease c 1"])
  })

  it("sends nobody to wait behind a statement that has become slow", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a")
    pool.sleep(9)
    same(pool.shared("b"), ["Lease b 1"])
    pool.sleep(1)
    same(pool.shared("c"), [])
    // The next one is first in line since now.
    same(pool.end("a"), ["Lease c 1"])
  })

  it("trusts a statement after two quick answers, and not any more after a slow one", () => {
    const pool = new Steps({ max: 1 }).open(1)
    const profile = new StatementProfile()
    for (const millis of [1, 2]) {
      pool.shared("a", profile)
      same(profile.quick, false)
      pool.sleep(millis)
      pool.end("a")
    }
    same(profile.quick, true)
    pool.shared("a", profile)
    pool.sleep(10)
    pool.end("a")
    same(profile.quick, false)
  })

  it("measures a statement from when it was first in line", () => {
    const pool = new Steps({ max: 1 }).open(1)
    const slow = quick()
    const fast = quick()
    pool.shared("slow", slow)
    pool.shared("fast", fast)
    pool.sleep(50)
    pool.end("slow")
    pool.sleep(1)
    pool.end("fast")
    same(slow.quick, false)
    same(fast.quick, true)
  })

  it("has at most pipelineDepth statements on a connection", () => {
    const pool = new Steps({ max: 1, pipelineDepth: 3 }).open(1)
    for (const name of ["a", "b", "c"]) same(pool.shared(name), [`Lease ${name} 1`])
    same(pool.shared("d"), [])
    same(pool.end("a"), ["Lease d 1"])
  })

  it("opens one more connection when statements share", () => {
    const pool = new Steps({ max: 3 }).open(1)
    same(pool.shared("a"), ["Lease a 1"])
    same(pool.shared("b"), ["Lease b 1", "Connect 2"])
    same(pool.shared("c"), ["Lease c 1"])
    same(pool.connected(2), [])
    same(pool.shared("d"), ["Lease d 2"])
    same(pool.shared("e"), ["Lease e 2", "Connect 3"])
  })

  it("opens no further connection while those ahead of a statement are answered at once", () => {
    const pool = new Steps({ max: 3, maxConnecting: 1 }).open(1)
    for (let i = 0; i < 200; i++) {
      pool.shared("a")
      pool.sleep(0.01)
      pool.end("a")
    }
    for (let i = 0; i < 10; i++) same(pool.shared(`${i}`), [`Lease ${i} 1`])
    // Half a millisecond for each is another matter.
    for (let i = 0; i < 40; i++) {
      pool.sleep(0.5)
      pool.end(`${i}`)
      pool.shared(`${i + 10}`)
    }
    same(pool.in("Connecting").length, 1)
  })

  it("gives statements that could share a moment before it opens a connection for them", () => {
    const pool = new Steps({ max: 3 }).open(1)
    pool.shared("a", new StatementProfile())
    same(pool.shared("b"), [])
    same(pool.sleep(0.9), [])
    same(pool.sleep(0.1), ["Connect 2"])
  })

  it("pings one of those that have been idle for long when statements share, and waits for none of them", () => {
    const pool = new Steps({ max: 4, validateAfter: 1_000 }).open(4)
    pool.shared("a")
    pool.sleep(1_001)
    pool.shared("b")
    same(pool.validated(3, true), ["Lease b 3"])
    pool.end("a")
    same(pool.shared("c"), ["Lease c 4"])
    same(pool.shared("d"), ["Lease d 3"])
    same(pool.shared("e"), ["Lease e 4", "Ping 2"])
    same(pool.validated(2, true), [])
    same(pool.shared("f"), ["Lease f 2"])
  })

  it("opens no further connection when nobody shares any more", () => {
    const pool = new Steps({ max: 3 }).open(1)
    pool.shared("a")
    pool.shared("b")
    pool.end("b")
    same(pool.connected(2), [])
  })

  it("never shares a connection that somebody has for itself", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    same(pool.shared("b"), [])
    same(pool.end("a"), ["Lease b 1"])
  })

  it("never lends a connection as a whole while statements are on it", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a")
    pool.shared("b")
    same(pool.whole("c"), [])
    same(pool.end("b"), [])
    same(pool.end("a"), ["Lease c 1"])
  })

  it("empties a connection for whoever waits for a whole one", () => {
    const pool = new Steps({ max: 2 }).open(2)
    pool.shared("a")
    pool.shared("b")
    pool.shared("c")
    same(depth(pool), [1, 2])
    // The least loaded one, because it is empty first.
    pool.whole("w")
    same(pool.slot(1).reserved, true)
    same(pool.shared("d"), ["Lease d 2"])
    same(pool.end("b"), ["Lease w 1"])
    same(pool.slot(1).reserved, false)
  })

  it("lets statements go on past those who wait for a whole connection, on what is not reserved", () => {
    const pool = new Steps({ max: 2 }).open(2)
    pool.shared("a")
    pool.shared("b")
    pool.whole("w")
    const free = pool.slot(1).reserved ? 2 : 1
    for (const name of ["c", "d", "e"]) same(pool.shared(name), [`Lease ${name} ${free}`])
  })

  it("serves a statement that waits behind somebody who waits for a whole connection", () => {
    const pool = new Steps({ max: 2, pipelineDepth: 2 }).open(2)
    pool.shared("a")
    pool.shared("b")
    pool.shared("c")
    pool.shared("d")
    same(depth(pool), [2, 2])
    same(pool.whole("w"), [])
    same(pool.shared("e"), [])
    const free = pool.slot(1).reserved ? pool.slot(2) : pool.slot(1)
    const name = ["a", "b", "c", "d"].find((name) => pool.lease(name).slot === free)!
    same(pool.end(name), [`Lease e ${free.id}`])
  })

  it("gives the reservation back when nobody waits for a whole connection any more", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a")
    pool.whole("w")
    same(pool.shared("b"), [])
    same(pool.end("w"), ["Lease b 1"])
    same(pool.slot(1).reserved, false)
  })

  it("serves whoever asked first when a connection is empty", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a", new StatementProfile())
    pool.shared("b")
    pool.whole("w")
    pool.shared("c")
    same(pool.end("a"), ["Lease b 1", "Lease c 1"])
    same(pool.end("b"), [])
    same(pool.end("c"), ["Lease w 1"])
    pool.shared("d")
    pool.whole("v")
    same(pool.end("w"), ["Lease d 1"])
    // v is waiting, so that nobody else follows.
    same(pool.shared("e"), [])
    same(pool.end("d"), ["Lease v 1"])
    same(pool.end("v"), ["Lease e 1"])
  })

  it("is starved by nobody: transactions and statements that never stop take turns", () => {
    const pool = new Steps({ max: 2 }).open(2)
    const served = { whole: 0, shared: 0 }
    const held: Array<string> = []
    let id = 0
    const note = (log: ReadonlyArray<string>) => {
      for (const line of log) {
        const name = line.split(" ")[1]!
        if (!line.startsWith("Lease")) continue
        held.push(name)
        served[name.startsWith("w") ? "whole" : "shared"]++
      }
    }
    for (let i = 0; i < 4; i++) note(pool.whole(`w${id++}`))
    for (let i = 0; i < 20; i++) note(pool.shared(`s${id++}`))
    for (let i = 0; i < 2_000; i++) {
      pool.sleep(0.1)
      const name = held.shift()!
      note(pool.end(name))
      note(name.startsWith("w") ? pool.whole(`w${id++}`) : pool.shared(`s${id++}`))
    }
    assert.isAbove(served.whole, 100)
    assert.isAbove(served.shared, 500)
    // Nobody stands in the queue for longer than it takes to serve everybody once.
    for (const lease of pool.leases.values()) {
      if (lease.state === "Waiting") assert.isBelow(pool.now - lease.askedAt, 24)
    }
  })

  it("does not add statements to a connection that is too old", () => {
    const pool = new Steps({ max: 1, lifetime: 100 }).open(1)
    pool.sleep(95)
    pool.shared("a")
    same(pool.shared("b"), ["Lease b 1"])
    pool.sleep(8)
    pool.end("a")
    same(pool.shared("c"), [])
    same(pool.end("b"), ["Close 1 Lifetime"])
    same(pool.closed(1), ["Connect 2"])
    same(pool.connected(2), ["Lease c 2"])
  })

  it("sends nobody to wait behind a statement that was abandoned and may still run", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a")
    pool.shared("b")
    same(pool.end("b", { answered: false, ready: false }), [])
    same(pool.shared("c"), [])
    same(pool.end("a", { ready: false }), ["Reset 1"])
    same(pool.wasReset(1, true), ["Lease c 1"])
    same(pool.shared("d"), ["Lease d 1"])
  })

  it("does not take an abandoned statement for an answer", () => {
    const pool = new Steps({ max: 1 }).open(1)
    const slow = quick()
    const abandoned = quick()
    pool.shared("slow", slow)
    pool.shared("abandoned", abandoned)
    pool.sleep(8)
    pool.end("abandoned", { answered: false, ready: false })
    pool.sleep(8)
    pool.end("slow")
    same(slow.quick, false)
    same(abandoned.quick, true)
  })

  it("does not trust a statement that was abandoned because it was slow", () => {
    const pool = new Steps({ max: 1 }).open(1)
    const profile = quick()
    pool.shared("a", profile)
    pool.sleep(5_000)
    pool.end("a", { answered: false, ready: false })
    same(profile.quick, false)
  })

  it("knows who is first in line", () => {
    const pool = new Steps({ max: 1 }).open(1)
    for (const name of ["a", "b", "c", "d"]) pool.shared(name)
    pool.end("b")
    same(pool.slot(1).lease, pool.lease("a"))
    pool.end("a")
    same(pool.slot(1).lease, pool.lease("c"))
    pool.end("d")
    pool.end("c")
    same(pool.slot(1).lease, undefined)
    same(pool.slot(1).last, undefined)
    pool.shared("e")
    same(pool.slot(1).lease, pool.lease("e"))
  })
})

describe("PoolState: losing a connection", () => {
  it("that is idle: it is never lent", () => {
    const pool = new Steps().open(2)
    same(pool.lost(2), [])
    same(pool.whole("a"), ["Lease a 1"])
    same(pool.whole("b"), ["Connect 3"])
  })

  it("that is lent: its place is free at once, and giving it back is harmless", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    same(pool.lost(1), ["Connect 2"])
    same(pool.end("a"), [])
    same(pool.connected(2), ["Lease b 2"])
    same(pool.end("a"), [])
    same(pool.slot(2).lease, pool.lease("b"))
  })

  it("that is shared: the same, for all of them", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a")
    pool.shared("b")
    pool.whole("w")
    same(pool.lost(1), ["Connect 2"])
    same(pool.end("a"), [])
    same(pool.end("b", { ready: false, answered: false }), [])
    same(pool.connected(2), ["Lease w 2"])
    same(pool.state.counts, { total: 1, idle: 0, used: 1, connecting: 0, waiting: 0 })
  })

  it("that is being pinged: the next one is", () => {
    const pool = new Steps({ max: 2, validateAfter: 100 }).open(2)
    pool.sleep(1_000)
    same(pool.whole("a"), ["Ping 2"])
    same(pool.lost(2), ["Ping 1"])
    same(pool.validated(2, false), [])
    same(pool.validated(1, true), ["Lease a 1"])
  })

  it("that is being cleaned up: another one is opened", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    pool.end("a", { ready: false })
    same(pool.lost(1), ["Connect 2"])
    same(pool.wasReset(1, false), [])
    same(pool.wasReset(1, true), [])
    same(pool.connected(2), ["Lease b 2"])
  })

  it("that is being closed: it is closed, once", () => {
    const pool = new Steps({ max: 1, lifetime: 100 }).open(1)
    pool.sleep(100)
    same(pool.in("Closing"), [1])
    same(pool.lost(1), [])
    same(pool.state.slots.size, 1)
    same(pool.closed(1), [])
    same(pool.closed(1), [])
    same(pool.lost(1), [])
    same(pool.state.slots.size, 0)
  })

  it("that is being opened: the attempt says what becomes of it", () => {
    const pool = new Steps()
    pool.whole("a")
    same(pool.lost(1), [])
    same(pool.connected(1), ["Lease a 1"])
    same(pool.connected(1), [])
    same(pool.connectFailed(1), [])
    same(pool.state.counts, { total: 1, idle: 0, used: 1, connecting: 0, waiting: 0 })
  })
})

describe("PoolState: shutting down", () => {
  it("fails whoever waits, in order, and whoever comes", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    pool.shared("c")
    pool.whole("d")
    same(pool.shutdown(), ["Fail b PoolClosed", "Fail c PoolClosed", "Fail d PoolClosed"])
    same(pool.whole("e"), ["Fail e PoolClosed"])
    same(pool.end("a"), ["Close 1 Shutdown"])
    same(pool.closed(1), ["Drained"])
  })

  it("closes what is idle and is drained when that is gone", () => {
    const pool = new Steps().open(2)
    same(pool.shutdown(), ["Close 1 Shutdown", "Close 2 Shutdown"])
    same(pool.closed(2), [])
    same(pool.closed(1), ["Drained"])
  })

  it("is drained at once when there is nothing", () => {
    same(new Steps().shutdown(), ["Drained"])
  })

  it("closes what is still being opened when it is open", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.whole("b")
    same(pool.shutdown(), ["Fail a PoolClosed", "Fail b PoolClosed"])
    same(pool.connected(1), ["Close 1 Shutdown"])
    same(pool.connectFailed(2), [])
    same(pool.closed(1), ["Drained"])
  })

  it("is drained when an attempt to connect fails", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.shutdown()
    same(pool.connectFailed(1), ["Drained"])
  })

  it("closes what is being pinged or cleaned up after that", () => {
    const pool = new Steps({ validateAfter: 100 }).open(3)
    pool.whole("a")
    pool.end("a", { ready: false })
    pool.sleep(1_000)
    pool.whole("b")
    pool.whole("c")
    same(pool.shutdown(), ["Fail b PoolClosed", "Fail c PoolClosed"])
    same(pool.validated(2, true), ["Close 2 Shutdown"])
    same(pool.validated(1, false), ["Close 1 PingFailed"])
    same(pool.wasReset(3, true), ["Close 3 Shutdown"])
    same([...pool.closed(1), ...pool.closed(2), ...pool.closed(3)], ["Drained"])
  })

  it("closes a shared connection when the last one has left it", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.shared("a")
    pool.shared("b")
    same(pool.shutdown(), [])
    same(pool.end("a"), [])
    same(pool.end("b", { ready: false }), ["Close 1 Shutdown"])
    same(pool.closed(1), ["Drained"])
  })

  it("is drained when the last connection is lost", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.shutdown()
    same(pool.lost(1), ["Drained"])
    same(pool.end("a"), [])
  })

  it("takes a connection that was cut off for closed, in whatever phase it was", () => {
    const pool = new Steps({ validateAfter: 100, max: 4 }).open(4)
    pool.whole("held")
    pool.shared("sharing")
    pool.whole("dirty")
    pool.end("dirty", { ready: false })
    pool.sleep(1_000)
    pool.whole("waits")
    same(pool.in("Validating").length, 1)
    pool.shutdown()
    const drained = [...pool.slots.keys()].flatMap((id) => pool.closed(id))
    same(drained, ["Drained"])
    same(pool.state.counts, { total: 0, idle: 0, used: 0, connecting: 0, waiting: 0 })
  })

  it("happens once, and nothing happens after it", () => {
    const pool = new Steps({ min: 2, keepAlive: 1_000, idleTimeout: 1_000, lifetime: 1_000 }).open(2)
    pool.whole("a")
    pool.shutdown()
    same(pool.shutdown(), [])
    same(pool.closed(1), [])
    same(pool.end("a"), ["Close 2 Shutdown"])
    same(pool.closed(2), ["Drained"])
    same(pool.sleep(100_000), [])
    same(pool.shutdown(), [])
    same(pool.closed(2), [])
    same(pool.lost(2), [])
    same(pool.end("a"), [])
    same(pool.start(), [])
  })
})
