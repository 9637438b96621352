/** The machine against random losses, promotions, lags and stalls of the client: what it believes is checked. */
import { assert, describe, it } from "@effect/vitest"
import { Node, type NodeSpec } from "../../../src/cluster/state/Node.ts"
import type { Observation } from "../../../src/cluster/state/Observation.ts"
import type { Sample } from "../../../src/cluster/state/Samples.ts"
import type { Action } from "../../../src/cluster/state/TopologyEvent.ts"
import { TopologyState } from "../../../src/cluster/state/TopologyState.ts"
import { type Seed, seed } from "../../support/seed.ts"
import { type Entry, type Machine, World } from "./world.ts"

const options = { probe: 1_000, maxStaleness: 5_000, warmUp: 2_000 }

const happen = (world: World, random: Seed): void => {
  const server = random.pick(world.servers as unknown as readonly [World["servers"][number]])
  switch (random.int(0, 9)) {
    case 0:
      return world.crash(server)
    case 1:
    case 2:
      return world.revive(server)
    case 3:
      return world.promote(server)
    case 4:
      server.isReachable = false
      return
    case 5:
    case 6:
      server.isReachable = true
      return
    case 7:
      // It stands still, falls behind, or keeps up.
      server.pace = random.int(0, 3)
      return
    case 8:
      if (world.primary !== undefined && server !== world.primary) world.follow(server, world.primary)
      return
    case 9:
      // Evidence from somewhere else, right or wrong.
      return random.chance(0.5)
        ? world.machine.suspect(random.pick(world.machine.nodes as unknown as readonly [Node]), world.now)
        : world.machine.doubt(random.pick(world.machine.nodes as unknown as readonly [Node]), world.now)
  }
}

/** Runs a history, and returns what was wrong with it. */
const run = (machine: (random: Seed) => Machine, random: Seed, events: number): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const world = new World(machine(random.fork()), random, random.int(2, 5))
  let generation = 0
  let believed: ReadonlyArray<Entry> | undefined
  const check = (): void => {
    const { machine } = world
    const primaries = machine.nodes.filter(({ status }) => status === "Primary")
    if (primaries.length > 1) problems.push("two primaries at once")
    const { writer } = machine
    if (writer !== undefined && world.serverOf(writer).isPrimary) believed = world.serverOf(writer).log
    if (writer !== undefined && writer.status !== "Primary") problems.push("a writer that is no primary")
    if ((machine.generation ?? 0) < generation) problems.push("the generation fell")
    generation = Math.max(generation, machine.generation ?? 0)
    if (writer !== undefined && writer.generation! < generation) problems.push("writes to an older generation")
    for (const bound of [1_500, 5_000, 60_000]) {
      const node = machine.choose({ bound }, world.now)
      if (node === undefined) continue
      const server = world.serverOf(node)
      // A server that has crashed fails the read. One that is there must be as fresh as was asked for: as the primary
      // that the client has seen last has it, or as the real one has it, which the client need not have seen yet.
      if (!server.isUp || server.isPrimary || believed === undefined) continue
      const histories = world.newest === undefined ? [believed] : [believed, world.newest.log]
      if (histories.every((history) => world.staleness(server, history) > bound)) {
        problems.push(`a read that may be ${bound} ms old was older`)
      }
    }
  }
  for (let i = 0; i < events; i++) {
    happen(world, random)
    for (let j = random.int(1, 8); j > 0; j--) {
      world.pass(random.chance(0.02) ? 5_000 : 100)
      check()
    }
  }
  world.heal()
  world.pass(6_000)
  const now = world.machine
  if (now.writer === undefined || world.serverOf(now.writer) !== world.primary) {
    problems.push("the primary is not found")
  }
  const served = new Map<Node, number>()
  const before = now.nodes.map(({ since }) => since)
  for (let i = 0; i < 3_000; i++) {
    const node = now.choose({ bound: 5_000 }, world.now)
    if (node !== undefined) served.set(node, (served.get(node) ?? 0) + 1)
    if (i % 100 === 0) world.pass(100)
  }
  const replicas = now.nodes.length - 1
  if (served.size < replicas || Math.min(...served.values()) < 3_000 / replicas / 4) problems.push("a node is starved")
  if (now.nodes.some(({ since }, i) => since !== before[i])) problems.push("a node flaps although nothing happens")
  return Array.from(new Set(problems))
}

const make = (random: Seed): Machine => new TopologyState(options, random.next, 0)

describe("random histories", () => {
  it("never have two primaries, a stale read, a starved node, or one that flaps", () => {
    const random = seed(17)
    for (let i = 0; i < 150; i++) {
      const history = random.fork()
      const { value } = history
      assert.deepStrictEqual(run(make, history, 60), [], `history ${value} of seed ${random.value}`)
    }
  })
})

/** Believes each answer, and takes everybody for fresh. */
class Naive implements Machine {
  readonly actions: Array<Action> = []
  readonly samples = { newestFirst: [] }
  writer: Node | undefined = undefined
  generation: number | undefined = undefined
  readonly nodes: Array<Node> = []
  private turn = 0

  add(spec: NodeSpec, now: number): Node {
    const node = new Node(spec, now)
    this.nodes.push(node)
    this.tick(now)
    return node
  }
  answered(node: Node, { generation, role }: Observation, _: ReadonlyArray<Sample>, now: number): void {
    node.isAsked = false
    node.dueAt = now + 100
    node.status = role === "primary" ? "Primary" : "Replica"
    node.observation = { role, generation } as Observation
    this.generation = Math.max(this.generation ?? 0, generation ?? 0)
    this.writer = this.nodes.find(({ status }) => status === "Primary")
    this.tick(now)
  }
  failed(node: Node, _: unknown, now: number): void {
    node.isAsked = false
    node.dueAt = now + 100
    node.status = "Unreachable"
    this.writer = this.nodes.find(({ status }) => status === "Primary")
    this.tick(now)
  }
  suspect(): void {}
  doubt(): void {}
  tick(now: number): void {
    for (const node of this.nodes) {
      if (node.isAsked || node.dueAt > now) continue
      node.isAsked = true
      node.askedAt = now
      this.actions.push({ _tag: "Probe", node })
    }
    this.actions.push({ _tag: "Wake", at: now + 50 })
  }
  choose(): Node | undefined {
    const all = this.nodes.filter(({ status }) => status === "Replica")
    return all[this.turn++ % all.length]
  }
}

describe("the checks", () => {
  const problemsOf = (machine: (random: Seed) => Machine): ReadonlySet<string> => {
    const random = seed(18)
    return new Set(Array.from({ length: 40 }, () => run(machine, random.fork(), 60)).flat())
  }

  it("fail a machine that believes each answer, and takes turns", () => {
    const problems = problemsOf(() => new Naive())
    for (const problem of ["two primaries at once", "writes to an older generation"]) {
      assert.isTrue(problems.has(problem), problem)
    }
    assert.isTrue(Array.from(problems).some((problem) => problem.startsWith("a read that may be")))
  })

  it("fail one that does not look at generations", () => {
    class Blind extends TopologyState {
      override answered(node: Node, observation: Observation, samples: ReadonlyArray<Sample>, now: number): void {
        super.answered(node, { ...observation, generation: 1 }, samples, now)
      }
    }
    const problems = problemsOf((random) => new Blind(options, random.next, 0))
    assert.isAbove(problems.size, 0)
  })

  it("fail one that counts the age of a sample from its answer to a replica", () => {
    class Late extends TopologyState {
      override answered(node: Node, observation: Observation, samples: ReadonlyArray<Sample>, now: number): void {
        super.answered(node, observation, samples.map((sample) => ({ ...sample, at: now })), now)
      }
    }
    const problems = problemsOf((random) => new Late(options, random.next, 0))
    assert.isTrue(Array.from(problems).some((problem) => problem.startsWith("a read that may be")))
  })
})
