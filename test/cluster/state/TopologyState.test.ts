/** The decisions about the nodes of a cluster, stepped by hand. */
import { assert, describe, it } from "@effect/vitest"
import type { Node } from "../../../src/cluster/state/Node.ts"
import type { Observation } from "../../../src/cluster/state/Observation.ts"
import { costOf } from "../../../src/cluster/state/ReadChoice.ts"
import { TopologyState } from "../../../src/cluster/state/TopologyState.ts"

/** A cluster whose nodes answer when the test says so. */
const make = (options: { readonly names?: ReadonlyArray<string>; readonly maxStaleness?: number } = {}) => {
  let now = 0
  const state = new TopologyState(
    { probe: 1_000, maxStaleness: options.maxStaleness ?? 10_000, warmUp: 10_000 },
    () => 0.5,
    now
  )
  const nodes = (options.names ?? ["a", "b", "c"]).map((name) => state.add({ name }, now))
  const [a, b, c] = nodes as [Node, Node, Node]
  /** Lets a node be asked, at a later time, and answer. */
  const ask = (node: Node, answer: (node: Node) => void): void => {
    for (let i = 0; i < 100 && !node.isAsked; i++) {
      now += 10
      node.dueAt = Math.min(node.dueAt, now)
      state.tick(now)
    }
    now += 1
    answer(node)
  }
  const says = (node: Node, answer: Partial<Observation>): void =>
    ask(node, () =>
      state.answered(
        node,
        {
          role: "replica",
          server: `server ${node.spec.name}`,
          lineage: "bank",
          generation: state.generation,
          position: undefined,
          has: undefined,
          ...answer
        },
        state.samples.newestFirst,
        now
      ))
  return {
    state,
    nodes,
    a,
    b,
    c,
    says,
    primary: (node: Node, generation: number | undefined = 1, position = String(now)) =>
      says(node, { role: "primary", generation, position }),
    replica: (node: Node, has: number | null = 0, generation: number | null | undefined = state.generation) =>
      says(node, { has: has ?? undefined, generation: generation ?? undefined }),
    fails: (node: Node, reason: "Refused" | "Silent") => ask(node, () => state.failed(node, reason, now)),
    later: (millis: number) => {
      now += millis
    },
    now: () => now,
    statuses: () => nodes.map(({ status }) => status).join(" "),
    events: () => {
      const events = state.actions.flatMap((action) => action._tag === "Report" ? [action.event] : [])
      state.actions.length = 0
      return events
    }
  }
}

describe("who is the primary", () => {
  it("asks all nodes at once, and believes what they say", () => {
    const { a, b, c, events, primary, replica, state, statuses } = make()
    assert.isTrue(a.isAsked && b.isAsked && c.isAsked)
    assert.isUndefined(state.writer)
    replica(b, null, 1)
    primary(a)
    assert.strictEqual(state.writer, a)
    replica(c)
    assert.strictEqual(statuses(), "Primary Replica Replica")
    assert.include(events().map(({ _tag }) => _tag), "PrimaryFound")
  })

  it("goes on when one refuses, and when it has not answered twice", () => {
    for (const how of [["Refused"], ["Silent", "Silent"]] as const) {
      const { a, b, fails, primary, replica, state } = make()
      primary(a)
      replica(b)
      for (const reason of how) {
        assert.strictEqual(state.writer, a)
        fails(a, reason)
      }
      assert.isUndefined(state.writer)
      assert.strictEqual(a.status, "Unreachable")
      primary(b, 2)
      assert.strictEqual(state.writer, b)
    }
  })

  it("fences the old one at the sight of a newer generation", () => {
    const { a, b, events, later, primary, replica, state, statuses } = make()
    primary(a)
    replica(b)
    events()
    later(500)
    primary(b, 2)
    assert.strictEqual(state.writer, b)
    assert.strictEqual(statuses(), "Fenced Primary Unknown")
    // It still says that it is the primary, and stays fenced.
    primary(a)
    assert.strictEqual(state.writer, b)
    assert.strictEqual(a.status, "Fenced")
    // It comes back as a standby of the new one.
    replica(a, 0, 2)
    assert.strictEqual(a.status, "Replica")
    const told = events()
    // At no time there was none.
    assert.deepInclude(told, { _tag: "PrimaryFound", node: "b", generation: 2, afterMillis: 0 })
    assert.deepStrictEqual(
      told.map((event) => event._tag).filter((tag) => tag !== "RoleChanged"),
      ["Fenced", "PrimaryLost", "PrimaryFound", "NodeReturned"]
    )
  })

  it("writes nowhere when a replica tells of a newer generation than that of the only primary in sight", () => {
    const { a, b, primary, replica, state } = make()
    primary(a)
    replica(b, 0, 1)
    assert.strictEqual(state.writer, a)
    replica(b, null, 2)
    assert.isUndefined(state.writer)
    assert.strictEqual(a.status, "Fenced")
  })

  it("uses no replica of an older generation, nor one that does not say", () => {
    const { a, b, c, primary, replica } = make()
    primary(a)
    replica(b, 0, 1)
    assert.strictEqual(b.status, "Replica")
    replica(c, 0, null)
    assert.strictEqual(c.status, "Joining")
    primary(a, 2)
    assert.strictEqual(b.status, "Joining")
    replica(b, 0, 2)
    assert.strictEqual(b.status, "Replica")
  })

  it("asks again before it calls two primaries of one generation a split brain", () => {
    const { a, b, events, primary, replica, state, statuses } = make()
    primary(a)
    events()
    primary(b)
    assert.isUndefined(state.writer)
    assert.isFalse(events().some(({ _tag }) => _tag === "SplitBrain"))
    primary(a)
    primary(b)
    assert.isUndefined(state.writer)
    assert.strictEqual(statuses(), "Fenced Fenced Unknown")
    assert.isTrue(events().some(({ _tag }) => _tag === "SplitBrain"))
    replica(b)
    assert.strictEqual(state.writer, a)
  })

  it("takes the one that a person has pinned out of a split brain", () => {
    const { a, b, now, primary, state } = make()
    primary(a)
    primary(b)
    primary(a)
    primary(b)
    state.pin(b, now())
    assert.strictEqual(state.writer, b)
    assert.strictEqual(a.status, "Fenced")
  })

  it("goes back to an older generation only when a person has pinned its primary", () => {
    const { a, b, c, now, primary, replica, state, statuses } = make()
    primary(a)
    replica(b)
    primary(b, 2)
    assert.strictEqual(state.writer, b)
    // Whoever decides about the servers has gone back: the newer one is thrown away.
    b.isRefusing = true
    primary(a)
    replica(c, null, 1)
    assert.isUndefined(state.writer)
    state.pin(a, now())
    assert.strictEqual(state.writer, a)
    assert.strictEqual(state.generation, 1)
    // It is still there, and nobody believes it.
    primary(b, 2)
    replica(c, null, 2)
    assert.strictEqual(state.writer, a)
    assert.strictEqual(statuses(), "Primary Fenced Fenced")
    // They follow the one that was pinned, and are promoted in its history.
    replica(b, 0, 1)
    replica(c, 0, 1)
    assert.strictEqual(statuses(), "Primary Replica Replica")
    state.pin(undefined, now())
    primary(c, 3)
    assert.strictEqual(state.writer, c)
    assert.strictEqual(a.status, "Fenced")
  })

  it("takes two addresses of one server for one", () => {
    const { a, b, says, state, statuses } = make()
    says(a, { role: "primary", generation: 1, server: "same", position: "1" })
    says(b, { role: "primary", generation: 1, server: "same", position: "1" })
    assert.strictEqual(state.writer, a)
    assert.strictEqual(statuses(), "Primary Joining Unknown")
  })

  it("remembers who has followed whom where servers have no generations", () => {
    const { a, b, fails, says, state } = make()
    says(a, { role: "primary", position: "1" })
    fails(a, "Refused")
    says(b, { role: "primary", position: "1" })
    assert.strictEqual(state.writer, b)
    says(a, { role: "primary", position: "1" })
    assert.strictEqual(state.writer, b)
    assert.strictEqual(a.status, "Fenced")
  })

  it("never uses a server of another cluster", () => {
    const { a, b, primary, says, state } = make()
    primary(a)
    says(b, { role: "primary", lineage: "shop", generation: 9, position: "1" })
    assert.strictEqual(state.writer, a)
    assert.strictEqual(b.status, "Fenced")
    assert.strictEqual(state.generation, 1)
  })

  it("chooses one of those that all take writes, and stays with it", () => {
    const { a, b, c, fails, nodes, says, state, statuses } = make()
    for (const node of nodes) says(node, { role: "peer", generation: 3, position: "1" })
    assert.strictEqual(statuses(), "Primary Replica Replica")
    fails(a, "Refused")
    for (const node of [b, c]) says(node, { role: "peer", generation: 4, position: "1" })
    assert.strictEqual(state.writer, b)
    says(a, { role: "peer", generation: 4, position: "1" })
    assert.strictEqual(state.writer, b)
    assert.strictEqual(a.status, "Replica")
  })

  it("chooses the one of them that all programs choose, when all have answered, and not one that has just come back", () => {
    const { a, b, c, fails, says, state } = make()
    const peer = (node: Node, rank: number) => says(node, { role: "peer", generation: 3, position: "1", rank })
    peer(a, 2)
    peer(b, 1)
    assert.isUndefined(state.writer)
    assert.strictEqual(a.status, "Joining")
    peer(c, 0)
    assert.strictEqual(state.writer, c)
    fails(c, "Refused")
    assert.strictEqual(state.writer, b)
    peer(c, 0)
    assert.strictEqual(state.writer, b)
    peer(c, 0)
    assert.strictEqual(state.writer, c)
  })

  it("does not wait for one that hangs", () => {
    const { a, b, c, fails, says, state } = make()
    says(b, { role: "peer", generation: 3, position: "1", rank: 1 })
    fails(a, "Silent")
    fails(c, "Refused")
    assert.strictEqual(state.writer, b)
  })

  it("writes nothing to a node that is doubted, until it has been asked", () => {
    const { a, now, primary, state } = make()
    primary(a)
    state.doubt(a, now())
    assert.isUndefined(state.writer)
    assert.strictEqual(a.status, "Primary")
    primary(a)
    assert.strictEqual(state.writer, a)
  })

  it("does not take an answer to an older question for the end of a doubt", () => {
    const { a, later, now, primary, state } = make()
    primary(a)
    later(500)
    a.dueAt = now()
    state.tick(now())
    assert.isTrue(a.isAsked)
    later(5)
    state.doubt(a, now())
    primary(a)
    assert.isUndefined(state.writer)
    primary(a)
    assert.strictEqual(state.writer, a)
  })
})

describe("when nodes are asked", () => {
  it("once in the interval, the replicas right after the primary", () => {
    const { a, b, c, later, now, primary, replica } = make()
    primary(a)
    replica(b)
    replica(c)
    later(200)
    // Nodes were asked in quick succession until there was a primary.
    primary(a)
    for (const node of [b, c]) replica(node)
    assert.isAtLeast(a.dueAt - a.askedAt, 900)
    assert.isAtMost(a.dueAt - a.askedAt, 1_100)
    later(500)
    primary(a)
    assert.isAtMost(b.dueAt, now() + 20)
  })

  it("all of them, and often, while there is no primary", () => {
    const { a, b, fails, primary, replica } = make()
    primary(a)
    replica(b)
    fails(a, "Refused")
    replica(b)
    assert.isAtMost(b.dueAt - b.askedAt, 110)
  })

  it("all of them, as soon as something is wrong with the primary", () => {
    for (const wrong of ["a miss", "a lost connection"]) {
      const { a, b, c, fails, later, now, primary, replica, state } = make()
      primary(a)
      for (const node of [b, c]) replica(node)
      later(200)
      primary(a)
      for (const node of [b, c]) replica(node)
      later(200)
      if (wrong === "a miss") fails(a, "Silent")
      else state.suspect(a, now())
      for (const node of [b, c]) assert.isTrue(node.isAsked, wrong)
      assert.strictEqual(state.writer, a)
    }
  })

  it("at once on suspicion, but never in quick succession", () => {
    const { a, now, primary, state } = make()
    primary(a)
    state.suspect(a, now())
    assert.isFalse(a.isAsked)
    state.tick(a.askedAt + 100)
    assert.isTrue(a.isAsked)
  })

  it("more often for a while after a small bound was asked for", () => {
    const { a, later, now, primary, state } = make()
    primary(a)
    later(300)
    state.wants(600, now())
    assert.isTrue(a.isAsked)
    primary(a)
    assert.isAtMost(a.dueAt - a.askedAt, 220)
    later(10_001)
    primary(a)
    assert.isAtLeast(a.dueAt - a.askedAt, 900)
  })
})

describe("who serves a read", () => {
  const anything = { bound: Infinity }

  it("nobody of whom it is not known how stale it is", () => {
    const { a, b, now, primary, replica, state } = make()
    replica(b, null, 1)
    primary(a)
    assert.isUndefined(state.choose(anything, now()))
    assert.strictEqual(state.choose({ ...anything, unproved: true }, now()), b)
    replica(b)
    assert.strictEqual(state.choose(anything, now()), b)
  })

  it("only one within the bound, which is counted from when the primary was asked", () => {
    const { a, b, later, now, primary, replica, state } = make()
    primary(a)
    const asked = a.observedAt
    replica(b)
    later(1_000)
    assert.strictEqual(state.choose({ bound: now() - asked }, now()), b)
    assert.isUndefined(state.choose({ bound: now() - asked - 1 }, now()))
  })

  it("one that lags is ejected, and comes back when it has caught up well", () => {
    const { a, b, events, later, now, primary, replica, state } = make({ maxStaleness: 1_000 })
    primary(a)
    replica(b)
    for (let i = 0; i < 3; i++) {
      later(600)
      primary(a)
      replica(b, null)
    }
    assert.isUndefined(state.choose(anything, now()))
    assert.isTrue(events().some((event) => event._tag === "NodeEjected" && event.reason === "Behind"))
    replica(b, 1)
    assert.isUndefined(state.choose(anything, now()))
    replica(b, 0)
    assert.strictEqual(state.choose(anything, now()), b)
  })

  it("does not fall behind while there is no primary", () => {
    const { a, b, fails, later, now, primary, replica, state } = make({ maxStaleness: 1_000 })
    primary(a)
    replica(b)
    fails(a, "Refused")
    later(60_000)
    replica(b, null)
    assert.strictEqual(state.choose(anything, now()), b)
    assert.isUndefined(state.choose({ bound: 10_000 }, now()))
  })

  it("one that was gone answers twice before it serves, and what it had before its restart is forgotten", () => {
    const { a, b, fails, now, primary, replica, says, state } = make()
    primary(a)
    replica(b)
    fails(b, "Refused")
    assert.isUndefined(state.choose(anything, now()))
    says(b, { server: "server b again" })
    says(b, { server: "server b again" })
    assert.isUndefined(state.choose(anything, now()))
    says(b, { server: "server b again", has: 0 })
    assert.strictEqual(state.choose(anything, now()), b)
  })

  it("the own zone, unless it is nearly full; never what is kept for something else", () => {
    const state = new TopologyState({ probe: 1_000, maxStaleness: 10_000, warmUp: 0 }, Math.random, 0)
    const serves = (name: string, zone: string, use?: string) => {
      const node = state.add({ name, zone, use }, 0)
      Object.assign(node, { status: "Replica", observedAt: 0, provedAt: 0, servesSince: 0 })
      node.load.max = 10
      return node
    }
    const [near, far, report] = [serves("near", "x"), serves("far", "y"), serves("report", "x", "reports")]
    for (let i = 0; i < 50; i++) assert.strictEqual(state.choose({ bound: Infinity, zone: "x" }, 0), near)
    near.load.inFlight = 8
    assert.strictEqual(state.choose({ bound: Infinity, zone: "x" }, 0), far)
    assert.strictEqual(state.choose({ bound: Infinity, use: "reports" }, 0), report)
  })

  it("the one that is less busy, quicker, or has been there for longer", () => {
    const { a, b, c, primary, replica } = make()
    primary(a)
    replica(b)
    replica(c)
    b.load.inFlight = 5
    assert.isAbove(costOf(b, 20_000, 10_000), costOf(c, 20_000, 10_000))
    b.load.inFlight = 0
    Object.assign(b, { latency: 100, latencyAt: 20_000 })
    assert.isAbove(costOf(b, 20_000, 10_000), costOf(c, 20_000, 10_000))
    // It is tried again.
    assert.isBelow(costOf(b, 120_000, 10_000), 1.1)
    Object.assign(b, { latency: 0, servesSince: 119_000 })
    assert.isAbove(costOf(b, 120_000, 10_000), 5)
  })

  it("another one than where a call has just failed, if there is one", () => {
    const { a, b, c, now, primary, replica, state } = make()
    primary(a)
    replica(b)
    replica(c)
    state.ended(b, 1, true, now())
    for (let i = 0; i < 20; i++) assert.strictEqual(state.choose(anything, now()), c)
    state.ended(c, 1, true, now())
    assert.isDefined(state.choose(anything, now()))
  })
})
