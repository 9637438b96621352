/**
 * Decides which server of a cluster is what: who takes the writes, who serves a read, who is asked when.
 *
 * Events are method calls with the time as an argument; actions come out in `actions` and are performed by
 * `ClusterRuntime`. What a node is, it says itself; the configuration only names candidates. The rules of who is the
 * primary are in `Election`, those of who serves a read in `ReadChoice`.
 */
import * as Election from "./Election.ts"
import { Node, type NodeSpec, type Status } from "./Node.ts"
import type { Observation } from "./Observation.ts"
import * as ReadChoice from "./ReadChoice.ts"
import { type Sample, Samples } from "./Samples.ts"
import type { Action, TopologyEvent } from "./TopologyEvent.ts"

/** All times in milliseconds. */
export interface StateOptions {
  /** How often each node is asked what it is. */
  readonly probe: number
  /** How far behind the newest position of the primary a replica may be that serves reads. */
  readonly maxStaleness: number
  /** How long a node that has come back is spared. */
  readonly warmUp: number
}

/** The least time between two questions to a node, and the time between them while there is no primary. */
export const spacing = 100
/** How long after the primary its replicas are asked: about as long as its answer takes to get to them. */
const settle = 20
/** How many answers in a row a node must give that was gone, before it serves reads. */
const returns = 2
/** For how long nodes are asked often while there is no primary and nobody waits for one. */
const patience = 60_000
/** For how long a bound that somebody has asked for makes the questions more frequent. */
const remembers = 10_000

export class TopologyState {
  readonly actions: Array<Action> = []
  readonly samples = new Samples()
  /** The node that takes writes just now. */
  writer: Node | undefined = undefined
  /** The one that is the primary, whether it takes writes just now or not. */
  primary: Node | undefined = undefined
  /** The highest generation that anybody has told of. */
  generation: number | undefined = undefined
  lineage: string | undefined = undefined
  /** Whether somebody waits for a primary. */
  isAwaited = false

  private readonly options: StateOptions
  private readonly random: () => number
  private all: ReadonlyArray<Node> = []
  private pinned: Node | undefined = undefined
  /** The highest generation that a person has given up by pinning a primary of an older one. */
  private givenUp: number | undefined = undefined
  private rivalsSince = Infinity
  private isSplit = false
  /** Since when there is no writer. */
  private lostAt: number
  private wakeAt = Infinity
  /** The smallest bound that was asked for lately. */
  private bound = Infinity
  private boundUntil = -Infinity

  constructor(options: StateOptions, random: () => number, now: number) {
    this.options = options
    this.random = random
    this.lostAt = now
  }

  get nodes(): ReadonlyArray<Node> {
    return this.all
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Events
  // -------------------------------------------------------------------------------------------------------------------

  /** A server may belong to the cluster. */
  add(spec: NodeSpec, now: number): Node {
    const node = new Node(spec, now)
    this.join(node, now)
    return node
  }

  join(node: Node, now: number): void {
    this.all = [...this.all, node]
    this.ask(now)
  }

  /** A server is not to be used any more. */
  remove(node: Node, now: number): void {
    this.all = this.all.filter((other) => other !== node)
    if (this.pinned === node) this.pinned = undefined
    this.decide(now)
  }

  /** A node has answered a question that went with these samples. */
  answered(node: Node, observation: Observation, samples: ReadonlyArray<Sample>, now: number): void {
    if (!node.isAsked) return
    node.isAsked = false
    node.misses = 0
    node.isRefusing = false
    node.answers++
    if (node.answers >= returns) node.isReturning = false
    // Another start of a server may be at an earlier point than it had served.
    if (node.observation?.server !== observation.server) node.provedAt = -Infinity
    node.observation = observation
    node.observedAt = node.askedAt
    // The same position in another history says nothing.
    const isSame = observation.generation === this.samples.generation
    const proved = observation.has === undefined || !isSame ? undefined : samples[observation.has]
    if (proved !== undefined) node.provedAt = Math.max(node.provedAt, proved.at)
    this.learn(node, observation, now)
    this.schedule(node, now)
    this.decide(now)
    if (node === this.primary) this.sampled(node, observation, now)
  }

  /** A node has not answered a question, or refuses connections. */
  failed(node: Node, reason: "Refused" | "Silent" | "Busy", now: number): void {
    if (!node.isAsked) return
    node.isAsked = false
    // A server that has no room for one more connection is there.
    if (reason === "Busy") {
      this.schedule(node, now)
      return this.ask(now)
    }
    node.answers = 0
    node.misses++
    if (reason === "Refused") node.isRefusing = true
    if (node.isRefusing || node.misses > 1) node.isReturning = true
    this.schedule(node, now)
    // The second question tells whether the first was bad luck.
    if (node.misses === 1 && !node.isRefusing) node.dueAt = now
    this.lookAround(node, now)
    this.decide(now)
  }

  /** A connection was lost. The node is asked at once, and serves no reads until it has answered. */
  suspect(node: Node, now: number): void {
    node.suspectedAt = now
    node.dueAt = Math.min(node.dueAt, now)
    this.lookAround(node, now)
    this.ask(now)
  }

  /** Something is wrong with a node. If it is the primary, another one may have taken its place already. */
  private lookAround(node: Node, now: number): void {
    if (node !== this.primary) return
    for (const other of this.all) other.dueAt = Math.min(other.dueAt, Math.max(now, other.askedAt + spacing))
  }

  /** A node may not be what it was: it has refused a write. Nothing is written there until it has been asked. */
  doubt(node: Node, now: number): void {
    node.doubtedAt = node.suspectedAt = now
    node.dueAt = Math.min(node.dueAt, now)
    this.decide(now)
  }

  /** Somebody else has seen this generation. It is only a reason to look. */
  hint(generation: number, now: number): void {
    if (this.generation === undefined || generation <= this.generation) return
    for (const node of this.all) node.dueAt = Math.min(node.dueAt, now)
    this.ask(now)
  }

  /**
   * A person says who is the primary among those that say so; `undefined` takes it back. A primary of an older generation
   * means that the cluster has gone back: whatever belongs to a newer one is not used while it is pinned.
   */
  pin(node: Node | undefined, now: number): void {
    this.pinned = node
    this.givenUp = undefined
    const observation = node?.observation
    if (observation?.role === "primary" && isNewer(this.generation, observation.generation)) {
      this.givenUp = this.generation
      this.generation = observation.generation
      for (const other of this.all) other.provedAt = -Infinity
    }
    this.decide(now)
  }

  /** A read has ended on a node. */
  ended(node: Node, millis: number, isNodeFailure: boolean, now: number): void {
    node.latency = node.latencyAt === -Infinity ? millis : node.latency + (millis - node.latency) / 16
    node.latencyAt = now
    if (isNodeFailure) node.failedAt = now
  }

  /** Somebody asks for reads that are no staler than this. */
  wants(bound: number, now: number): void {
    if (bound > this.bound && now < this.boundUntil) return
    const isNews = this.interval(now) > Math.max(spacing, bound / 3)
    this.bound = bound
    this.boundUntil = now + remembers
    if (!isNews) return
    if (this.primary !== undefined) this.primary.dueAt = Math.min(this.primary.dueAt, now)
    this.ask(now)
  }

  /** The time that was named has come, or nearly so. */
  tick(now: number): void {
    this.wakeAt = Infinity
    this.ask(now)
  }

  /** Asks who is due. */
  private ask(now: number): void {
    let next = Infinity
    for (const node of this.all) {
      const at = Math.max(node.dueAt, node.askedAt + spacing)
      if (node.isAsked) continue
      if (at > now) {
        next = Math.min(next, at)
        continue
      }
      node.isAsked = true
      node.askedAt = now
      node.dueAt = Infinity
      this.actions.push({ _tag: "Probe", node })
    }
    if (next === this.wakeAt && next > now) return
    this.wakeAt = next
    if (next < Infinity) this.actions.push({ _tag: "Wake", at: next })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Questions
  // -------------------------------------------------------------------------------------------------------------------

  /** The node for a read, or `undefined` if none is fit. */
  choose(query: ReadChoice.Query, now: number): Node | undefined {
    const { options: { warmUp }, random } = this
    return ReadChoice.choose({ nodes: this.all, query, now, warmUp, random })
  }

  /** How stale a node is at the most: the time since the newest position of the primary that it has was asked for. */
  staleness(node: Node, now: number): number {
    return node.status === "Primary" ? 0 : now - node.provedAt
  }

  /** How far it is behind the newest position that is known at all. It does not grow while there is no primary. */
  lag(node: Node): number {
    return Math.max(0, this.samples.newestAt - node.provedAt)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Decisions
  // -------------------------------------------------------------------------------------------------------------------

  private learn(node: Node, { generation, lineage, role }: Observation, now: number): void {
    if (this.lineage === undefined && role !== "unfit") this.lineage = lineage
    if (lineage !== this.lineage || generation === undefined) return
    if (this.generation !== undefined && generation <= this.generation) return
    if (this.givenUp !== undefined && generation <= this.givenUp) return
    this.generation = generation
    // Somebody has become the primary: find out who, at once.
    for (const other of this.all) if (other !== node) other.dueAt = Math.min(other.dueAt, now)
  }

  private sampled(node: Node, { generation, position }: Observation, now: number): void {
    if (position === undefined || this.writer !== node) return
    this.samples.add({ at: node.observedAt, position }, generation)
    for (const other of this.all) {
      if (other !== node && other.status !== "Unreachable") other.dueAt = Math.min(other.dueAt, now + settle)
    }
    this.decide(now)
  }

  private interval(now: number): number {
    const { probe } = this.options
    if (this.writer === undefined && (this.isAwaited || now - this.lostAt < patience)) return Math.min(probe, spacing)
    return now < this.boundUntil ? Math.min(probe, Math.max(spacing, this.bound / 3)) : probe
  }

  private schedule(node: Node, now: number): void {
    // Replicas are asked after the primary, see `sampled`. This is for when that does not answer.
    const share = node === this.primary || this.writer === undefined ? 1 : 1.5
    const jitter = 0.9 + 0.2 * this.random()
    const next = node.askedAt + this.interval(now) * share * jitter
    if (node.dueAt === Infinity) node.dueAt = Math.max(now, next)
  }

  /** Decides anew what each node is. */
  private decide(now: number): void {
    const before = this.primary
    const { primary, rivals, verdicts } = Election.elect({
      nodes: this.all,
      lineage: this.lineage,
      generation: this.generation,
      current: this.primary,
      pinned: this.pinned,
      rivalsSince: this.rivalsSince
    })
    this.primary = primary
    // Whoever was the primary goes before another one comes.
    for (const node of this.all) if (node !== primary) this.become(node, verdicts.get(node)!, now)
    if (primary !== undefined) {
      if (primary !== before) primary.electedAt = now
      this.become(primary, verdicts.get(primary)!, now)
    }
    this.face(rivals, now)
    for (const node of this.all) this.follow(node, now)
    this.appoint(before, rivals, now)
    this.ask(now)
  }

  private become(node: Node, { status, why }: Election.Verdict, now: number): void {
    node.why = why
    const from = node.status
    if (from === status) return
    node.status = status
    node.since = now
    this.actions.push({ _tag: "Become", node, from })
    this.report({ _tag: "RoleChanged", node: node.spec.name, from, to: status, why })
    if (status === "Fenced") this.report({ _tag: "Fenced", node: node.spec.name, why })
  }

  /** Several say that they are the primary. */
  private face(rivals: ReadonlyArray<Node>, now: number): void {
    if (rivals.length === 0) {
      this.rivalsSince = Infinity
      this.isSplit = false
      return
    }
    if (this.rivalsSince === Infinity) {
      this.rivalsSince = now
      for (const node of rivals) node.dueAt = Math.min(node.dueAt, now)
    } else if (!this.isSplit && rivals.every((node) => node.status === "Fenced")) {
      this.isSplit = true
      this.report({ _tag: "SplitBrain", nodes: rivals.map(({ spec }) => spec.name) })
    }
  }

  /** Whether a replica keeps up. One that has fallen behind has to catch up well before it serves reads again. */
  private follow(node: Node, now: number): void {
    const { maxStaleness } = this.options
    const lag = this.lag(node)
    const isKnown = node.provedAt > -Infinity
    if (isKnown && lag > maxStaleness) node.isBehind = true
    else if (lag <= maxStaleness / 2) node.isBehind = false
    const serves = node.status === "Replica" && isKnown && !node.isBehind && !node.isReturning
    const served = node.servesSince < Infinity
    if (serves === served) return
    node.servesSince = serves ? now : Infinity
    const { name } = node.spec
    if (serves) return this.report({ _tag: "NodeReturned", node: name })
    if (node.status === "Primary") return
    const reason = node.isBehind ? "Behind" : node.status === "Unreachable" ? "Unreachable" : "Unfit"
    this.report({ _tag: "NodeEjected", node: name, reason, staleMillis: this.staleness(node, now) })
  }

  private appoint(before: Node | undefined, rivals: ReadonlyArray<Node>, now: number): void {
    const { primary } = this
    const writer = primary === undefined || primary.isDoubted || rivals.length > 0 ? undefined : primary
    if (before !== undefined && before !== primary) {
      this.report({ _tag: "PrimaryLost", node: before.spec.name, why: before.why })
    }
    if (primary !== undefined && primary !== before) {
      const { generation, spec: { name } } = primary
      const afterMillis = this.writer === undefined ? now - this.lostAt : 0
      this.report({ _tag: "PrimaryFound", node: name, generation, afterMillis })
    }
    if (writer === this.writer) return
    if (this.writer !== undefined) {
      this.lostAt = now
      for (const node of this.all) node.dueAt = Math.min(node.dueAt, now + spacing)
    }
    this.writer = writer
    this.actions.push({ _tag: "Writer", node: writer })
  }

  private report(event: TopologyEvent): void {
    this.actions.push({ _tag: "Report", event })
  }
}

const isNewer = (generation: number | undefined, than: number | undefined): boolean =>
  generation !== undefined && than !== undefined && generation > than

export type { Status }
