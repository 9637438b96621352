/** How reads are spread over replicas that are not equally quick: simulated, one event after the other. */
import { assert, describe, it } from "@effect/vitest"
import type { Node } from "../../../src/cluster/state/Node.ts"
import { TopologyState } from "../../../src/cluster/state/TopologyState.ts"
import { type Seed, seed } from "../../support/index.ts"

interface Server {
  readonly node: Node
  /** How long one read takes there, in milliseconds. */
  pace: number
  /** When each of its connections is free again. */
  readonly free: Array<number>
  /** When the reads that are there end. */
  readonly ends: Array<{ readonly at: number; readonly millis: number }>
  served: number
}

const connections = 4

const make = (random: Seed, paces: ReadonlyArray<number>, warmUp = 0) => {
  const state = new TopologyState({ probe: 1_000, maxStaleness: 10_000, warmUp }, random.next, 0)
  const servers = paces.map((pace, index): Server => {
    const node = state.add({ name: `node${index}` }, 0)
    node.status = "Replica"
    node.observedAt = 0
    node.provedAt = 0
    node.servesSince = -Infinity
    node.load.max = connections
    return { node, pace, free: Array.from({ length: connections }, () => 0), ends: [], served: 0 }
  })
  return { state, servers }
}

/** Reads come at random, so many in a millisecond. Succeeds with how long each one took. */
const run = (
  { servers, state }: ReturnType<typeof make>,
  options: {
    readonly random: Seed
    readonly rate: number
    readonly from: number
    readonly millis: number
    readonly choose: (now: number) => Server
    readonly each?: (now: number) => void
  }
): ReadonlyArray<number> => {
  const took: Array<number> = []
  const end = options.from + options.millis
  for (let now = options.from; now < end; now += -Math.log(1 - options.random.next()) / options.rate) {
    for (const { ends, node } of servers) {
      while (ends.length > 0 && ends[0]!.at <= now) {
        const { at, millis } = ends.shift()!
        node.load.inFlight--
        state.ended(node, millis, false, at)
      }
    }
    options.each?.(now)
    const server = options.choose(now)
    const first = server.free.indexOf(Math.min(...server.free))
    const at = Math.max(now, server.free[first]!) + server.pace * (0.5 + options.random.next())
    server.free[first] = at
    server.node.load.inFlight++
    server.served++
    server.ends.push({ at, millis: at - now })
    server.ends.sort((a, b) => a.at - b.at)
    took.push(at - now)
  }
  return took
}

const percentile = (values: ReadonlyArray<number>, part: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * part)]!

const chosen = ({ servers, state }: ReturnType<typeof make>) => (now: number): Server => {
  const node = state.choose({ bound: Infinity }, now)
  return servers.find((server) => server.node === node)!
}

const inTurn = ({ servers }: ReturnType<typeof make>) => {
  let turn = 0
  return () => servers[turn++ % servers.length]!
}

describe("the reads of replicas", () => {
  it("of which one is ten times slower take half as long at most as in turn, all but one in a hundred", () => {
    const results = ["chosen", "in turn"].map((how) => {
      const random = seed(31)
      const world = make(random, [2, 2, 20])
      const choose = how === "chosen" ? chosen(world) : inTurn(world)
      const took = run(world, { random, rate: 1.2, from: 0, millis: 10_000, choose })
      return { p99: percentile(took, 0.99), slow: world.servers[2]!.served / took.length }
    })
    const [own, naive] = results as [typeof results[number], typeof results[number]]
    assert.isBelow(own.p99, naive.p99 / 2)
    assert.isBelow(own.slow, 0.15)
    // It is still asked, or nobody would see it become quick again.
    assert.isAbove(own.slow, 0)
  })

  it("are spread evenly where all are equally quick", () => {
    const random = seed(32)
    const world = make(random, [2, 2, 2, 2])
    const took = run(world, { random, rate: 3, from: 0, millis: 20_000, choose: chosen(world) })
    for (const { served } of world.servers) assert.closeTo(served / took.length, 0.25, 0.03)
  })

  it("come back to one that has become quick, and never all at once", () => {
    const random = seed(33)
    const world = make(random, [2, 2, 20])
    const choose = chosen(world)
    run(world, { random, rate: 1.2, from: 0, millis: 20_000, choose })
    const [, , slow] = world.servers as [Server, Server, Server]
    slow.pace = 2
    slow.served = 0
    let most = 0
    const each = () => void (most = Math.max(most, slow.node.load.inFlight))
    const took = run(world, { random, rate: 1.2, from: 20_000, millis: 60_000, choose, each })
    assert.isAbove(slow.served / took.length, 0.2)
    assert.isAtMost(most, 4 * connections)
  })

  it("warm up one that has just come into use", () => {
    const random = seed(34)
    const world = make(random, [2, 2, 2], 10_000)
    const [, , fresh] = world.servers as [Server, Server, Server]
    fresh.node.servesSince = 0
    const choose = chosen(world)
    const early = run(world, { random, rate: 1.5, from: 0, millis: 1_000, choose })
    assert.isBelow(fresh.served / early.length, 0.2)
    fresh.served = 0
    const late = run(world, { random, rate: 1.5, from: 10_000, millis: 20_000, choose })
    assert.closeTo(fresh.served / late.length, 1 / 3, 0.05)
  })
})
