/**
 * A small world of servers that replicate, are promoted, crash, come back and are cut off, and a client that is told
 * about them by a machine. What is true is known here, so that what the machine believes can be checked against it.
 */
import type { Node } from "../../../src/cluster/state/Node.ts"
import type { Observation } from "../../../src/cluster/state/Observation.ts"
import type { Sample } from "../../../src/cluster/state/Samples.ts"
import type { Action } from "../../../src/cluster/state/TopologyEvent.ts"
import type { Seed } from "../../support/seed.ts"

/** What the world needs of a machine: `TopologyState`, or a naive one. */
export interface Machine {
  readonly actions: Array<Action>
  readonly samples: { readonly newestFirst: ReadonlyArray<Sample> }
  readonly writer: Node | undefined
  readonly nodes: ReadonlyArray<Node>
  readonly generation: number | undefined
  readonly add: (spec: { readonly name: string }, now: number) => Node
  readonly answered: (node: Node, observation: Observation, samples: ReadonlyArray<Sample>, now: number) => void
  readonly failed: (node: Node, reason: "Refused" | "Silent", now: number) => void
  readonly suspect: (node: Node, now: number) => void
  readonly doubt: (node: Node, now: number) => void
  readonly tick: (now: number) => void
  readonly choose: (query: { readonly bound: number }, now: number) => Node | undefined
}

/** A log: what was written, by which primary. Two logs agree up to where they have parted. */
export interface Entry {
  readonly generation: number
  readonly at: number
}

export interface Server {
  readonly name: string
  isUp: boolean
  isPrimary: boolean
  generation: number
  start: number
  /** Which start of it the connections of the client belong to. */
  connectedTo: number
  log: Array<Entry>
  /** Whom it follows. */
  follows: Server | undefined
  /** How many entries it takes over in one step. */
  pace: number
  /** Whether the client can reach it. */
  isReachable: boolean
}

interface Question {
  readonly node: Node
  readonly server: Server
  readonly samples: ReadonlyArray<Sample>
  readonly at: number
}

export class World {
  now = 0
  readonly servers: Array<Server> = []
  readonly machine: Machine
  /** The highest generation there is. */
  generation = 1
  private readonly seed: Seed
  private readonly questions: Array<Question> = []
  /** Whether all answers come soon. */
  private isCalm = false
  private wakeAt = Infinity

  constructor(machine: Machine, seed: Seed, size: number) {
    this.machine = machine
    this.seed = seed
    for (let i = 0; i < size; i++) {
      this.servers.push({
        name: `s${i}`,
        isUp: true,
        isPrimary: i === 0,
        generation: 1,
        start: 0,
        connectedTo: 0,
        log: [],
        follows: this.servers[0],
        pace: 3,
        isReachable: true
      })
    }
    for (const { name } of this.servers) machine.add({ name }, 0)
    this.perform()
  }

  serverOf(node: Node): Server {
    return this.servers.find(({ name }) => name === node.spec.name)!
  }

  /** The real primary: that of the highest generation. */
  get primary(): Server | undefined {
    const { newest } = this
    return newest?.isUp === true ? newest : undefined
  }

  /** The one that was promoted last, also if it is down. */
  get newest(): Server | undefined {
    return this.servers.find((server) => server.isPrimary && server.generation === this.generation)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What happens
  // -------------------------------------------------------------------------------------------------------------------

  /** One step of replication and of time. */
  pass(millis: number): void {
    const until = this.now + millis
    while (this.now < until) {
      this.now = Math.min(until, this.now + 10)
      for (const server of this.servers) {
        if (!server.isUp) continue
        if (server.isPrimary) server.log.push({ generation: server.generation, at: this.now })
        else this.replicate(server)
      }
      this.notice()
      this.answer()
      if (this.wakeAt <= this.now) {
        this.wakeAt = Infinity
        this.machine.tick(this.now)
      }
      this.perform()
    }
  }

  /** A standby takes over what the one it follows has, as long as it has not parted from it. */
  private replicate(server: Server): void {
    const { follows } = server
    if (follows === undefined || !follows.isUp || server.log.at(-1) !== follows.log[server.log.length - 1]) return
    for (let i = 0; i < server.pace && server.log.length < follows.log.length; i++) {
      server.log.push(follows.log[server.log.length]!)
    }
    server.generation = Math.max(server.generation, server.log.at(-1)?.generation ?? 0)
  }

  /** A standby becomes the primary; the other standbys follow it, and lose what it has not. */
  promote(server: Server): void {
    if (!server.isUp || server.isPrimary || server.log.at(-1)?.generation !== this.generation) return
    server.isPrimary = true
    server.follows = undefined
    server.generation = ++this.generation
    for (const other of this.servers) {
      // One may go on following the old one.
      if (!other.isPrimary && this.seed.chance(0.8)) this.follow(other, server)
    }
  }

  /** Only what both have stays. A server that has to lose something starts again. */
  follow(server: Server, primary: Server): void {
    let common = 0
    while (common < server.log.length && common < primary.log.length && server.log[common] === primary.log[common]) {
      common++
    }
    if (common < server.log.length || server.isPrimary) server.start++
    server.log = server.log.slice(0, common)
    server.isPrimary = false
    server.follows = primary
    server.generation = server.log.at(-1)?.generation ?? 1
  }

  crash(server: Server): void {
    server.isUp = false
  }

  /** It comes back as what it was: an old primary takes writes. */
  revive(server: Server): void {
    if (server.isUp) return
    server.isUp = true
    server.start++
  }

  /** Everything works again: one primary, all follow it. */
  heal(): void {
    this.isCalm = true
    for (const server of this.servers) {
      server.isUp = true
      server.isReachable = true
      server.pace = 1_000
    }
    const primary = this.primary ?? this.servers.find(({ log }) => log.at(-1)?.generation === this.generation)!
    if (!primary.isPrimary) {
      primary.isPrimary = true
      primary.follows = undefined
      primary.generation = ++this.generation
    }
    for (const server of this.servers) if (server !== primary) this.follow(server, primary)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The client
  // -------------------------------------------------------------------------------------------------------------------

  private perform(): void {
    for (const action of this.machine.actions.splice(0)) {
      if (action._tag === "Wake") this.wakeAt = action.at
      if (action._tag !== "Probe") continue
      this.questions.push({
        node: action.node,
        server: this.serverOf(action.node),
        samples: this.machine.samples.newestFirst,
        at: this.now + this.seed.int(0, !this.isCalm && this.seed.chance(0.05) ? 800 : 30)
      })
    }
  }

  /** The connections to a server that was started again are lost. */
  private notice(): void {
    for (const node of this.machine.nodes) {
      const server = this.serverOf(node)
      if (!server.isUp || !server.isReachable || server.connectedTo === server.start) continue
      server.connectedTo = server.start
      this.machine.suspect(node, this.now)
    }
  }

  private answer(): void {
    for (const question of this.questions.splice(0)) {
      const { at, node, samples, server } = question
      if (!server.isReachable || at - node.askedAt > 500) {
        if (this.now - node.askedAt >= 500) this.machine.failed(node, "Silent", this.now)
        else this.questions.push(question)
      } else if (!server.isUp) this.machine.failed(node, "Refused", this.now)
      else if (this.now < at) this.questions.push(question)
      else this.machine.answered(node, this.observe(server, samples), samples, this.now)
    }
  }

  /** What a server says of itself. A position is a length, and says nothing of who wrote it. */
  private observe(server: Server, samples: ReadonlyArray<Sample>): Observation {
    const has = samples.findIndex(({ position }) => server.log.length >= Number(position))
    return {
      role: server.isPrimary ? "primary" : "replica",
      server: `${server.name} ${server.start}`,
      lineage: "bank",
      generation: server.generation,
      position: server.isPrimary ? String(server.log.length) : undefined,
      has: has < 0 ? undefined : has
    }
  }

  /** How stale a replica really is: since when a history has something that it has not. */
  staleness(server: Server, history: ReadonlyArray<Entry>): number {
    const missing = history.find((entry, i) => server.log[i] !== entry)
    return missing === undefined ? 0 : this.now - missing.at
  }
}
