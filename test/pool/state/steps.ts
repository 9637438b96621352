/** A pool of letters and numbers, stepped by hand: leases have names, connections have numbers, time is a number. */
import { assert } from "@effect/vitest"
import type { Action } from "../../../src/pool/state/Agenda.ts"
import type { ConnectFailure, PoolEvent } from "../../../src/pool/state/PoolEvent.ts"
import { PoolState } from "../../../src/pool/state/PoolState.ts"
import { Lease, type Slot } from "../../../src/pool/state/Slot.ts"
import { StatementProfile } from "../../../src/pool/state/StatementProfile.ts"
import type { Options } from "../../../src/pool/state/StateOptions.ts"

export const defaults: Options = {
  min: 0,
  max: 10,
  maxConnecting: 4,
  maxWaiting: Infinity,
  acquireTimeout: 10_000,
  idleTimeout: Infinity,
  lifetime: Infinity,
  lifetimeJitter: 0,
  validateAfter: Infinity,
  keepAlive: Infinity,
  backoffBase: 250,
  backoffCap: 5_000,
  pipelineDepth: 64,
  slowStatement: 10,
  shareWait: 1,
  slowConnect: 1_000,
  controlTimeout: Infinity,
  overloadRecovery: 10_000,
  leakThreshold: Infinity,
  reclaimAfter: Infinity,
  lanes: [],
  adaptive: false,
  scaling: undefined
}

export const same = (actual: unknown, expected: unknown) => assert.deepStrictEqual(actual, expected)

/** A statement that is known to be quick. */
export const quick = (): StatementProfile => {
  const profile = new StatementProfile()
  profile.observe(0, 10, 0)
  profile.observe(0, 10, 0)
  return profile
}

export class Steps {
  now = 0
  /** What the pool draws when it asks for a random number. */
  random = 0.5
  /** When the pool wants to be woken. */
  wakeAt = Infinity
  readonly state: PoolState<number>
  readonly leases = new Map<string, Lease<number>>()
  readonly slots = new Map<number, Slot<number>>()
  /** The process stood still until now. */
  stalled(from: number): void {
    this.state.stalled(from, this.now)
    this.take()
  }

  /** A waiter turns out to have connections already. */
  exempt(name: string): ReadonlyArray<string> {
    this.state.exempt(this.lease(name), this.now)
    return this.take()
  }

  /** What the pool has told about itself since it was looked at last. */
  private readonly told: Array<PoolEvent> = []

  constructor(options: Partial<Options> = {}) {
    this.state = new PoolState({ ...defaults, ...options }, () => this.random)
  }

  /** Somebody wants a connection for itself. */
  whole(name: string, lane = 0): ReadonlyArray<string> {
    return this.acquire(name, new Lease(false, undefined, lane))
  }

  /** Somebody wants a connection for one statement. */
  shared(name: string, profile: StatementProfile | undefined = quick(), lane = 0): ReadonlyArray<string> {
    return this.acquire(name, new Lease(true, profile, lane))
  }

  private acquire(name: string, lease: Lease<number>): ReadonlyArray<string> {
    this.leases.set(name, lease)
    const held = this.state.acquire(lease, this.now)
    return held ? [`Lease ${name} ${lease.slot!.id}`, ...this.take()] : this.take()
  }

  /** Somebody is done: gives back, or stops waiting. */
  end(name: string, { answered = true, ready = true } = {}): ReadonlyArray<string> {
    this.state.end(this.lease(name), this.now, ready, answered)
    return this.take()
  }

  start(): ReadonlyArray<string> {
    this.state.start(this.now)
    return this.take()
  }

  connected(id: number): ReadonlyArray<string> {
    this.state.connected(this.slot(id), id, this.now)
    return this.take()
  }

  connectFailed(id: number, reason: ConnectFailure = "Unreachable"): ReadonlyArray<string> {
    this.state.connectFailed(this.slot(id), this.now, reason)
    return this.take()
  }

  validated(id: number, alive: boolean): ReadonlyArray<string> {
    this.state.validated(this.slot(id), this.now, alive)
    return this.take()
  }

  wasReset(id: number, ok: boolean): ReadonlyArray<string> {
    this.state.wasReset(this.slot(id), this.now, ok)
    return this.take()
  }

  /** A connection is lost. The server ended it, unless it was a fault of the network. */
  lost(id: number, { fault = false } = {}): ReadonlyArray<string> {
    this.state.lost(this.slot(id), this.now, fault)
    return this.take()
  }

  closed(id: number): ReadonlyArray<string> {
    this.state.closed(this.slot(id), this.now)
    return this.take()
  }

  shutdown(): ReadonlyArray<string> {
    this.state.shutdown(this.now)
    return this.take()
  }

  clear(mode: "graceful" | "immediate" = "graceful"): ReadonlyArray<string> {
    this.state.clear(mode, this.now)
    return this.take()
  }

  retire(id: number): ReadonlyArray<string> {
    this.state.retire(this.slot(id), this.now)
    return this.take()
  }

  suspend(mode: "hold" | "reject" = "hold"): ReadonlyArray<string> {
    this.state.suspend(mode)
    return this.take()
  }

  resume(): ReadonlyArray<string> {
    this.state.resume(this.now)
    return this.take()
  }

  drain(mode: "hold" | "reject" = "hold"): ReadonlyArray<string> {
    this.state.drain(mode, this.now)
    return this.take()
  }

  resize(min: number, max: number): ReadonlyArray<string> {
    this.state.resize(min, max, this.now)
    return this.take()
  }

  /** What the pool has told about itself since this was called last, without what every step shows anyway. */
  events(...ignored: ReadonlyArray<PoolEvent["_tag"]>): ReadonlyArray<PoolEvent> {
    return this.told.splice(0).filter((event) => !["Created", "Closed", ...ignored].includes(event._tag))
  }

  /** Time goes on, and the pool is woken when it asked for it. */
  sleep(millis: number): ReadonlyArray<string> {
    const until = this.now + millis
    const log: Array<string> = []
    for (let ticks = 0; this.wakeAt <= until; ticks++) {
      if (ticks === 1000) throw new Error(`woken for ever at ${this.wakeAt}`)
      this.now = Math.max(this.now, this.wakeAt)
      this.wakeAt = Infinity
      this.state.tick(this.now)
      log.push(...this.take())
    }
    this.now = until
    return log
  }

  /** Sleeps until an attempt to connect is made, and returns how long that was. */
  untilConnect(): number {
    const from = this.now
    while (this.in("Connecting").length === 0) this.sleep(this.wakeAt - this.now)
    return this.now - from
  }

  /** Opens that many connections, which are idle then. */
  open(count: number): this {
    const names = Array.from({ length: count }, (_, i) => `opener ${i}`)
    for (const name of names) this.whole(name)
    for (let opened = 0; opened < count;) {
      for (const slot of [...this.state.slots]) {
        if (slot.phase !== "Connecting") continue
        this.connected(slot.id)
        opened++
      }
    }
    for (const name of names) this.end(name)
    return this
  }

  lease(name: string): Lease<number> {
    return this.leases.get(name)!
  }

  slot(id: number): Slot<number> {
    return this.slots.get(id)!
  }

  /** The numbers of the connections in a phase. */
  in(phase: Slot<number>["phase"]): ReadonlyArray<number> {
    return [...this.state.slots].filter((slot) => slot.phase === phase).map((slot) => slot.id)
  }

  private take(): ReadonlyArray<string> {
    const log: Array<string> = []
    for (const action of this.state.actions.splice(0)) {
      if (action._tag === "Connect") this.slots.set(action.slot.id, action.slot)
      if (action._tag === "Wake") this.wakeAt = action.at
      else if (action._tag === "Report") this.told.push(action.event)
      else log.push(this.show(action))
    }
    return log
  }

  private show(action: Action<number>): string {
    switch (action._tag) {
      case "Lease":
        return `Lease ${this.name(action.lease)} ${action.lease.slot!.id}`
      case "Fail":
        return `Fail ${this.name(action.lease)} ${action.reason}`
      case "Close":
        return `${action.abrupt ? "Cut" : "Close"} ${action.slot.id} ${action.reason}`
      case "Reclaim":
        return `Reclaim ${this.name(action.lease)}`
      case "Connect":
      case "Abandon":
      case "Ping":
      case "Reset":
        return `${action._tag} ${action.slot.id}`
      default:
        return action._tag
    }
  }

  private name(lease: Lease<number>): string {
    for (const [name, other] of this.leases) if (other === lease) return name
    return "?"
  }
}
