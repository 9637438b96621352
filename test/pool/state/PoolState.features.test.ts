import { describe, it } from "@effect/vitest"
import { partsOf } from "./model/parts.ts"
import { quick, same, Steps } from "./steps.ts"

describe("PoolState: neighbours of a connection that died", () => {
  it("are pinged before they are lent again when it was the network", () => {
    const pool = new Steps({ maxConnecting: 1 }).open(3)
    pool.whole("a")
    pool.whole("b")
    pool.sleep(1)
    same(pool.lost(3, { fault: true }), ["Ping 1"])
    same(pool.events(), [{ _tag: "Suspected", count: 2, reason: "NetworkFault" }])
    // A lent one is pinged when it comes back, idle ones a few at a time.
    same(pool.end("b"), [])
    same(pool.validated(1, true), ["Ping 2"])
    same(pool.whole("c"), ["Lease c 1"])
    same(pool.whole("d"), [])
    same(pool.validated(2, true), ["Lease d 2"])
  })

  it("are pinged when somebody wants them", () => {
    const pool = new Steps({ max: 3, maxConnecting: 1 }).open(3)
    for (const name of ["a", "b", "c"]) pool.whole(name)
    pool.lost(3, { fault: true })
    pool.end("b")
    same(pool.in("Validating"), [2])
    same(pool.end("c"), [])
    same(pool.whole("d"), [])
    same(pool.validated(2, false), ["Close 2 PingFailed", "Ping 1"])
    same(pool.validated(1, true), ["Lease d 1"])
  })

  it("are left alone when the server ended that one connection", () => {
    const pool = new Steps().open(3)
    pool.whole("a")
    same(pool.lost(3), [])
    same(pool.whole("b"), ["Lease b 2"])
    same(pool.events(), [])
  })

  it("are left alone when they have given a sign of life since the ping that failed was sent", () => {
    const pool = new Steps({ keepAlive: 1_000, maxConnecting: 2 }).open(2)
    same(pool.sleep(1_000), ["Ping 1", "Ping 2"])
    pool.sleep(5)
    pool.validated(2, true)
    same(pool.validated(1, false), ["Close 1 PingFailed"])
    same(pool.whole("a"), ["Lease a 2"])
  })

  it("take no further statements until they are pinged", () => {
    const pool = new Steps({ max: 2 }).open(2)
    pool.shared("a")
    pool.whole("w")
    pool.lost(1, { fault: true })
    same(pool.shared("b"), [])
    same(pool.sleep(1), ["Connect 3"])
    same(pool.end("a"), ["Ping 2"])
    same(pool.validated(2, true), ["Lease b 2"])
  })

  it("are suspected by nobody who cannot log in", () => {
    const pool = new Steps({ max: 2 }).open(1)
    pool.whole("a")
    pool.whole("b")
    same(pool.connectFailed(2, "Permanent"), [])
    same(pool.end("a"), ["Lease b 1"])
    same(pool.events("ConnectFailed"), [])
  })
})

describe("PoolState: a server that accepts no writes any more", () => {
  it("costs the connection that found out, and the others are asked for their role", () => {
    const pool = new Steps({ maxConnecting: 1 }).open(3)
    pool.whole("a")
    same(pool.retire(3), ["Ping 2"])
    same(pool.slot(2).asked, "RoleChange")
    same(pool.events(), [{ _tag: "Suspected", count: 2, reason: "RoleChange" }])
    same(pool.end("a"), ["Close 3 Retired"])
    same(pool.validated(2, false), ["Close 2 Retired", "Ping 1"])
    same(pool.validated(1, true), [])
    same(pool.whole("b"), ["Lease b 1"])
  })

  it("is not found out by a ping that was under way already", () => {
    const pool = new Steps({ keepAlive: 1_000, maxConnecting: 1 }).open(2)
    pool.whole("a")
    same(pool.sleep(1_000), ["Ping 1"])
    pool.retire(2)
    same(pool.validated(1, true), ["Ping 1"])
    same(pool.slot(1).asked, "RoleChange")
  })

  it("closes an idle connection that hears of it", () => {
    const pool = new Steps().open(1)
    same(pool.retire(1), ["Close 1 Retired"])
  })
})

describe("PoolState: clear", () => {
  it("closes idle connections now, lent ones when they come back, and those being opened when they are there", () => {
    const pool = new Steps({ max: 3 }).open(2)
    pool.whole("a")
    pool.whole("b")
    pool.whole("c")
    pool.end("b")
    same(pool.in("Connecting"), [3])
    pool.connected(3)
    pool.whole("d")
    same(pool.clear(), [])
    same(pool.end("a"), ["Close 2 Cleared"])
    pool.closed(2)
    same(pool.whole("e"), ["Connect 4"])
    same(pool.connected(4), ["Lease e 4"])
  })

  it("replaces what min asks for", () => {
    const pool = new Steps({ min: 1 })
    pool.start()
    same(pool.clear(), [])
    same(pool.connected(1), ["Close 1 Cleared", "Connect 2"])
    same(pool.events("Created"), [{ _tag: "Cleared", count: 1, mode: "graceful" }])
  })

  it("cuts borrowers off when it is immediate, and waiters get the new connections", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    same(pool.clear("immediate"), ["Cut 1 Cleared"])
    same(pool.end("a"), [])
    same(pool.closed(1), ["Connect 2"])
    same(pool.connected(2), ["Lease b 2"])
  })

  it("sends no further statement onto a connection that is to be replaced", () => {
    const pool = new Steps({ max: 2 }).open(1)
    pool.shared("a")
    pool.clear()
    same(pool.shared("b"), [])
    same(pool.sleep(1), ["Connect 2"])
    same(pool.end("a"), ["Close 1 Cleared"])
  })

  it("makes nobody fail for a password that was wrong only before", () => {
    const pool = new Steps()
    pool.whole("a")
    pool.clear()
    same(pool.connectFailed(1, "Permanent"), [])
    same(pool.untilConnect() <= 250, true)
    same(pool.connected(2), ["Lease a 2"])
  })
})

describe("PoolState: a server that has no room", () => {
  it("is left alone with the connections that it has, and these serve everybody", () => {
    const pool = new Steps({ max: 10 }).open(2)
    for (const name of ["a", "b", "c", "d"]) pool.whole(name)
    same(pool.in("Connecting"), [3, 4])
    same(pool.connectFailed(4, "Full"), [])
    same(pool.connectFailed(3, "Full"), [])
    same(pool.state.limit, 2)
    same(pool.events("ConnectFailed"), [
      { _tag: "OverloadLowered", from: 10, to: 3 },
      { _tag: "OverloadLowered", from: 3, to: 2 }
    ])
    same(pool.sleep(5_000), [])
    same(pool.end("a"), ["Lease c 2"])
    same(pool.end("b"), ["Lease d 1"])
  })

  it("is asked for one more when it has not refused for a while", () => {
    const pool = new Steps({ max: 4, acquireTimeout: Infinity }).open(1)
    for (const name of ["a", "b", "c"]) pool.whole(name)
    pool.connectFailed(2, "Full")
    pool.connectFailed(3, "Full")
    same(pool.sleep(9_999), [])
    same(pool.sleep(1), ["Connect 4"])
    same(pool.connectFailed(4, "Full"), [])
    same(pool.sleep(9_999), [])
    same(pool.sleep(1), ["Connect 5"])
    same(pool.connected(5), ["Lease b 5"])
    same(pool.sleep(10_000), ["Connect 6"])
    pool.connected(6)
    pool.sleep(10_000)
    same(partsOf(pool.state).server.ceiling, Infinity)
  })

  it("is tried with back-off as long as it has no room for a single one", () => {
    const pool = new Steps({ max: 4 })
    pool.whole("a")
    same(pool.connectFailed(1, "Full"), [])
    same(pool.state.limit, 1)
    same(pool.sleep(124), [])
    same(pool.sleep(1), ["Connect 2"])
    same(pool.connected(2), ["Lease a 2"])
  })
})

describe("PoolState: suspended", () => {
  it("holds callers, and serves them in their order when it goes on", () => {
    const pool = new Steps({ max: 1 }).open(1)
    same(pool.suspend(), [])
    same(pool.whole("a"), [])
    same(pool.shared("b"), [])
    same(pool.resume(), ["Lease a 1"])
    same(pool.end("a"), ["Lease b 1"])
    same(pool.events(), [{ _tag: "Suspended", mode: "hold" }, { _tag: "Resumed" }])
  })

  it("lets each caller wait until its own deadline", () => {
    const pool = new Steps().open(1)
    pool.suspend()
    pool.whole("a")
    pool.sleep(6_000)
    pool.whole("b")
    same(pool.sleep(4_000), ["Fail a Suspended"])
    same(pool.resume(), ["Lease b 1"])
  })

  it("rejects callers, also those who wait already", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    pool.whole("b")
    same(pool.suspend("reject"), ["Fail b Suspended"])
    same(pool.whole("c"), ["Fail c Suspended"])
    same(pool.end("a"), [])
    pool.resume()
    same(pool.whole("d"), ["Lease d 1"])
  })

  it("opens nothing", () => {
    const pool = new Steps({ min: 2 })
    pool.suspend()
    same(pool.start(), [])
    same(pool.resume(), ["Connect 1", "Connect 2"])
  })
})

describe("PoolState: draining", () => {
  it("closes all connections and says when the last one is gone", () => {
    const pool = new Steps({ min: 2 }).open(2)
    pool.whole("a")
    same(pool.drain(), ["Close 1 Cleared"])
    same(pool.whole("b"), [])
    same(pool.closed(1), [])
    same(pool.end("a"), ["Close 2 Cleared"])
    same(pool.closed(2), ["Drained"])
    same(pool.resume(), ["Connect 3", "Connect 4"])
    same(pool.connected(3), ["Lease b 3"])
  })

  it("is over at once when there is none", () => {
    same(new Steps().drain(), ["Drained"])
  })

  it("waits for what is being opened", () => {
    const pool = new Steps()
    pool.whole("a")
    same(pool.drain(), [])
    same(pool.connectFailed(1), ["Drained"])
  })
})

describe("PoolState: resize", () => {
  it("opens more connections for those who wait", () => {
    const pool = new Steps({ max: 1 }).open(1)
    pool.whole("a")
    same(pool.whole("b"), [])
    same(pool.resize(0, 2), ["Connect 2"])
    same(pool.resize(4, 4), ["Connect 3", "Connect 4"])
  })

  it("closes idle connections that are too many, those that nobody has needed for longest first", () => {
    const pool = new Steps().open(3)
    pool.sleep(10)
    pool.whole("a")
    pool.end("a")
    same(pool.resize(0, 1), ["Close 1 Resized", "Close 2 Resized"])
    same(pool.whole("b"), ["Lease b 3"])
  })

  it("closes lent connections that are too many as they come back", () => {
    const pool = new Steps().open(3)
    for (const name of ["a", "b", "c", "d"]) pool.whole(name)
    pool.connected(4)
    pool.resize(0, 2)
    same(pool.whole("e"), [])
    same(pool.end("a"), ["Close 3 Resized"])
    same(pool.end("b"), ["Close 2 Resized"])
    pool.closed(3)
    pool.closed(2)
    same(pool.end("c"), ["Lease e 1"])
  })

  it("leaves those alone that are to be closed anyway: they are closed, also when there is room again", () => {
    const pool = new Steps({ max: 2 }).open(2)
    pool.shared("a", quick())
    pool.shared("b", quick())
    pool.clear()
    pool.resize(0, 1)
    pool.resize(0, 2)
    same(pool.end("a"), ["Close 2 Cleared"])
    same(pool.end("b"), ["Close 1 Cleared"])
  })

  it("empties shared connections that are too many", () => {
    const pool = new Steps({ max: 2 }).open(2)
    pool.shared("a", quick())
    pool.shared("b", quick())
    pool.resize(0, 1)
    same(pool.shared("c"), ["Lease c 1"])
    same(pool.end("a"), ["Close 2 Resized"])
  })
})

describe("PoolState: somebody who has a connection for too long", () => {
  it("is reported once, and once more when it comes back", () => {
    const pool = new Steps({ leakThreshold: 1_000 }).open(1)
    pool.whole("a")
    same(pool.wakeAt, 1_000)
    pool.sleep(999)
    same(pool.events(), [])
    pool.sleep(5_000)
    same(pool.events(), [{ _tag: "LeakSuspected", connection: 1, millis: 1_000 }])
    same(pool.end("a"), [])
    same(pool.events(), [{ _tag: "LeakReturned", connection: 1, millis: 5_999 }])
  })

  it("costs no timer unless it is asked for", () => {
    const pool = new Steps().open(1)
    pool.sleep(2_000)
    pool.whole("a")
    same(pool.wakeAt, Infinity)
  })

  it("is reported at its own time, with one timer for all", () => {
    const pool = new Steps({ leakThreshold: 1_000 })
    pool.open(2)
    pool.whole("a")
    pool.sleep(600)
    pool.shared("b")
    pool.sleep(400)
    same(pool.events().length, 1)
    pool.sleep(599)
    same(pool.events().length, 0)
    pool.sleep(1)
    same(pool.events().length, 1)
    same(pool.wakeAt, Infinity)
  })

  it("keeps it, unless it is to be taken away", () => {
    const pool = new Steps({ max: 1, leakThreshold: 1_000, reclaimAfter: 3_000 }).open(1)
    pool.whole("a")
    pool.whole("b")
    same(pool.sleep(2_999), [])
    same(pool.sleep(1), ["Cut 1 Reclaimed", "Reclaim a"])
    same(pool.events().map((event) => event._tag), ["LeakSuspected", "LeakReclaimed"])
    same(pool.end("a"), [])
    same(pool.closed(1), ["Connect 2"])
    same(pool.connected(2), ["Lease b 2"])
  })
})
