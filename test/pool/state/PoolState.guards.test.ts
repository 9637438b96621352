/** What the pool bounds by itself, whatever its adapter, its process and its commands do. */
import { assert, describe, it } from "@effect/vitest"
import { PoolState } from "../../../src/pool/state/PoolState.ts"
import { Lease } from "../../../src/pool/state/Slot.ts"
import type { Options } from "../../../src/pool/state/StateOptions.ts"
import { seed } from "../../support/seed.ts"
import { partsOf } from "./model/parts.ts"
import { defaults, quick, same, Steps } from "./steps.ts"

describe("PoolState: a question that is not answered", () => {
  const questions: ReadonlyArray<readonly [name: string, ask: (pool: Steps) => void, late: (pool: Steps) => void]> = [
    ["ping", (pool) => {
      pool.sleep(1_500)
      pool.whole("a")
      pool.end("a")
    }, (pool) => void pool.validated(1, true)],
    ["verify", (pool) => {
      pool.retire(2)
      pool.closed(2)
    }, (pool) => void pool.validated(1, true)],
    ["reset", (pool) => {
      pool.whole("a")
      pool.whole("b")
      pool.end("a", { ready: false })
      pool.end("b", { ready: false })
    }, (pool) => void pool.wasReset(1, true)],
    ["close", (pool) => void pool.clear(), (pool) => void pool.closed(1)]
  ]
  for (const [name, ask, late] of questions) {
    it(`${name}: the connection is destroyed after controlTimeout, and replaced for a waiter`, () => {
      const pool = new Steps({ max: 2, controlTimeout: 5_000, validateAfter: 1_000 }).open(2)
      ask(pool)
      const asked = pool.state.slots.size
      const log = pool.sleep(4_999)
      assert.isFalse(log.some((action) => action.startsWith("Cut")), String(log))
      same(pool.state.slots.size, asked)
      assert.isAbove(pool.state.unansweredMillis(pool.now), 4_000)
      assert.match(pool.sleep(1).join(), /Cut \d Unanswered/)
      for (const slot of [...pool.state.slots]) pool.closed(slot.id)
      same(pool.state.unansweredMillis(pool.now), 0)
      // An answer that comes after all changes nothing.
      late(pool)
      same(pool.state.slots.size, 0)
      same(pool.whole("z"), ["Connect 3"])
    })
  }

  for (const [name, ask] of questions) {
    it(`${name}: the pool wakes when its time is over, although nothing else is due`, () => {
      // Connections need not be asked again for so long that it is the only question.
      const pool = new Steps({ max: 2, controlTimeout: 400, validateAfter: 1_000 }).open(2)
      ask(pool)
      same(pool.wakeAt, pool.now + 400)
    })
  }

  it("two pings of a host that is gone: both connections are replaced, not only the first", () => {
    const pool = new Steps({ max: 3, controlTimeout: 5_000 }).open(3)
    pool.retire(3)
    same(pool.in("Validating").length, 2)
    same(pool.state.validating, 2)
    same(pool.sleep(5_000).filter((action) => action.startsWith("Cut")), [
      "Cut 2 Unanswered",
      "Cut 1 Unanswered",
      "Cut 3 Unanswered"
    ])
    for (const slot of [...pool.state.slots]) pool.closed(slot.id)
    for (const name of ["a", "b", "c"]) pool.whole(name)
    same(pool.in("Connecting").length, 3)
  })

  it("a goodbye that hangs during the shutdown: the pool is drained", () => {
    const pool = new Steps({ controlTimeout: 5_000 }).open(2)
    pool.shutdown()
    assert.deepStrictEqual(
      pool.sleep(5_000).filter((action) => action.startsWith("Cut")),
      ["Cut 1 Unanswered", "Cut 2 Unanswered"]
    )
    pool.closed(1)
    same(pool.closed(2), ["Drained"])
  })

  it("a connection that ended in time: never cut, and a later question has its whole time", () => {
    const pool = new Steps({ max: 1, controlTimeout: 5_000 }).open(1)
    for (let i = 0; i < 5; i++) {
      pool.whole(`a${i}`)
      pool.end(`a${i}`, { ready: false })
      same(pool.sleep(4_000), [])
      pool.wasReset(1, true)
    }
    same(pool.sleep(60_000), [])
  })
})

describe("PoolState: a process that stood still", () => {
  it("waiters: each may wait that much longer, and knows it", () => {
    const pool = new Steps({ max: 1, acquireTimeout: 10_000 }).open(1)
    pool.whole("a")
    pool.whole("b")
    pool.now += 4_000
    pool.whole("c")
    // The timer is late: nothing has run for 11 seconds.
    const from = pool.now
    pool.now += 11_000
    pool.stalled(from)
    same(pool.sleep(0), [])
    same(pool.lease("b").stalledMillis, 11_000)
    same(pool.sleep(5_999), [])
    same(pool.sleep(1), ["Fail b AcquireTimeout"])
    same(pool.sleep(3_999), [])
    same(pool.sleep(1), ["Fail c AcquireTimeout"])
  })

  it("a waiter that came during the stall: only the part that it was there for", () => {
    const pool = new Steps({ max: 1, acquireTimeout: 10_000 }).open(1)
    pool.whole("a")
    pool.now += 5_000
    pool.whole("b")
    pool.now += 1_000
    pool.stalled(pool.now - 6_000)
    same(pool.lease("b").stalledMillis, 1_000)
  })

  it("holders, questions and the outage: the time does not count", () => {
    const pool = new Steps({ max: 2, leakThreshold: 5_000, reclaimAfter: 6_000, controlTimeout: 5_000 }).open(2)
    pool.sleep(1_000)
    pool.whole("a")
    pool.whole("b")
    pool.end("b", { ready: false })
    pool.now += 20_000
    pool.stalled(pool.now - 20_000)
    same(pool.sleep(4_999), [])
    same(pool.events("ProcessStalled"), [])
    pool.wasReset(pool.in("Resetting")[0]!, true)
    same(pool.sleep(1), [])
    same(pool.events(), [{ _tag: "LeakSuspected", connection: pool.in("Leased")[0]!, millis: 5_000 }])
  })

  it("a statement: it does not count as slow", () => {
    const pool = new Steps({ max: 1, slowStatement: 10 }).open(1)
    const profile = quick()
    pool.shared("a", profile)
    pool.now += 5_000
    pool.stalled(pool.now - 4_999)
    pool.end("a")
    assert.isTrue(profile.quick)
  })

  it("without the stall, the same statement is slow", () => {
    const pool = new Steps({ max: 1, slowStatement: 10 }).open(1)
    const profile = quick()
    pool.shared("a", profile)
    pool.now += 5_000
    pool.end("a")
    assert.isFalse(profile.quick)
  })
})

describe("PoolState: a resize", () => {
  it("closes exactly as many as are too many, whatever is lent how", () => {
    const random = seed(5)
    for (let i = 0; i < 500; i++) {
      const before = random.int(2, 8)
      const after = random.int(1, before)
      const pool = new Steps({ max: before, pipelineDepth: 4 }).open(before)
      const names: Array<string> = []
      for (let lent = random.int(0, before); lent > 0; lent--) {
        const name = `l${names.length}`
        names.push(name)
        if (random.chance(0.5)) pool.shared(name)
        else pool.whole(name)
      }
      const log = [...pool.resize(0, after)]
      while (names.length > 0) {
        const name = names.splice(random.int(0, names.length - 1), 1)[0]!
        log.push(...pool.end(name))
      }
      same(log.filter((action) => action.startsWith("Close")).length, before - after)
      same(log.filter((action) => action.startsWith("Connect")), [])
      same(pool.in("Idle").length, after)
    }
  })

  it("up again before they came back: none is closed", () => {
    const pool = new Steps({ max: 3 }).open(3)
    for (const name of ["a", "b", "c"]) pool.shared(name)
    pool.resize(0, 1)
    pool.resize(0, 3)
    same(["a", "b", "c"].flatMap((name) => pool.end(name)), [])
    same(pool.in("Idle").length, 3)
  })

  it("of an adaptive pool: the limit can reach the new maximum, and never passes it", () => {
    const random = seed(6)
    for (let i = 0; i < 30; i++) {
      const options: Options = { ...defaults, max: random.int(1, 10), pipelineDepth: 1, adaptive: true }
      const state = new PoolState<number>(options, () => 0.5)
      const max = random.int(1, 40)
      state.resize(0, max, 0)
      let now = 0
      let peak = 0
      const leases: Array<Lease<number>> = []
      // As many as may run, and each takes as long as it took without load.
      for (let round = 0; round < 1_500; round++) {
        while (leases.length < 2 * max) {
          const lease = new Lease<number>(false)
          leases.push(lease)
          state.acquire(lease, now)
        }
        for (const action of state.actions.splice(0)) {
          if (action._tag === "Connect") state.connected(action.slot, action.slot.id, now)
          if (action._tag === "Close") state.closed(action.slot, now)
        }
        now += 5
        const running = leases.filter((lease) => lease.state === "Held")
        peak = Math.max(peak, running.length)
        assert.isAtMost(running.length, max)
        for (const lease of running) state.end(lease, now, true)
        leases.splice(0, leases.length, ...leases.filter((lease) => lease.state !== "Ended"))
      }
      same(peak, max)
    }
  })

  it("the limiter that keeps its first maximum would be found", () => {
    const state = new PoolState<number>({ ...defaults, max: 2, pipelineDepth: 1, adaptive: true }, () => 0.5)
    partsOf(state).limiter!.resize = () => {}
    state.resize(0, 10, 0)
    for (let i = 0; i < 2_000; i++) partsOf(state).limiter!.observe(1, 2, i)
    same(partsOf(state).limiter!.limit, 2)
  })
})

describe("PoolState: clear, immediate", () => {
  it("ends attempts to connect, and waiters get one that was begun afterwards", () => {
    const pool = new Steps({ max: 2 })
    pool.whole("a")
    same(pool.clear("immediate"), ["Abandon 1"])
    same(pool.connectFailed(1, "Interrupted"), ["Connect 2"])
    same(pool.connected(2), ["Lease a 2"])
  })

  it("an attempt that succeeds in spite of it: closed, never lent", () => {
    const pool = new Steps({ max: 1 })
    pool.whole("a")
    pool.clear("immediate")
    same(pool.connected(1), ["Close 1 Cleared"])
    same(pool.closed(1), ["Connect 2"])
  })

  it("graceful: the attempt goes on, and its connection is not lent", () => {
    const pool = new Steps({ max: 1 })
    pool.whole("a")
    same(pool.clear("graceful"), [])
    same(pool.connected(1), ["Close 1 Cleared"])
  })
})

describe("PoolState: a caller that holds a connection and waits for another one", () => {
  it("the adaptive limit: is not for it, but for everybody else", () => {
    const pool = new Steps({ min: 8, max: 10, pipelineDepth: 1, adaptive: true })
    pool.start()
    for (let id = 1; id <= 8; id++) pool.connected(id)
    const names = ["a", "b", "c", "d"]
    for (const name of names) pool.whole(name)
    for (const name of names) same(pool.whole(`${name}2`), [])
    pool.whole("e")
    same(names.flatMap((name) => pool.exempt(`${name}2`)).length, 4)
    for (const name of names) same(pool.lease(`${name}2`).state, "Held")
    same(pool.lease("e").state, "Waiting")
    for (const name of names) pool.end(`${name}2`)
    for (const name of names) pool.end(name)
    same(pool.lease("e").state, "Held")
  })

  it("more than are open: another one is opened", () => {
    const pool = new Steps({ max: 10, pipelineDepth: 1, adaptive: true }).open(4)
    for (const name of ["a", "b", "c", "d", "e"]) pool.whole(name)
    same(pool.exempt("e"), ["Connect 5"])
    same(pool.connected(5), ["Lease e 5"])
  })
})
