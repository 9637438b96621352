import { assert, describe, it } from "@effect/vitest"
import { same, Steps } from "./steps.ts"

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
