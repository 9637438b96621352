/**
 * Performs what `TopologyState` decides: asks nodes, opens and shuts their pools, and lets callers wait for a node.
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import { monotonicOf } from "../timing/timeout.ts"
import type { ClusterAdapter } from "./ClusterAdapter.ts"
import type { Member } from "./Member.ts"
import * as Monitor from "./Monitor.ts"
import type { Resolved } from "./options.ts"
import type { Node, Status } from "./state/Node.ts"
import type { Action, TopologyEvent } from "./state/TopologyEvent.ts"
import { TopologyState } from "./state/TopologyState.ts"

export interface Parts {
  readonly cluster: ClusterAdapter
  readonly options: Resolved
  readonly clock: Clock.Clock
  readonly random: () => number
  readonly runFork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  readonly report: (event: TopologyEvent) => void
}

/** Somebody who waits for a node. Returns whether it has what it waits for. */
type Waiter = () => boolean

export class ClusterRuntime {
  readonly cluster: ClusterAdapter
  readonly options: Resolved
  readonly state: TopologyState
  readonly now: () => number
  readonly members = new Map<Node, Member>()
  /** Done when each node has been asked once, or there is a primary. */
  readonly started = Deferred.makeUnsafe<void>()
  /** Whether nobody gets a connection, and what becomes of whoever asks. */
  held: "hold" | "reject" | undefined = undefined

  private readonly parts: Parts
  /** In the order in which they came. */
  private readonly writers = new Set<Waiter>()
  private readonly readers = new Set<Waiter>()
  private performing = false
  private isClosed = false
  private timer: Fiber.Fiber<void> | undefined = undefined

  constructor(parts: Parts) {
    this.parts = parts
    this.cluster = parts.cluster
    this.options = parts.options
    this.now = monotonicOf(parts.clock)
    this.state = new TopologyState(parts.options, parts.random, this.now())
  }

  /** The member that takes writes just now. Each call asks, so it is kept. */
  writer: Member | undefined = undefined

  join(member: Member): void {
    this.members.set(member.node, member)
    this.state.join(member.node, this.now())
    this.perform()
  }

  leave(member: Member): void {
    this.state.remove(member.node, this.now())
    this.shut(member)
    this.perform()
    this.members.delete(member.node)
    this.forget(member, "the server is no candidate any more")
  }

  private forget(member: Member, why: string): void {
    member.monitor?.destroy(why)
    member.monitor = undefined
  }

  close(): void {
    this.isClosed = true
    this.timer?.interruptUnsafe()
    for (const member of this.members.values()) this.forget(member, "the cluster is closed")
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Evidence
  // -------------------------------------------------------------------------------------------------------------------

  readonly onLost = (member: Member): void => this.tell(() => this.state.suspect(member.node, this.now()))

  readonly onDoubt = (member: Member): void => this.tell(() => this.state.doubt(member.node, this.now()))

  report(event: TopologyEvent): void {
    this.parts.report(event)
  }

  tell(f: () => void): void {
    if (this.isClosed) return
    f()
    this.perform()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Waiting
  // -------------------------------------------------------------------------------------------------------------------

  /** Waits until there is a member that takes writes. Those who wait go on in the order in which they came. */
  readonly awaitWriter: Effect.Effect<Member> = Effect.suspend(() => this.await(this.writers, () => this.usableWriter))

  get usableWriter(): Member | undefined {
    return this.usable(this.writer)
  }

  /**
   * A member whose pool lends. What the topology says may be a moment ahead of that: a caller whom a pool has sent away
   * asks again before the other actions of the same change are performed, and would be sent away for ever.
   */
  usable(member: Member | undefined): Member | undefined {
    return this.held === undefined && member?.isOpen === true ? member : undefined
  }

  /** Waits until `find` finds a member. */
  awaitReader(find: () => Member | undefined): Effect.Effect<Member> {
    return this.await(this.readers, find)
  }

  private await(waiters: Set<Waiter>, find: () => Member | undefined): Effect.Effect<Member> {
    return Effect.callback((resume) => {
      const waiter: Waiter = () => {
        const member = find()
        if (member === undefined) return false
        waiters.delete(waiter)
        resume(Effect.succeed(member))
        return true
      }
      if (waiter()) return
      waiters.add(waiter)
      this.tell(() => this.awaiting())
      return Effect.sync(() => {
        waiters.delete(waiter)
        this.awaiting()
      })
    })
  }

  /** While somebody waits for a primary, nodes are asked often. */
  private awaiting(): void {
    this.state.isAwaited = this.writers.size > 0
  }

  /** Lets those go on who may. */
  wake(): void {
    for (const waiters of [this.writers, this.readers]) {
      for (const waiter of Array.from(waiters)) if (!waiter() && waiters === this.writers) break
    }
    this.awaiting()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Performing
  // -------------------------------------------------------------------------------------------------------------------

  perform(): void {
    if (this.performing || this.isClosed) return
    this.performing = true
    const { actions } = this.state
    try {
      while (actions.length > 0) this.performOne(actions.shift()!)
    } finally {
      this.performing = false
    }
    const { nodes, writer } = this.state
    if (writer !== undefined || nodes.every(({ answers, misses }) => answers + misses > 0)) {
      Deferred.doneUnsafe(this.started, Effect.void)
    }
    this.wake()
  }

  private performOne(action: Action): void {
    switch (action._tag) {
      case "Probe":
        return this.probe(action.node)
      case "Become":
        return this.become(action.node, action.from)
      case "Report":
        return this.parts.report(action.event)
      case "Wake":
        return this.arm(action.at)
      case "Writer":
        this.writer = action.node === undefined ? undefined : this.members.get(action.node)
        return
    }
  }

  private probe(node: Node): void {
    const member = this.members.get(node)!
    const samples = this.state.samples.newestFirst
    const { options: { probe }, state } = this
    const positions = samples.map(({ position }) => position)
    const fiber = this.parts.runFork(Monitor.ask(this, member, positions, probe))
    fiber.addObserver((exit) => {
      // It may have connected when nobody wanted to know any more.
      if (this.isClosed || this.members.get(node) !== member) return this.forget(member, "nobody asks it any more")
      this.tell(() => {
        const now = this.now()
        const report = exit._tag === "Success" ? exit.value : undefined
        if (report?._tag === "Answered") state.answered(node, report.observation, samples, now)
        else state.failed(node, report?.reason ?? "Silent", now)
      })
    })
  }

  /** What happens to the connections of a node that has become something else. */
  private become(node: Node, from: Status): void {
    const member = this.members.get(node)
    if (member === undefined) return
    switch (node.status) {
      case "Primary":
      case "Replica":
        if (from === "Primary" || from === "Replica") {
          // Whoever waits there asks for the role that it had. What was opened under it ends as it becomes free.
          this.shut(member)
          this.run(member.pool.clear())
        }
        return this.open(member)
      case "Fenced":
        this.shut(member)
        // What is open there must not commit any more.
        return this.run(member.pool.clear({ mode: "immediate" }))
      case "Unreachable":
        this.shut(member)
        // Reads are repeated elsewhere. What a primary is doing may still be answered, and could not be repeated.
        if (from === "Replica") this.run(member.pool.clear({ mode: "immediate" }))
        return
      default:
        return this.shut(member)
    }
  }

  /** The node is in use: its pool lends connections, unless all of the cluster are held. */
  private open(member: Member): void {
    member.isOpen = true
    if (this.held !== undefined) return
    // Nothing is opened before it is known what the server is.
    if (member.min > 0 && !member.isSized) this.run(member.pool.resize({ min: member.min }))
    member.isSized = true
    this.run(member.pool.resume)
  }

  /** It is not: whoever waits there is sent away, to ask for another node. */
  private shut(member: Member): void {
    member.isOpen = false
    this.run(member.pool.suspend({ mode: "reject" }))
  }

  run(effect: Effect.Effect<unknown, SqlError | unknown>): void {
    this.parts.runFork(Effect.ignore(effect as Effect.Effect<unknown, unknown>))
  }

  private arm(at: number): void {
    this.timer?.interruptUnsafe()
    const millis = Math.max(0, Math.ceil(at - this.now()))
    const fiber = this.parts.runFork(this.parts.clock.sleep(Duration.millis(millis)))
    this.timer = fiber
    fiber.addObserver((exit) => {
      if (exit._tag === "Success" && this.timer === fiber) this.tell(() => this.state.tick(this.now()))
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // By hand
  // -------------------------------------------------------------------------------------------------------------------

  /** Nobody gets a connection until `release`. */
  hold(mode: "hold" | "reject"): void {
    this.held = mode
    for (const { isOpen, pool } of this.members.values()) if (isOpen) this.run(pool.suspend({ mode }))
  }

  release(): void {
    this.held = undefined
    for (const member of this.members.values()) if (member.isOpen) this.open(member)
    this.wake()
  }
}
