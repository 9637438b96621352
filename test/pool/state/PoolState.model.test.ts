import { assert, describe, it } from "@effect/vitest"
import { PoolState } from "../../../src/pool/state/PoolState.ts"
import type { Lease } from "../../../src/pool/state/Slot.ts"
import { exactSeed, type Seed, seed } from "../../support/seed.ts"
import type { Make } from "./model/Books.ts"
import { type Parts, partsOf } from "./model/parts.ts"
import { run } from "./model/World.ts"

/** Runs until the checker finds something, and says what, and the seed with which it is the first thing found. */
const search = (make: Make, first: Seed, runs: number, events: number) => {
  let total = 0
  const seen: Record<string, number> = {}
  for (let i = 0; i < runs; i++) {
    const random = i === 0 ? first : first.fork()
    const { value } = random
    try {
      const world = run(make, random, events)
      total += world.events
      for (const [what, count] of Object.entries(world.seen)) seen[what] = (seen[what] ?? 0) + count
    } catch (cause) {
      return { total, seen, problem: `WATERTIGHT_TEST_SEED=${value}: ${(cause as Error).message}` }
    }
  }
  return { total, seen, problem: undefined }
}

describe("PoolState against a naive reference", () => {
  it("keeps every promise over 500,000 random events", () => {
    const { problem, seen, total } = search((options, random) => new PoolState(options, random), seed(1), 1_000, 500)
    assert.isUndefined(problem)
    assert.isAtLeast(total, 500_000)
    // It has seen everything that there is, and often.
    for (
      const what of [
        "at once",
        "joined",
        "Lease",
        "Ping",
        "Reset",
        "Fail AcquireTimeout",
        "Fail QueueFull",
        "Fail ConnectFailed",
        "Fail PoolClosed",
        "Fail Suspended",
        "Suspected",
        "OverloadLowered",
        "OverloadRaised",
        "rest",
        "LeakSuspected",
        "LeakReturned",
        "Reclaim",
        "Drained",
        "Cleared",
        "Resized",
        "Close Cleared",
        "Close Retired",
        "Close Reclaimed",
        "Close IdleTimeout",
        "Close Lifetime",
        "Close PingFailed",
        "Close Unanswered",
        "Close ResetFailed",
        "Close Shutdown"
      ]
    ) assert.isAbove(seen[what] ?? 0, 200, what)
    // These take a while that is neither too busy nor too quiet.
    for (const what of ["Abandon", "Close Resized", "ScaledUp", "ScaledDown", "Close Unneeded", "LimitChanged"]) {
      assert.isAbove(seen[what] ?? 0, 50, what)
    }
  }, 120_000)
})

/** Everything that is private and not readonly here, so that it can be broken. */
type Breakable<A> = { -readonly [K in keyof A]: A[K] }
type Sabotage = (state: PoolState<number>, parts: { [K in keyof Parts]: Breakable<Parts[K]> }) => void

/** A state that is broken on purpose. */
const broken = (sabotage: Sabotage): Make => (options, random) => {
  const state = new PoolState<number>(options, random)
  sabotage(state, partsOf(state))
  return state
}

/** Methods that are private. */
type Private<Name extends string, F> = { [K in Name]: F }

const needsOf = (demand: Pick<Parts["demand"], "scaling">): object | undefined =>
  (demand.scaling as unknown as Private<"needs", object> | undefined)?.needs

const mutants: ReadonlyArray<readonly [name: string, found: RegExp, make: Make]> = [
  [
    "forgets that an attempt to connect is over",
    /opening is|are being opened|nothing is opened/,
    broken((state, { connections }) => {
      const connectFailed = state.connectFailed.bind(state)
      state.connectFailed = (slot, now, permanent) => {
        connectFailed(slot, now, permanent)
        connections.opening.push(slot)
      }
    })
  ],
  [
    "serves last come, first served",
    /was served before|deadline is due/,
    broken((_, parts) => {
      const queue = parts.queue.main.whole as unknown as {
        push: (lease: Lease<number>) => void
        head: Lease<number> | undefined
        tail: Lease<number> | undefined
        size: number
      }
      queue.push = (lease) => {
        lease.next = queue.head
        if (queue.head === undefined) queue.tail = lease
        else queue.head.previous = lease
        queue.head = lease
        queue.size++
      }
    })
  ],
  [
    "lets a newcomer take what others wait for",
    /overtook|waits beside|nothing is opened/,
    broken((state, { connections, dispatcher }) => {
      const acquire = state.acquire.bind(state)
      const recycle = dispatcher.recycle.bind(dispatcher)
      dispatcher.recycle = (slot, now, idleSince) => {
        const dispatch = dispatcher.dispatch
        dispatcher.dispatch = () => {}
        recycle(slot, now, idleSince)
        dispatcher.dispatch = dispatch
      }
      state.acquire = (lease, now) => {
        const slot = state.closing ? undefined : connections.fresh(now)
        if (slot === undefined) return acquire(lease, now)
        dispatcher.lend(slot, lease, now)
        return true
      }
    })
  ],
  [
    "gives a whole connection to a statement that came later than somebody who waits for one",
    /got a whole connection before|deadline is due/,
    broken((_, { queue }) => {
      const first = queue.first.bind(queue)
      queue.first = (after = 0) => after > 0 ? first(after) : queue.main.sharing.head ?? first()
    })
  ],
  [
    "opens one more than max",
    /\d connections|limit on what runs/,
    (options, random) => new PoolState({ ...options, max: options.max + 1 }, random)
  ],
  [
    "opens one more than maxConnecting at a time",
    /are being opened/,
    (options, random) => new PoolState({ ...options, maxConnecting: options.maxConnecting + 1 }, random)
  ],
  [
    "loses a lease that ends as soon as it was made out",
    /have \d+ for themselves|holds|load of/,
    broken((state) => {
      const end = state.end.bind(state)
      state.end = (lease, now, ready, answered) => {
        if (lease.state === "Held" && lease.ticket > 0 && lease.since === now) lease.state = "Ended"
        else end(lease, now, ready, answered)
      }
    })
  ],
  [
    "takes a connection back twice",
    /have \d+ for themselves|holds|is closed/,
    broken((state, { dispatcher }) => {
      const end = state.end.bind(state)
      state.end = (lease, now, ready, answered) => {
        const twice = lease.state === "Ended" && lease.slot?.phase === "Leased"
        end(lease, now, ready, answered)
        if (twice) dispatcher.recycle(lease.slot!, now)
      }
    })
  ],
  [
    "lends a connection that was lost",
    /idle is|which is gone|is Idle and gone|lost/,
    broken((state, { dispatcher }) => {
      const lost = state.lost.bind(state)
      state.lost = (slot, now, fault) => {
        const idle = slot.phase === "Idle"
        lost(slot, now, fault)
        if (idle) dispatcher.recycle(slot, now)
      }
    })
  ],
  [
    "does not open what min asks for",
    /nothing is opened|floor is/,
    (options, random) => new PoolState({ ...options, min: 0 }, random)
  ],
  [
    "does not open another connection when one was closed",
    /nothing is opened/,
    broken((state, { dispatcher }) => {
      const closed = state.closed.bind(state)
      state.closed = (slot, now) => {
        const openForDemand = dispatcher.openForDemand
        dispatcher.openForDemand = () => {}
        closed(slot, now)
        dispatcher.openForDemand = openForDemand
      }
    })
  ],
  [
    "never tries to connect again",
    /wait for ever|nothing is opened|prober is due/,
    broken((state, { opening }) => {
      const connectFailed = state.connectFailed.bind(state)
      state.connectFailed = (slot, now, permanent) => {
        connectFailed(slot, now, permanent)
        opening.retryAt = 1e100
      }
    })
  ],
  [
    "lends without a ping",
    /without a ping/,
    (options, random) => new PoolState({ ...options, validateAfter: Infinity }, random)
  ],
  [
    "lends what is too old",
    /too old|lifetime is due/,
    (options, random) => new PoolState({ ...options, lifetime: Infinity }, random)
  ],
  [
    "fails too early",
    /failed too early/,
    (options, random) => new PoolState({ ...options, acquireTimeout: options.acquireTimeout / 2 }, random)
  ],
  [
    "fails too late",
    /waits after its deadline|is due/,
    broken((_, { agenda }) => {
      const wake = agenda.wake.bind(agenda)
      agenda.wake = (at) => wake(at + 1)
    })
  ],
  [
    "forgets to ask for the timer",
    /is due/,
    broken((_, { agenda }) => {
      agenda.wake = (at) => {
        const private_ = agenda as unknown as Private<"wakeAt", number>
        private_.wakeAt = Math.min(private_.wakeAt, at)
      }
    })
  ],
  [
    "asks for the timer again and again",
    /again and again/,
    broken((state, { agenda }) => {
      const tick = state.tick.bind(state)
      state.tick = (now) => {
        tick(now)
        agenda.wake(now)
      }
    })
  ],
  [
    "sends a statement to wait behind an unknown one",
    /behind an unknown|unproven/,
    broken((_, { sharing }) => {
      const join = sharing.join.bind(sharing)
      sharing.join = (slot, lease) => {
        join(slot, lease)
        slot.unproven = 0
      }
    })
  ],
  [
    "sends a statement to wait behind an abandoned one",
    /abandoned|unproven|no answer took/,
    broken((state) => {
      const end = state.end.bind(state)
      state.end = (lease, now, ready) => end(lease, now, ready, true)
    })
  ],
  [
    "sends a statement to wait behind a slow one",
    /behind a slow one/,
    (options, random) => new PoolState({ ...options, slowStatement: options.slowStatement * 10 }, random)
  ],
  [
    "has more statements on a connection than pipelineDepth",
    /more than pipelineDepth|limit on what runs/,
    (options, random) => new PoolState({ ...options, pipelineDepth: options.pipelineDepth + 1 }, random)
  ],
  [
    "empties no connection for those who wait for a whole one",
    /reserved for those who wait/,
    broken((_, { sharing }) => {
      sharing.reserve = () => {}
    })
  ],
  [
    "keeps a connection reserved for nobody",
    /reserved for those who wait/,
    broken((_, { sharing }) => {
      sharing.release = () => {}
    })
  ],
  [
    "lets one more run than the adaptive limit",
    /run \(|running is/,
    broken((_, { dispatcher, limiter }) => {
      if (limiter === undefined) return
      const pick = dispatcher.pick.bind(dispatcher)
      dispatcher.pick = (lease, now) => {
        limiter.limit++
        const slot = pick(lease, now)
        limiter.limit--
        return slot
      }
    })
  ],
  [
    "forgets the answer that a connection owes",
    /answer is due/,
    broken((_, { connections }) => {
      Object.defineProperty(connections, "unansweredAt", { get: () => Infinity })
    })
  ],
  [
    "does not ask by itself whether the server is back",
    /prober is due/,
    broken((_, { dispatcher }) => {
      Object.defineProperty(dispatcher, "isProbing", { get: () => false })
    })
  ],
  [
    "grows too early",
    /ScaledUp|floor is/,
    (options, random) =>
      new PoolState({ ...options, scaling: options.scaling && { ...options.scaling, utilization: 0.4 } }, random)
  ],
  [
    "grows too late",
    /ScaledUp|floor is/,
    (options, random) =>
      new PoolState(
        { ...options, scaling: options.scaling && { ...options.scaling, utilization: 1, wait: 1e9 } },
        random
      )
  ],
  [
    "closes what was needed lately",
    /ScaledDown/,
    broken((_, { demand }) => {
      Object.defineProperty(needsOf(demand) ?? {}, "median", { get: () => 0 })
    })
  ],
  [
    "keeps what was not needed lately",
    /ScaledDown/,
    broken((_, { demand }) => {
      Object.defineProperty(needsOf(demand) ?? {}, "median", { get: () => Infinity })
    })
  ],
  [
    "does not look at demand",
    /scaling is due/,
    broken((_, { demand }) => {
      demand.began = () => {}
    })
  ],
  [
    "looks at demand while nobody comes",
    /floor is|instead of|drained|sampled|again and again|was expected|woken/,
    broken((_, { demand }) => {
      Object.defineProperty(demand.scaling?.meter ?? {}, "isAtRest", { get: () => false })
    })
  ],
  [
    "takes for demand what has ended",
    /ScaledUp|ScaledDown|floor is|woken/,
    broken((_, { demand }) => {
      if (demand.scaling !== undefined) demand.scaling.meter.ended = () => {}
    })
  ],
  [
    "opens connections ahead of demand for which there is no room elsewhere",
    /ScaledUp|floor is/,
    broken((state) => {
      Object.defineProperty(state, "roomInQuota", { get: () => Infinity, set: () => {} })
    })
  ],
  [
    "is drained twice",
    /drained twice|Drained after Drained/,
    broken((it) => {
      const state = it as unknown as Private<"drained", () => void>
      const drained = state.drained.bind(state)
      state.drained = () => {
        drained()
        drained()
      }
    })
  ],
  [
    "is never drained",
    /drained is 0/,
    broken((it) => {
      const state = it as unknown as Private<"drained", () => void>
      state.drained = () => {}
    })
  ],
  [
    "goes on opening connections after the shutdown",
    /after shutdown|drained is 0/,
    broken((state, { dispatcher }) => {
      const closed = state.closed.bind(state)
      state.closed = (slot, now) => {
        const closing = dispatcher.closing
        dispatcher.closing = false
        closed(slot, now)
        dispatcher.closing = closing
      }
    })
  ]
]

describe("The checker finds a pool that", () => {
  for (const [name, found, make] of mutants) {
    it(name, () => {
      const { problem } = search(make, exactSeed(2), 200, 300)
      assert.match(problem ?? "nothing", found)
    }, 60_000)
  }
})
