import { assert, describe, it } from "@effect/vitest"
import { StatementProfile } from "../../../src/pool/state/StatementProfile.ts"
import { quick, same, Steps } from "./steps.ts"

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
      if (lease.state === "Waiting") assert.isBelow(pool.now - lease.since, 24)
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
