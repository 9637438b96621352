/**
 * Random events for a `PoolState`, and a reference that is too simple to be wrong: plain arrays, searched from end to
 * end. After every event everything that can be recounted is recounted.
 */
import type { ConnectFailure, Suspicion } from "../../../../src/pool/state/PoolEvent.ts"
import { Lease, type Slot } from "../../../../src/pool/state/Slot.ts"
import type { StatementProfile } from "../../../../src/pool/state/StatementProfile.ts"
import type { Seed } from "../../../support/seed.ts"
import { Books, type Client, type Known, type Make } from "./Books.ts"
import { inspect } from "./inspect.ts"
import { partsOf } from "./parts.ts"
import { sample } from "./scaling.ts"
import { lent, take } from "./take.ts"

export class World extends Books {
  constructor(make: Make, seed: Seed) {
    super(make, seed)
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
      lent(this, client)
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
        const first = slot!.lease === lease && lease.since >= slot!.headSince && slot!.phase === "Shared"
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
      if (this.scaleAt <= this.now && !this.shutdown) sample(this)
      this.state.tick(this.now)
    })
    this.check(this.scaled.length === 0, `${this.scaled[0]?._tag} was expected`)
    for (const client of this.queue()) {
      this.check(this.deadlineOf(client) > this.now, `${client.name} waits after its deadline`)
    }
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
    take(this)
    inspect(this)
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
