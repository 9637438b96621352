/**
 * What the checker knows: plain arrays, searched from end to end, and what follows from them. It is too simple to be
 * wrong, and keeps nothing that it can count again.
 */
import type { PoolEvent, Suspicion } from "../../../../src/pool/state/PoolEvent.ts"
import type { PoolState } from "../../../../src/pool/state/PoolState.ts"
import type { Lease, Slot } from "../../../../src/pool/state/Slot.ts"
import { StatementProfile } from "../../../../src/pool/state/StatementProfile.ts"
import type { Options } from "../../../../src/pool/state/StateOptions.ts"
import type { Seed } from "../../../support/seed.ts"
import { partsOf } from "./parts.ts"
import { randomOptions } from "./randomOptions.ts"

/** Makes the state that is tested. */
export type Make = (options: Options, random: () => number) => PoolState<number>

/** What the checker knows of a lease, from what it did and was told. */
export interface Client {
  readonly name: number
  readonly lease: Lease<number>
  status: "waiting" | "held" | "failed" | "ended"
  readonly askedAt: number
  /** How often it was reported to hold its connection for too long. */
  leaks: number
}

/** What the checker knows of a connection. */
export interface Known {
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
export interface Use {
  readonly shares: boolean
  readonly from: number
  until: number | undefined
  /** Whether it had its connection at the last sample already. */
  old: boolean
}

export class Books {
  now = 0
  events = 0
  /** How often what was seen, to know that a run sees everything. */
  readonly seen: Record<string, number> = {}

  readonly seed: Seed
  options: Options
  readonly state: PoolState<number>
  /** How often somebody comes, and how many of them want to share. */
  readonly rush: number
  readonly sharing: number
  readonly clients: Array<Client> = []
  readonly known = new Map<Slot<number>, Known>()
  readonly useOf = new Map<Client, Use>()
  readonly profiles = Array.from({ length: 4 }, () => new StatementProfile())
  nextName = 1
  wakeAt = Infinity
  tickedAt = -1
  ticksAtOnce = 0
  shutdown = false
  drained = 0
  suspended: "hold" | "reject" | undefined = undefined
  draining = false
  /** How many there were after the event before. */
  size = 0
  created = 0
  /** How many connections each lane had after the event before. */
  readonly usedBefore: Array<number> = []
  closed = 0
  /** What the server has room for, and when it refused last. */
  ceiling = Infinity
  /** Whether the last attempt to connect has failed, and not because the pool ended it. */
  outage = false
  refusedAt = -Infinity
  /** How long answers took, with the time at which they came, that tell how long the way to the server is. */
  readonly answers: Array<readonly [at: number, millis: number]> = []
  /** What scaling has to go by: who had a connection since the last sample, and what the samples so far needed. */
  uses: Array<Use> = []
  peak = 0
  needs: Array<number> = []
  sampledAt: number | undefined = undefined
  scaleAt = Infinity
  /** How many connections are kept without demand. */
  floor: number
  /** How many more there is room for elsewhere. */
  spare = Infinity
  /** What scaling is expected to tell. */
  scaled: Array<PoolEvent> = []
  what = "nothing"

  constructor(make: Make, seed: Seed) {
    this.seed = seed
    this.options = randomOptions(seed)
    this.floor = this.options.min
    this.rush = seed.pick([0.1, 0.25, 0.35])
    this.sharing = seed.pick([0, 0.5, 0.9])
    this.state = make(this.options, seed.fork().next)
  }

  see(what: string): void {
    this.seen[what] = (this.seen[what] ?? 0) + 1
  }

  exclusive(): number {
    return this.uses.filter((use) => !use.shares && use.until === undefined).length
  }

  /** How many connections a lane has. */
  usedBy(lane: number): number {
    return [...this.state.slots].filter((slot) =>
      (slot.phase === "Leased" || slot.phase === "Shared") && slot.lane === lane
    ).length
  }

  guaranteed(lane: number): number {
    return lane === 0 ? 0 : Math.floor(this.options.lanes[lane - 1]!.guaranteed * this.limit)
  }

  /** What a lane may have, if all others leave as much of it as they can. */
  most(lane: number): number {
    const share = lane === 0 ? 1 : this.options.lanes[lane - 1]!.max
    let rest = this.limit
    for (let i = 0; i <= this.options.lanes.length; i++) if (i !== lane) rest -= this.guaranteed(i)
    return Math.min(Math.max(1, Math.floor(share * this.limit)), rest)
  }

  claim(lane: number): number {
    return Math.max(0, this.most(lane) - this.usedBy(lane))
  }

  /** How many more connections a lane may have, as the others are. */
  room(lane: number): number {
    if (this.options.lanes.length === 0) return Infinity
    let rest = this.limit - this.usedBy(lane)
    for (let i = 0; i <= this.options.lanes.length; i++) {
      if (i !== lane) rest -= Math.max(this.usedBy(i), this.guaranteed(i))
    }
    return Math.min(rest, this.most(lane) - this.usedBy(lane))
  }

  /** How much may run at a time. What runs already when the limit becomes smaller goes on. */
  get mayRun(): number {
    return partsOf(this.state).limiter?.limit ?? Infinity
  }

  /** The most connections just now. */
  get limit(): number {
    return Math.min(this.options.max, this.ceiling)
  }

  /** From when on a statement counts as slow. */
  get slowLimit(): number {
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
  fresh(): Slot<number> | undefined {
    const { idle } = partsOf(this.state).connections
    const usable = idle.filter((slot) =>
      slot.expiresAt > this.now && slot.aliveAt + this.options.validateAfter >= this.now &&
      slot.suspicion === undefined
    )
    return usable.sort((a, b) => a.idleSince - b.idleSince).at(-1)
  }

  held(): ReadonlyArray<Client> {
    return this.clients.filter((client) => client.status === "held")
  }

  queue(): ReadonlyArray<Client> {
    return this.clients.filter((client) => client.status === "waiting")
  }

  sharers(slot: Slot<number>): ReadonlyArray<Client> {
    return this.clients.filter((client) =>
      client.lease.shared && client.status === "held" && client.lease.slot === slot
    )
  }

  slots(): ReadonlyArray<Known> {
    return [...this.known.values()]
  }

  statusOf(slot: Slot<number>): string {
    return this.known.get(slot)?.status ?? "unknown"
  }

  clientOf(lease: Lease<number>): Client {
    const client = this.clients.find((client) => client.lease === lease)
    if (client === undefined) throw new Error(`after ${this.what}: a lease that nobody has`)
    return client
  }

  /** Until when a client waits. */
  deadlineOf(client: Client): number {
    return client.askedAt + this.options.acquireTimeout
  }

  equal(actual: number, expected: number, what: string): void {
    this.check(actual === expected, `${what} is ${actual} and should be ${expected}`)
  }

  check(condition: boolean, problem: string): void {
    if (!condition) throw new Error(`${problem} (event ${this.events}: ${this.what}, at ${this.now})`)
  }
}
