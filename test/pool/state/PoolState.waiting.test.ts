import { describe, it } from "@effect/vitest"
import { Lease } from "../../../src/pool/state/Slot.ts"
import { same, Steps } from "./steps.ts"

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
      lease: pool.lease("a"),
      waitedMillis: 0
    }])
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
