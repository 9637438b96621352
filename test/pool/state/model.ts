/**
 * Random events for a `PoolState`, and a reference that is too simple to be wrong: plain arrays, searched from end to
 * end. After every event everything that can be recounted is recounted.
 */
import type { Agenda } from "../../../src/pool/state/Agenda.ts"
import type { Connections } from "../../../src/pool/state/Connections.ts"
import type { Demand } from "../../../src/pool/state/Demand.ts"
import type { Dispatcher } from "../../../src/pool/state/Dispatcher.ts"
import type { LeakWatch } from "../../../src/pool/state/LeakWatch.ts"
import type { Limiter } from "../../../src/pool/state/Limiter.ts"
import type { Opening } from "../../../src/pool/state/Opening.ts"
import type { ConnectFailure, PoolEvent, ScaleReason, Suspicion } from "../../../src/pool/state/PoolEvent.ts"
import type { PoolState } from "../../../src/pool/state/PoolState.ts"
import type { ServerLimit } from "../../../src/pool/state/ServerLimit.ts"
import type { Sharing } from "../../../src/pool/state/Sharing.ts"
import { Lease, type Slot } from "../../../src/pool/state/Slot.ts"
import { StatementProfile } from "../../../src/pool/state/StatementProfile.ts"
import type { Options } from "../../../src/pool/state/StateOptions.ts"
import type { WaitQueue } from "../../../src/pool/state/WaitQueue.ts"
import type { Seed } from "../../support/seed.ts"

/** Makes the state that is tested. */
export type Make = (options: Options, random: () => number) => PoolState<number>

/** What the checker knows of a lease, from what it did and was told. */
interface Client {
  readonly name: number
  readonly lease: Lease<number>
  status: "waiting" | "held" | "failed" | "ended"
  readonly askedAt: number
  /** How often it was reported to hold its connection for too long. */
  leaks: number
}

/** What the checker knows of a connection. */
interface Known {
  readonly slot: Slot<number>
  status: "connecting" | "open" | "pinging" | "resetting" | "closing" | "gone"
  /** When it is too old, at the latest. */
  endsAt: number
  /** Statements that were abandoned since it was last empty. */
  abandoned: number
  /** Why it must not be lent any more, or not without a ping. */
  retired: boolean
  suspect: Suspicion | undefined
  /** Whether its borrowers were cut off. */
  cut: boolean
}

/** Somebody has, or had, a connection. */
interface Use {
  readonly shares: boolean
  readonly from: number
  until: number | undefined
  /** Whether it had its connection at the last sample already. */
  old: boolean
}

/** The parts of a state, which are private. */
export interface Parts {
  readonly agenda: Agenda<number>
  readonly connections: Connections<number>
  readonly demand: Demand<number>
  readonly dispatcher: Dispatcher<number>
  readonly leaks: LeakWatch<number>
  readonly limiter: Limiter | undefined
  readonly opening: Opening
  readonly queue: WaitQueue<number>
  readonly server: ServerLimit
  readonly sharing: Sharing<number>
}

export const partsOf = (state: PoolState<number>): Parts => state as unknown as Parts

export const randomOptions = (seed: Seed): Options => {
  const max = seed.pick([1, 1, 2, 3, 4, 8])
  return {
    max,
    min: seed.chance(0.5) ? 0 : seed.int(0, max),
    maxConnecting: seed.int(1, 4),
    maxWaiting: seed.pick([Infinity, Infinity, Infinity, 0, 3]),
    acquireTimeout: seed.pick([Infinity, 30, 200, 1000]),
    idleTimeout: seed.pick([Infinity, 0, 40, 300]),
    lifetime: seed.pick([Infinity, 50, 400]),
    lifetimeJitter: seed.pick([0, 0.25, 1]),
    validateAfter: seed.pick([Infinity, 0, 5, 60]),
    keepAlive: seed.pick([Infinity, 20, 150]),
    backoffBase: seed.pick([0, 5, 25]),
    backoffCap: seed.pick([25, 100]),
    pipelineDepth: seed.pick([1, 2, 4, 64]),
    slowStatement: seed.pick([3, 10]),
    shareWait: seed.pick([0, 1, 5]),
    slowConnect: seed.pick([10, 50, Infinity]),
    controlTimeout: seed.pick([Infinity, 40, 200]),
    overloadRecovery: seed.pick([20, 100]),
    leakThreshold: seed.pick([Infinity, 30]),
    reclaimAfter: seed.pick([Infinity, Infinity, 60]),
    adaptive: seed.chance(0.3),
    scaling: seed.pick([
      undefined,
      { interval: 30, utilization: 0.75, wait: Infinity, window: 90 },
      { interval: 200, utilization: 0.5, wait: 20, window: 200 },
      { interval: 250, utilization: 0.75, wait: 1, window: 500 }
    ]),
    lanes: seed.pick([
      [],
      [],
      [{ guaranteed: 0.5, max: 1 }],
      [{ guaranteed: 0.25, max: 0.5 }, { guaranteed: 0, max: 0.25 }]
    ])
  }
}

export class World {
  now = 0
  events = 0
  /** How often what was seen, to know that a run sees everything. */
  readonly seen: Record<string, number> = {}

  private readonly seed: Seed
  private options: Options
  private readonly state: PoolState<number>
  /** How often somebody comes, and how many of them want to share. */
  private readonly rush: number
  private readonly sharing: number
  private readonly clients: Array<Client> = []
  private readonly known = new Map<Slot<number>, Known>()
  private readonly useOf = new Map<Client, Use>()
  private readonly profiles = Array.from({ length: 4 }, () => new StatementProfile())
  private nextName = 1
  private wakeAt = Infinity
  private tickedAt = -1
  private ticksAtOnce = 0
  private shutdown = false
  private drained = 0
  private suspended: "hold" | "reject" | undefined = undefined
  private draining = false
  /** How many there were after the event before. */
  private size = 0
  private created = 0
  /** How many connections each lane had after the event before. */
  private readonly usedBefore: Array<number> = []
  private closed = 0
  /** What the server has room for, and when it refused last. */
  private ceiling = Infinity
  /** Whether the last attempt to connect has failed, and not because the pool ended it. */
  private outage = false
  private refusedAt = -Infinity
  /** How long answers took, with the time at which they came, that tell how long the way to the server is. */
  private readonly answers: Array<readonly [at: number, millis: number]> = []
  /** What scaling has to go by: who had a connection since the last sample, and what the samples so far needed. */
  private uses: Array<Use> = []
  private peak = 0
  private needs: Array<number> = []
  private sampledAt: number | undefined = undefined
  private scaleAt = Infinity
  /** How many connections are kept without demand. */
  private floor: number
  /** How many more there is room for elsewhere. */
  private spare = Infinity
  /** What scaling is expected to tell. */
  private scaled: Array<PoolEvent> = []
  private what = "nothing"

  constructor(make: Make, seed: Seed) {
    this.seed = seed
    this.options = randomOptions(seed)
    this.floor = this.options.min
    this.rush = seed.pick([0.1, 0.25, 0.35])
    this.sharing = seed.pick([0, 0.5, 0.9])
    this.state = make(this.options, seed.fork().next)
    this.event("start", () => this.state.start(this.now))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Events
  // -------------------------------------------------------------------------------------------------------------------

  /** One random event. */
  step(): void {
    const { seed } = this
    const held = this.held()
    const waiting = this.clients.filter((client) => client.status === "waiting")
    const pending = this.slots().filter((known) => known.status !== "open" && known.status !== "gone")
    const alive = this.slots().filter((known) => known.slot.phase !== "Connecting" && known.status !== "gone")
    const die = seed.next()
    if (die < this.rush) return this.acquire(seed.chance(this.sharing))
    if (die < 0.5 && held.length > 0) return this.end(seed.pick(held as [Client]))
    if (die < 0.53 && waiting.length > 0) return this.end(seed.pick(waiting as [Client]))
    if (die < 0.54 && this.clients.length > 0) return this.end(seed.pick(this.clients as [Client]))
    if (die < 0.7 && pending.length > 0) return this.settle(seed.pick(pending as [Known]), seed.chance(0.85))
    if (die < 0.705 && alive.length > 0) return this.lose(seed.pick(alive as [Known]))
    if (die < 0.707 && alive.length > 0) return this.retire(seed.pick(alive as [Known]))
    if (die > 0.707 && die < 0.708) return this.clear(seed.pick(["graceful", "graceful", "immediate"]))
    if (die > 0.709 && die < 0.711) return this.resize()
    if (die > 0.711 && die < 0.712) return this.suspend(seed.pick(["hold", "reject"]), seed.chance(0.3))
    if (die > 0.712 && die < 0.722) return this.resume()
    this.sleep(seed.chance(0.7) ? seed.next() * 4 : seed.next() * 60)
  }

  acquire(shared: boolean): void {
    const profile = shared && this.seed.chance(0.9) ? this.seed.pick(this.profiles as [StatementProfile]) : undefined
    const lease = new Lease<number>(shared, profile, this.seed.int(0, this.options.lanes.length))
    const client: Client = { name: this.nextName++, lease, status: "waiting", askedAt: this.now, leaks: 0 }
    const before = this.queue().filter((other) => other.lease.lane === lease.lane)
    this.event(`acquire ${shared ? "shared" : "whole"} ${client.name}`, () => {
      this.clients.push(client)
      const fresh = this.room(lease.lane) > 0 && this.held().length < this.mayRun ? this.fresh() : undefined
      if (!this.state.acquire(lease, this.now)) {
        return this.check(
          fresh === undefined || this.shutdown || this.suspended !== undefined,
          `${client.name} does not get ${fresh?.id}`
        )
      }
      this.check(this.suspended === undefined, "lent while suspended")
      this.check(
        before.every((other) => shared && !other.lease.shared),
        `a newcomer overtook ${before.length} who wait`
      )
      this.check(!this.shutdown, "lent after shutdown")
      client.status = "held"
      this.see("at once")
      this.lent(client)
    })
  }

  end(client: Client): void {
    const { lease } = client
    const slot = lease.slot
    const answered = client.status !== "held" || !lease.shared || this.seed.chance(0.85)
    const ready = answered && this.seed.chance(0.9)
    this.event(`end ${client.name} ${ready ? "ready" : "not ready"}`, () => {
      if (client.status === "held" && lease.shared) {
        const known = this.known.get(slot!)!
        if (slot!.load === 1) known.abandoned = 0
        else if (!answered) known.abandoned++
        const first = slot!.lease === lease && lease.heldAt >= slot!.headSince && slot!.phase === "Shared"
        if (answered && first) this.answers.push([this.now, this.now - slot!.headSince])
      }
      const use = this.useOf.get(client)
      if (use !== undefined) use.until ??= this.now
      if (client.status !== "failed") client.status = "ended"
      this.state.end(lease, this.now, ready, answered)
    })
  }

  /** Whatever is under way for a connection comes to its end. */
  settle(known: Known, well: boolean): void {
    const { slot } = known
    this.event(`${known.status} ${slot.id} ${well ? "well" : "badly"}`, () => {
      switch (known.status) {
        case "connecting":
          if (well) {
            known.status = "open"
            this.outage = false
            known.endsAt = this.now + this.options.lifetime
            this.answers.push([this.now, this.now - slot.createdAt])
            return this.state.connected(slot, slot.id, this.now)
          }
          known.status = "gone"
          const reason: ConnectFailure = this.seed.pick([
            "Interrupted",
            "Unreachable",
            "Unreachable",
            "Unreachable",
            "Permanent",
            "Full"
          ])
          if (reason === "Full" && !this.shutdown) {
            this.ceiling = Math.max(1, this.state.slots.size - 1)
            this.refusedAt = this.now
          }
          if (reason !== "Interrupted" && !(reason === "Full" && partsOf(this.state).connections.open > 0)) {
            this.outage = true
          }
          return this.state.connectFailed(slot, this.now, reason)
        case "pinging":
          known.status = "open"
          if (well && (known.suspect === slot.asked || known.suspect === "NetworkFault")) known.suspect = undefined
          if (!well && slot.asked !== "RoleChange") this.doubt("NetworkFault", slot, slot.since)
          return this.state.validated(slot, this.now, well)
        case "resetting":
          known.status = "open"
          return this.state.wasReset(slot, this.now, well)
        case "closing":
          known.status = "gone"
          return this.state.closed(slot, this.now)
      }
    })
  }

  lose(known: Known): void {
    this.event(`lost ${known.slot.id}`, () => {
      const { slot } = known
      const fault = this.seed.chance(0.5)
      if (known.status !== "closing") {
        if (fault) this.doubt("NetworkFault", slot, slot.phase === "Validating" ? slot.since : this.now)
        known.status = "gone"
      }
      this.state.lost(slot, this.now, fault)
    })
  }

  retire(known: Known): void {
    this.event(`retire ${known.slot.id}`, () => {
      if (known.status !== "closing" && known.slot.retired !== "Retired" && !this.shutdown) {
        known.retired = true
        this.doubt("RoleChange", known.slot, Infinity)
      }
      this.state.retire(known.slot, this.now)
    })
  }

  /** All but one are in doubt, unless they have given a sign of life since. */
  private doubt(reason: Suspicion, except: Slot<number>, since: number): void {
    if (this.shutdown) return
    for (const known of this.slots()) {
      if (known.slot === except || known.retired || known.suspect === "RoleChange") continue
      if (known.status === "connecting" || known.status === "closing" || known.status === "gone") continue
      if (reason === "NetworkFault" && known.status === "pinging") continue
      if (known.slot.phase === "Idle" && known.slot.aliveAt >= since) continue
      known.suspect = reason
    }
  }

  clear(mode: "graceful" | "immediate"): void {
    this.event(`clear ${mode}`, () => {
      if (!this.shutdown) {
        this.outage = false
        for (const known of this.slots()) known.retired = true
      }
      this.state.clear(mode, this.now)
    })
  }

  suspend(mode: "hold" | "reject", drain: boolean): void {
    this.event(`${drain ? "drain" : "suspend"} ${mode}`, () => {
      if (!drain) {
        this.suspended = mode
        return this.state.suspend(mode)
      }
      this.suspended = mode
      this.draining = true
      this.outage = false
      for (const known of this.slots()) known.retired = true
      this.state.drain(mode, this.now)
    })
  }

  resume(): void {
    this.event("resume", () => {
      this.suspended = undefined
      this.draining = false
      this.state.resume(this.now)
    })
  }

  resize(): void {
    const max = this.seed.int(1, 8)
    const min = this.seed.int(0, max)
    this.event(`resize ${min} ${max}`, () => {
      this.options = { ...this.options, min, max }
      this.floor = min
      if (this.ceiling >= max) this.ceiling = Infinity
      this.state.resize(min, max, this.now)
      this.checkShrunk()
    })
  }

  private checkShrunk(): void {
    const { idle, open } = partsOf(this.state).connections
    this.check(idle.length === 0 || open <= this.options.max, `${open} connections, and idle ones among them`)
  }

  /** Time goes on. The timer may be late. */
  sleep(millis: number): void {
    const until = this.now + millis
    while (this.wakeAt <= until) {
      const late = this.seed.chance(0.1) ? this.seed.next() * 5 : 0
      this.now = Math.max(this.now, Math.min(this.wakeAt + late, until))
      this.ticksAtOnce = this.now > this.tickedAt ? 0 : this.ticksAtOnce + 1
      this.tickedAt = this.now
      this.check(this.ticksAtOnce < 10, "the pool wants to be woken again and again at the same time")
      this.tick()
    }
    this.now = until
  }

  private tick(): void {
    this.wakeAt = Infinity
    this.spare = this.state.roomInQuota = this.seed.pick([Infinity, Infinity, Infinity, 0, 1])
    this.event("tick", () => {
      for (const { slot, status } of this.slots()) {
        const isUnanswered = status === "pinging" && slot.since + this.options.controlTimeout <= this.now
        if (isUnanswered) this.doubt("NetworkFault", slot, slot.since)
      }
      if (this.scaleAt <= this.now && !this.shutdown) this.scale()
      this.state.tick(this.now)
    })
    this.check(this.scaled.length === 0, `${this.scaled[0]?._tag} was expected`)
    for (const client of this.queue()) {
      this.check(client.lease.deadline > this.now, `${client.name} waits after its deadline`)
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Scaling
  // -------------------------------------------------------------------------------------------------------------------

  /** Somebody gets a connection: demand is looked at from now on. */
  private used(client: Client): void {
    const { scaling } = this.options
    if (scaling === undefined) return
    if (this.scaleAt === Infinity) {
      const missed = this.sampledAt === undefined ? 0 : (this.now - this.sampledAt) / scaling.interval
      for (let i = 1; i <= missed; i++) this.needs.push(0)
      this.sampledAt = this.now
      this.scaleAt = this.now + scaling.interval
    }
    const use: Use = { shares: client.lease.proven, from: this.now, until: undefined, old: false }
    this.uses.push(use)
    this.useOf.set(client, use)
    this.peak = Math.max(this.peak, this.exclusive())
  }

  private exclusive(): number {
    return this.uses.filter((use) => !use.shares && use.until === undefined).length
  }

  /** Foretells what the pool makes of its demand, by the formulas as they stand in the books. */
  private scale(): void {
    const { max, min, shareWait } = this.options
    const { interval, utilization, wait, window } = this.options.scaling!
    const { connections: { idle, open, opening }, sharing: { serviceTime } } = partsOf(this.state)
    const { floor, now } = this
    const since = this.sampledAt!
    if (this.uses.length === 0) {
      this.see("rest")
      this.scaleAt = Infinity
      this.floor = min
      return
    }
    const average = (uses: ReadonlyArray<Use>) =>
      uses.reduce((sum, use) => sum + (use.until ?? now) - Math.max(use.from, since), 0) / (now - since)
    const exclusive = this.uses.filter((use) => !use.shares)
    const arrivals = exclusive.filter((use) => !use.old).length
    const load = average(exclusive)
    const sharing = average(this.uses.filter((use) => use.shares))
    let wanted = 0
    let reason: ScaleReason = "Utilization"
    const limit = Math.min(max, partsOf(this.state).server.ceiling, this.mayRun)
    if (arrivals >= 10) {
      const factorial = (n: number): number => n <= 1 ? 1 : n * factorial(n - 1)
      const term = (k: number) => load ** k / factorial(k)
      const waits = (c: number): number => {
        if (c <= load) return Infinity
        const all = term(c) * c / (c - load)
        const others = Array.from({ length: c }, (_, k) => term(k)).reduce((a, b) => a + b)
        return all / (all + others) * (load * (now - since) / arrivals) / (c - load)
      }
      const others = sharing > 0 ? 1 : 0
      const least = Math.min(limit - others, Math.max(1, Math.ceil(load / utilization - 1e-9)))
      let connections = least
      while (connections < limit - others && waits(connections) > wait) connections++
      if (connections > least) reason = "Wait"
      wanted = connections + others
    }
    const toShare = sharing === 0 ? 0 : serviceTime === 0 ? 1 : Math.ceil(sharing / (1 + shareWait / serviceTime))
    this.needs.push(Math.min(limit, Math.max(wanted, this.peak + toShare)))
    const samples = Math.ceil(window / interval)
    const lately = this.needs.slice(-samples)
    while (lately.length < samples) lately.push(Infinity)
    const median = lately.sort((a, b) => a - b)[Math.ceil(samples / 2) - 1]!

    const size = open + opening.length
    const mayGrow = this.suspended === undefined && partsOf(this.state).server.ceiling === Infinity
    wanted = Math.min(wanted, mayGrow ? size + this.spare : open)
    if (wanted > Math.max(size, floor)) {
      this.see(`up by ${reason}`)
      this.scaled.push({ _tag: "ScaledUp", from: size, to: wanted, reason })
    }
    this.floor = Math.max(min, wanted)
    const old = idle.filter((slot) => slot.idleSince <= now - window / 10).length
    const excess = Math.min(old, open - Math.max(this.floor, median, 1))
    if (excess > 0) this.scaled.push({ _tag: "ScaledDown", from: open, to: open - excess, reason: "Unneeded" })

    this.uses = this.uses.filter((use) => use.until === undefined)
    for (const use of this.uses) use.old = true
    this.peak = this.exclusive()
    this.sampledAt = now
    this.scaleAt = now + interval
  }

  close(): void {
    this.event("shutdown", () => {
      this.shutdown = true
      this.state.shutdown(this.now)
    })
  }

  /** An event, the actions that follow from it, and the check of everything. */
  private event(what: string, f: () => void): void {
    this.events++
    this.what = what
    f()
    this.take()
    this.inspect()
  }

  private see(what: string): void {
    this.seen[what] = (this.seen[what] ?? 0) + 1
  }

  /** Sees what is to be done. */
  private take(): void {
    for (const action of this.state.actions.splice(0)) {
      this.see(
        action._tag === "Report"
          ? action.event._tag
          : "reason" in action
          ? `${action._tag} ${action.reason}`
          : action._tag
      )
      const late = action._tag === "Fail" || (action._tag === "Report" && action.event._tag === "LeakReturned")
      this.check(this.drained === 0 || late, `${action._tag} after Drained`)
      switch (action._tag) {
        case "Lease": {
          const client = this.clientOf(action.lease)
          this.check(!this.shutdown, "lent after shutdown")
          this.check(this.suspended === undefined, "lent while suspended")
          this.check(client.status === "waiting", `a lease for ${client.name}, which is ${client.status}`)
          const ahead = this.queue().filter((other) =>
            other.name < client.name && other.lease.lane === client.lease.lane
          )
          this.check(
            !ahead.some((other) => other.lease.shared === client.lease.shared),
            `${client.name} was served before ${ahead[0]?.name}`
          )
          this.check(
            ahead.length === 0 || (client.lease.shared && client.lease.slot!.load > 1),
            `${client.name} got a whole connection before ${ahead[0]?.name}`
          )
          client.status = "held"
          this.lent(client)
          break
        }
        case "Fail": {
          const client = this.clientOf(action.lease)
          this.check(client.status === "waiting", `a failure for ${client.name}, which is ${client.status}`)
          client.status = "failed"
          if (action.reason === "AcquireTimeout") {
            this.check(client.askedAt + this.options.acquireTimeout <= this.now, `${client.name} failed too early`)
          }
          if (action.reason === "PoolClosed") this.check(this.shutdown, "closed without shutdown")
          if (action.reason === "QueueFull") {
            this.check(this.options.maxWaiting < Infinity, "full without limit")
          }
          if (action.reason === "Suspended") {
            const isOver = client.askedAt + this.options.acquireTimeout <= this.now
            this.check(this.suspended === "reject" || this.suspended === "hold" && isOver, "suspended without reason")
          }
          break
        }
        case "Connect":
          this.check(!this.known.has(action.slot), `${action.slot.id} is opened twice`)
          this.check(!this.shutdown, "opened after shutdown")
          this.check(this.suspended === undefined, "opened while suspended")
          this.check(this.state.slots.size <= this.state.limit, `one of ${this.state.slots.size} connections is opened`)
          this.known.set(action.slot, {
            slot: action.slot,
            status: "connecting",
            endsAt: Infinity,
            abandoned: 0,
            retired: false,
            suspect: undefined,
            cut: false
          })
          break
        case "Abandon":
          this.check(this.statusOf(action.slot) === "connecting", `${action.slot.id} is not being opened`)
          break
        case "Ping":
          this.check(this.statusOf(action.slot) === "open", `ping of ${action.slot.id}`)
          this.known.get(action.slot)!.status = "pinging"
          break
        case "Reset":
          this.check(this.statusOf(action.slot) === "open", `reset of ${action.slot.id}`)
          this.known.get(action.slot)!.status = "resetting"
          break
        case "Close":
          this.check(
            this.statusOf(action.slot) === "open" || action.abrupt,
            `${action.slot.id} is closed, and is ${this.what}`
          )
          this.known.get(action.slot)!.status = "closing"
          this.known.get(action.slot)!.cut = action.abrupt
          break
        case "Reclaim": {
          const { lease } = action
          this.check(this.clientOf(lease).status === "held", `${this.clientOf(lease).name} has nothing to reclaim`)
          this.check(this.now - lease.heldAt >= this.options.reclaimAfter, "reclaimed too early")
          break
        }
        case "Report":
          this.told(action.event, action.lease)
          break
        case "Wake":
          this.check(action.at < this.wakeAt, "a Wake that is no earlier than the one before")
          this.wakeAt = action.at
          break
        case "Drained":
          this.check((this.shutdown || this.draining) && this.state.slots.size === 0, "drained too early")
          this.draining = false
          if (!this.shutdown) break
          this.drained++
          this.check(this.drained === 1, "drained twice")
          break
      }
    }
  }

  /** The pool tells about itself. */
  private told(event: PoolEvent, lease: Lease<number> | undefined): void {
    switch (event._tag) {
      case "Created":
        this.created++
        return
      case "Closed":
        this.closed++
        return
      case "LeakSuspected": {
        const client = this.clientOf(lease!)
        this.check(++client.leaks === 1, `${client.name} is suspected twice`)
        this.check(client.status === "held" && event.millis >= this.options.leakThreshold, "suspected too early")
        return
      }
      case "LeakReturned": {
        const client = this.clientOf(lease!)
        this.check(client.leaks === 1 && client.status === "ended", `${client.name} has returned nothing`)
        return
      }
      case "ScaledUp":
      case "ScaledDown": {
        const expected = this.scaled.shift()
        this.check(
          expected !== undefined && JSON.stringify(event) === JSON.stringify(expected),
          `${JSON.stringify(event)} instead of ${JSON.stringify(expected)}`
        )
        return
      }
      case "LimitChanged":
        this.check(event.from !== event.to, "the limit has not changed")
        this.check(event.to >= 1, "nothing may run")
        return
      case "OverloadRaised":
        this.check(event.to === event.from + 1, `raised from ${event.from} to ${event.to}`)
        return
    }
  }

  private lent(client: Client): void {
    const { lease } = client
    const slot = lease.slot!
    this.used(client)
    this.check(this.held().length <= this.mayRun, `${this.held().length} run`)
    this.check(!this.known.get(slot)!.retired, `${client.name} got ${slot.id}, which was retired`)
    this.check(this.known.get(slot)!.suspect === undefined, `${client.name} got ${slot.id}, which is in doubt`)
    this.check(this.statusOf(slot) === "open", `${client.name} got ${slot.id}, which is ${this.statusOf(slot)}`)
    this.check(
      Math.min(slot.expiresAt, this.known.get(slot)!.endsAt) > this.now,
      `${client.name} got a connection that is too old`
    )
    this.check(slot.load <= this.options.pipelineDepth, `more than pipelineDepth on ${slot.id}`)
    this.check(lease.deadline === Infinity || lease.askedAt === client.askedAt, "the deadline has moved")
    if (lease.shared && slot.load > 1) {
      this.see("joined")
      // Those before it, as it found them.
      const others = this.sharers(slot).filter((other) => other !== client)
      const found = others.filter((other) => other.lease.heldAt < this.now || other.name < client.name)
      this.check(found.every((other) => other.lease.proven), `${client.name} waits behind an unknown statement`)
      this.check(this.known.get(slot)!.abandoned === 0, `${client.name} waits behind an abandoned statement`)
      this.check(this.now - slot.headSince < this.slowLimit, `${client.name} waits behind a slow one`)
    } else if (slot.aliveAt < this.now) {
      this.check(slot.aliveAt + this.options.validateAfter >= this.now, `${client.name} got ${slot.id} without a ping`)
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What must hold after every event
  // -------------------------------------------------------------------------------------------------------------------

  private inspect(): void {
    const { maxConnecting, pipelineDepth, slowConnect } = this.options
    const { floor } = this
    const { connections, demand: ahead, dispatcher, limiter, opening, queue: waiters, sharing } = partsOf(this.state)
    const slots = [...this.state.slots]
    const held = this.held()
    const queue = this.queue()
    const inPhase = (phase: Slot<number>["phase"]) => slots.filter((slot) => slot.phase === phase)

    // The way to the server is as long as the fastest answer of the last minute, or two.
    while (this.answers.length > 0 && this.answers[0]![0] <= this.now - 120_000) this.answers.shift()
    const recent = this.answers.filter(([at]) => at > this.now - 60_000)
    const { fastest } = sharing.roundTrip
    if (recent.length > 0) {
      this.check(recent.every(([, millis]) => fastest <= millis), `the fastest answer is ${fastest}`)
      this.check(this.answers.some(([, millis]) => fastest === millis), `no answer took ${fastest}`)
    }

    // Capacity. When it has shrunk, the number of connections does so as they come back.
    const { ceiling } = partsOf(this.state).server
    if (ceiling > this.ceiling) {
      this.check(this.refusedAt + this.options.overloadRecovery <= this.now, "raised too early")
      this.check(ceiling === this.ceiling + 1 || this.ceiling + 1 >= this.options.max, `raised to ${ceiling}`)
      this.refusedAt = this.now
    } else this.equal(ceiling, this.ceiling, "ceiling")
    this.ceiling = ceiling
    this.check(slots.length <= Math.max(this.limit, this.size), `${slots.length} connections`)
    this.size = slots.length
    this.check(connections.opening.length <= maxConnecting, `${connections.opening.length} are being opened`)

    // What the state says of each connection is what has happened to it.
    const expected = { Connecting: "connecting", Validating: "pinging", Resetting: "resetting", Closing: "closing" }
    for (const slot of slots) {
      const status = (expected as Record<string, string>)[slot.phase] ?? "open"
      this.check(this.statusOf(slot) === status, `${slot.id} is ${slot.phase} and ${this.statusOf(slot)}`)
    }
    for (const known of this.slots()) {
      this.check(this.state.slots.has(known.slot) === (known.status !== "gone"), `${known.slot.id} is ${known.status}`)
    }

    // Leases and connections belong to each other.
    for (const client of this.clients) {
      const { state } = client.lease
      const status = { New: "?", Waiting: "waiting", Held: "held", Failed: "failed", Ended: "ended" }[state]
      this.check(status === client.status || client.status === "failed", `${client.name} is ${state}`)
    }
    for (const client of held) {
      const slot = client.lease.slot!
      const phase = client.lease.shared ? "Shared" : "Leased"
      this.check(
        slot.phase === phase || slot.phase === "Gone" || this.known.get(slot)!.cut,
        `${client.name} holds ${slot.id}, which is ${slot.phase}`
      )
    }
    for (const slot of slots) {
      if (this.known.get(slot)!.cut) continue
      const holders = held.filter((client) => client.lease.slot === slot)
      const whole = holders.filter((client) => !client.lease.shared)
      this.check(whole.length === (slot.phase === "Leased" ? 1 : 0), `${whole.length} have ${slot.id} for themselves`)
      this.check(holders.every((client) => client.lease.lane === slot.lane), `two lanes on ${slot.id}`)
      this.check(holders.length - whole.length === (slot.phase === "Shared" ? slot.load : 0), `load of ${slot.id}`)
      this.check(slot.phase !== "Shared" || slot.load > 0, `${slot.id} is shared by nobody`)
      if (slot.phase === "Leased") this.check(slot.lease === whole[0]!.lease, `lease of ${slot.id}`)
      else {
        const line: Array<Lease<number>> = []
        for (let lease = slot.lease; lease !== undefined; lease = lease.next) line.push(lease)
        this.check(
          line.length === holders.length && line.every((lease) => holders.some((client) => client.lease === lease)),
          `line of ${slot.id}`
        )
        this.check(line.every((lease, i) => i === 0 || line[i - 1]!.heldAt <= lease.heldAt), `order on ${slot.id}`)
        this.check(slot.last === line.at(-1), `last of ${slot.id}`)
      }
      if (slot.phase === "Shared") {
        const unproven = holders.filter((client) => !client.lease.proven).length + this.known.get(slot)!.abandoned
        // An abandoned statement that nobody knew is counted once.
        this.check(slot.unproven <= unproven && (slot.unproven > 0) === (unproven > 0), `unproven on ${slot.id}`)
      }
    }

    // Counters.
    const used = inPhase("Leased").length + inPhase("Shared").length
    const open = slots.length - inPhase("Connecting").length - inPhase("Closing").length
    this.equal(connections.opening.length, inPhase("Connecting").length, "opening")
    this.equal(connections.pinging.length, inPhase("Validating").length, "pinging")
    this.equal(connections.resetting.length, inPhase("Resetting").length, "resetting")
    this.check(connections.closing.length <= inPhase("Closing").length, "closing")
    this.equal(connections.idle.length, inPhase("Idle").length, "idle")
    this.equal(sharing.slots.length, inPhase("Shared").length, "shared")
    this.equal(connections.used, used, "used")
    for (const [i, lane] of waiters.lanes.entries()) {
      this.equal(lane.used, this.usedBy(i), `used by lane ${i}`)
      this.check(lane.used <= Math.max(this.usedBefore[i] ?? 0, this.most(i)), `lane ${i} has ${lane.used}`)
      this.usedBefore[i] = lane.used
    }
    this.equal(connections.open, open, "open")
    this.equal(ahead.floor, floor, "floor")
    if (this.options.adaptive) {
      this.equal(dispatcher.running, held.length, "running")
      const { max, pipelineDepth } = this.options
      this.check(limiter!.limit >= 1 && limiter!.limit <= max * pipelineDepth, `limit on what runs: ${limiter!.limit}`)
    }
    this.equal(sharing.reserved, slots.filter((slot) => slot.reserved).length, "reserved")
    this.equal(this.state.waiting, queue.length, "waiting")
    this.equal(this.state.counts.total, slots.length, "total")
    this.equal(this.created - this.closed, open, "created and not closed")

    if (this.shutdown) {
      this.equal(queue.length, 0, "waiting after shutdown")
      this.equal(inPhase("Idle").length, 0, "idle after shutdown")
      this.equal(this.drained, slots.length === 0 ? 1 : 0, "drained")
      return
    }

    if (this.suspended !== undefined) {
      if (this.suspended === "reject") this.equal(queue.length, 0, "waiting while others are rejected")
      for (const client of queue) this.check(this.wakeAt <= client.lease.deadline, `${client.name} is forgotten`)
      this.check(!this.draining || slots.length > 0, "drained, and nobody was told")
      return
    }

    // Reservations.
    const lanes = Array.from({ length: this.options.lanes.length + 1 }, (_, i) => i)
    const waiting = (lane: number, shared: boolean) =>
      queue.filter((client) => client.lease.lane === lane && client.lease.shared === shared).length
    // Without lanes, all who wait could have one.
    const many = lanes.length > 1
    const reservedFor = lanes
      .map((lane) => Math.min(waiting(lane, false), many ? this.claim(lane) : Infinity))
      .reduce((a, b) => a + b)
    this.equal(sharing.reserved, Math.min(reservedFor, sharing.slots.length), "reserved for those who wait")
    const space = (lane: number) => many ? Math.max(0, this.room(lane)) : Infinity
    const free = Math.max(0, this.mayRun - held.length)
    const whole = Math.min(
      free,
      lanes.map((lane) => Math.min(waiting(lane, false), space(lane))).reduce((a, b) => a + b)
    )
    const sharers = Math.min(
      free - whole,
      lanes
        .map((lane) => Math.min(waiting(lane, true), Math.max(0, space(lane) - waiting(lane, false))))
        .reduce((a, b) => a + b)
    )
    const demand = whole + sharers
    this.check(slots.every((slot) => !slot.reserved || slot.phase === "Shared"), "reserved and not shared")

    // Nobody waits for what is there.
    const slow = (list: ReadonlyArray<Slot<number>>) =>
      list.filter((slot) => slot.since + slowConnect <= this.now).length
    if (demand > 0) {
      const fresh = this.fresh()
      this.check(fresh === undefined, `${queue[0]!.name} waits beside ${fresh?.id}`)
      const pings = connections.pinging.length - slow(connections.pinging)
      // Time may have passed since the last event: a tick is due then.
      const pinged = connections.idle.length === 0 || pings >= demand || this.wakeAt <= this.now
      this.check(pinged, "idle connections are not pinged")
    }
    for (const lane of lanes) {
      if (waiting(lane, true) === 0 || free === 0) continue
      for (const slot of sharing.slots) {
        if (slot.lane !== lane) continue
        this.check(
          slot.load >= pipelineDepth || slot.unproven > 0 || slot.reserved || slot.expiresAt <= this.now ||
            slot.retired !== undefined || slot.suspicion !== undefined ||
            this.now - slot.headSince >= this.slowLimit,
          `a statement waits, although ${slot.id} has room for it`
        )
      }
    }

    // Supply: as many as are wanted are under way, unless something that is known forbids it.
    const hanging = slow(connections.opening)
    const underWay = connections.opening.length - hanging
    const pings = slow(connections.pinging) > 0 ? 0 : connections.pinging.length
    // Statements that wait beside shared connections are given a moment.
    const asked = sharers > 0 ? queue.find((client) => client.lease.shared)?.lease.askedAt : undefined
    const patient = asked !== undefined && sharing.slots.length > 0 &&
      (asked + this.options.shareWait > this.now || this.wakeAt <= this.now)
    const pressing = whole + (patient ? 0 : Math.ceil(sharers / 16))
    const wanted = Math.max(pressing - pings, floor - open)
    const possible = Math.min(
      this.limit - slots.length,
      opening.window - underWay,
      maxConnecting - connections.opening.length
    )
    if (Math.min(wanted - underWay, possible) > 0) {
      const excuse = Math.min(opening.retryAt > this.now ? opening.retryAt : Infinity, this.now)
      this.check(
        opening.retryAt > this.now || this.wakeAt <= excuse,
        `${wanted} wanted, ${underWay} under way, nothing is opened`
      )
      if (opening.retryAt > this.now) this.check(this.wakeAt <= opening.retryAt, "the retry is forgotten")
    }

    // The timer.
    const due: Array<readonly [string, number]> = queue.map((client) => ["deadline", client.lease.deadline])
    for (const slot of [...connections.pinging, ...connections.resetting, ...connections.closing]) {
      due.push(["answer", slot.since + this.options.controlTimeout])
    }
    // A pool without a connection finds out by itself when the server is back.
    if (this.outage && open === 0 && connections.opening.length === 0 && this.limit > slots.length) {
      due.push(["prober", opening.probeAt])
    }
    for (const slot of connections.idle) {
      const endsAt = Math.min(slot.expiresAt, this.known.get(slot)!.endsAt)
      due.push(["lifetime", endsAt], ["keepAlive", slot.aliveAt + this.options.keepAlive])
      if (open > floor) due.push(["idleTimeout", slot.idleSince + this.options.idleTimeout])
    }
    // When one of those under way hangs, something else is tried, if it can be.
    const room = this.limit - slots.length
    const hangs = [
      ...(demand > 0 && room + connections.idle.length > 0 ? connections.pinging : []),
      ...(wanted > 0 && room > 0 && maxConnecting > connections.opening.length && opening.retryAt <= this.now
        ? connections.opening
        : [])
    ]
    for (const { since } of hangs) if (since + slowConnect > this.now) due.push(["hanging", since + slowConnect])
    for (const client of held) {
      if (client.lease.slot!.phase !== "Leased" && client.lease.slot!.phase !== "Shared") continue
      const { heldAt } = client.lease
      due.push(["reclaim", heldAt + this.options.reclaimAfter])
      if (client.leaks === 0) due.push(["leak", heldAt + this.options.leakThreshold])
    }
    if (this.ceiling < Infinity) due.push(["recovery", this.refusedAt + this.options.overloadRecovery])
    due.push(["scaling", this.scaleAt])
    for (const [what, at] of due) this.check(this.wakeAt <= at, `woken at ${this.wakeAt}, ${what} is due at ${at}`)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end
  // -------------------------------------------------------------------------------------------------------------------

  /** From now on all goes well: everybody who waits is served, or fails at its deadline. */
  recover(): void {
    this.resume()
    for (let round = 0; this.queue().length > 0; round++) {
      this.check(round < 2_000, `${this.queue().length} wait for ever`)
      const before = this.queue()
      for (const known of this.slots()) {
        if (known.status !== "open" && known.status !== "gone") this.settle(known, true)
      }
      for (const client of this.clients) if (client.status === "held") this.end(client)
      this.sleep(5)
      // Whoever is gone from the queue was served or has failed on time; `take` has checked both.
      this.check(this.queue().length <= before.length, "the queue grows by itself")
    }
  }

  /** Shuts down; when all is given back nothing is left. */
  finish(): void {
    this.close()
    for (let round = 0; this.state.slots.size > 0; round++) {
      this.check(round < 100, `${this.state.slots.size} connections are left`)
      for (const client of this.clients) if (client.status === "held") this.end(client)
      for (const known of this.slots()) {
        if (known.status !== "open" && known.status !== "gone") this.settle(known, this.seed.chance(0.5))
      }
      this.sleep(1)
    }
    this.equal(this.drained, 1, "drained")
    // Nothing happens any more.
    for (const known of this.known.values()) {
      this.state.closed(known.slot, this.now)
      this.state.lost(known.slot, this.now, true)
    }
    for (const client of this.clients) this.state.end(client.lease, this.now, true)
    this.state.tick(this.now)
    const late = this.state.actions.filter((action) => action._tag !== "Report")
    this.equal(late.length, 0, "actions after Drained")
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Helpers
  // -------------------------------------------------------------------------------------------------------------------

  /** How many connections a lane has. */
  private usedBy(lane: number): number {
    return [...this.state.slots].filter((slot) =>
      (slot.phase === "Leased" || slot.phase === "Shared") && slot.lane === lane
    ).length
  }

  private guaranteed(lane: number): number {
    return lane === 0 ? 0 : Math.floor(this.options.lanes[lane - 1]!.guaranteed * this.limit)
  }

  /** What a lane may have, if all others leave as much of it as they can. */
  private most(lane: number): number {
    const share = lane === 0 ? 1 : this.options.lanes[lane - 1]!.max
    let rest = this.limit
    for (let i = 0; i <= this.options.lanes.length; i++) if (i !== lane) rest -= this.guaranteed(i)
    return Math.min(Math.max(1, Math.floor(share * this.limit)), rest)
  }

  private claim(lane: number): number {
    return Math.max(0, this.most(lane) - this.usedBy(lane))
  }

  /** How many more connections a lane may have, as the others are. */
  private room(lane: number): number {
    if (this.options.lanes.length === 0) return Infinity
    let rest = this.limit - this.usedBy(lane)
    for (let i = 0; i <= this.options.lanes.length; i++) {
      if (i !== lane) rest -= Math.max(this.usedBy(i), this.guaranteed(i))
    }
    return Math.min(rest, this.most(lane) - this.usedBy(lane))
  }

  /** How much may run at a time. What runs already when the limit becomes smaller goes on. */
  private get mayRun(): number {
    return partsOf(this.state).limiter?.limit ?? Infinity
  }

  /** The most connections just now. */
  private get limit(): number {
    return Math.min(this.options.max, this.ceiling)
  }

  /** From when on a statement counts as slow. */
  private get slowLimit(): number {
    return partsOf(this.state).sharing.roundTrip.fastest + this.options.slowStatement
  }

  /** Forgets what has long been over, so that a long run stays fast. */
  forget(): void {
    const live = this.clients.filter((client) => client.status === "held" || client.status === "waiting")
    this.clients.splice(0, this.clients.length, ...live)
    for (const client of this.useOf.keys()) if (client.status !== "held") this.useOf.delete(client)
    const used = new Set(live.map((client) => client.lease.slot))
    for (const [slot, known] of this.known) if (known.status === "gone" && !used.has(slot)) this.known.delete(slot)
  }

  /** The idle connection that was used last, of those that can be lent at once. */
  private fresh(): Slot<number> | undefined {
    const { idle } = partsOf(this.state).connections
    const usable = idle.filter((slot) =>
      slot.expiresAt > this.now && slot.aliveAt + this.options.validateAfter >= this.now &&
      slot.suspicion === undefined
    )
    return usable.sort((a, b) => a.idleSince - b.idleSince).at(-1)
  }

  private held(): ReadonlyArray<Client> {
    return this.clients.filter((client) => client.status === "held")
  }

  private queue(): ReadonlyArray<Client> {
    return this.clients.filter((client) => client.status === "waiting")
  }

  private sharers(slot: Slot<number>): ReadonlyArray<Client> {
    return this.clients.filter((client) =>
      client.lease.shared && client.status === "held" && client.lease.slot === slot
    )
  }

  private slots(): ReadonlyArray<Known> {
    return [...this.known.values()]
  }

  private statusOf(slot: Slot<number>): string {
    return this.known.get(slot)?.status ?? "unknown"
  }

  private clientOf(lease: Lease<number>): Client {
    const client = this.clients.find((client) => client.lease === lease)
    if (client === undefined) throw new Error(`after ${this.what}: a lease that nobody has`)
    return client
  }

  private equal(actual: number, expected: number, what: string): void {
    this.check(actual === expected, `${what} is ${actual} and should be ${expected}`)
  }

  private check(condition: boolean, problem: string): void {
    if (!condition) throw new Error(`${problem} (event ${this.events}: ${this.what}, at ${this.now})`)
  }
}

/** One run: random events, recovery, the end. Returns how many events there were. */
export const run = (make: Make, seed: Seed, events: number): World => {
  const world = new World(make, seed)
  while (world.events < events) {
    world.step()
    if (world.events % 64 === 0) world.forget()
  }
  if (seed.chance(0.8)) world.recover()
  world.finish()
  return world
}
