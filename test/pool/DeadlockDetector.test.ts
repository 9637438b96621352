import { assert, describe, it } from "@effect/vitest"
import { DeadlockDetector, type Place } from "../../src/pool/DeadlockDetector.ts"
import { ConnectionQuota } from "../../src/pool/state/ConnectionQuota.ts"
import { PoolState } from "../../src/pool/state/PoolState.ts"
import { Lease, type Slot } from "../../src/pool/state/Slot.ts"
import { type Seed, seed } from "../support/seed.ts"
import { defaults } from "./state/steps.ts"

/** A pool whose connections are there at once if there is room in the budget. */
class Fake implements Place<number> {
  readonly state: PoolState<number>
  readonly budget: ConnectionQuota | undefined
  private readonly asked = new Set<Slot<number>>()

  constructor(max: number, budget: ConnectionQuota | undefined) {
    this.state = new PoolState({ ...defaults, max, maxConnecting: max, acquireTimeout: Infinity }, () => 0.5)
    this.budget = budget
  }

  readonly lacksRoom = (slot: Slot<number>): boolean => this.asked.has(slot)

  acquire(lease: Lease<number>): boolean {
    this.state.acquire(lease, 0)
    this.perform()
    return lease.state === "Held"
  }

  end(lease: Lease<number>): void {
    this.state.end(lease, 0, true)
    this.perform()
  }

  /** Opens what there is room for by now. */
  perform(): void {
    for (let action = this.state.actions.shift(); action !== undefined; action = this.state.actions.shift()) {
      if (action._tag === "Connect") this.asked.add(action.slot)
      this.open()
    }
    this.open()
  }

  private open(): void {
    for (const slot of this.asked) {
      if (this.budget !== undefined && this.budget.used >= this.budget.total) return
      if (this.budget !== undefined) this.budget.used++
      this.asked.delete(slot)
      this.state.connected(slot, 1, 0)
    }
  }

  /** Closes a connection that nobody has. Returns whether there was one. */
  giveUp(): boolean {
    if (!this.state.giveUpIdle(0)) return false
    for (const slot of this.state.slots) {
      if (slot.phase !== "Closing") continue
      this.budget!.used--
      this.state.closed(slot, 0)
    }
    this.perform()
    return true
  }
}

/** Somebody who has connections and may wait for another one. */
interface Client {
  readonly held: Array<readonly [Fake, Lease<number>]>
  wants: readonly [Fake, Lease<number>] | undefined
}

/** Some pools, with a budget or without, and clients who take connections at random until some wait. */
class World {
  readonly nesting = new DeadlockDetector<number>()
  readonly pools: ReadonlyArray<Fake>
  readonly clients: ReadonlyArray<Client>

  constructor(random: Seed) {
    const budget = random.chance(0.7) ? new ConnectionQuota(random.int(1, 6)) : undefined
    this.pools = Array.from({ length: random.int(1, 3) }, () => new Fake(random.int(1, 4), budget))
    for (const pool of this.pools) this.nesting.places.add(pool)
    this.clients = Array.from({ length: random.int(1, 6) }, () => ({ held: [], wants: undefined }))
  }

  take(client: Client, pool: Fake): void {
    const lease = new Lease<number>(false)
    client.wants = [pool, lease]
    if (!pool.acquire(lease)) {
      if (client.held.length > 0) this.nesting.add(lease, pool, new Set(client.held.map(([, lease]) => lease)))
      // Whoever has a connection that is idle elsewhere may have to give it up for this one.
      this.relieve()
    }
    this.settle()
  }

  /** Whoever waited may have got what it wants by now. */
  settle(): void {
    for (const client of this.clients) {
      if (client.wants?.[1].state !== "Held") continue
      client.held.push(client.wants)
      this.nesting.remove(client.wants[1])
      client.wants = undefined
    }
  }

  relieve(): void {
    while (
      this.pools.some((pool) => pool.state.waiting > 0 && pool.state.slots.size > 0) &&
      this.pools.some((pool) => pool.budget !== undefined && pool.state.counts.idle > 0 && pool.giveUp())
    ) for (const pool of this.pools) pool.perform()
  }

  finish(client: Client): void {
    if (client.wants !== undefined) {
      this.nesting.remove(client.wants[1])
      client.wants[0].end(client.wants[1])
      client.wants = undefined
    }
    for (const [pool, lease] of client.held.splice(0)) pool.end(lease)
    this.relieve()
    this.settle()
  }

  /** Lets everybody who does not wait finish until nobody can any more. Returns who is left. */
  run(): ReadonlyArray<Client> {
    for (;;) {
      const client = this.clients.find((client) => client.wants === undefined && client.held.length > 0)
      if (client === undefined) return this.clients.filter((client) => client.wants !== undefined)
      this.finish(client)
    }
  }
}

describe("Nesting", () => {
  /** How many of so many runs end with somebody who waits for ever, and how often somebody was refused. */
  const check = (runs: number, refuse: boolean) => {
    const random = seed(5)
    let stuck = 0
    let refused = 0
    for (let i = 0; i < runs; i++) {
      const world = new World(random)
      for (let step = 0; step < 20; step++) {
        const client = random.pick(world.clients as [Client])
        if (client.wants === undefined && random.chance(0.8)) world.take(client, random.pick(world.pools as [Fake]))
        else if (client.wants === undefined) world.finish(client)
        for (const pool of refuse ? world.pools : []) {
          for (let lease = world.nesting.stuck(pool); lease !== undefined; lease = world.nesting.stuck(pool)) {
            refused++
            const victim = world.clients.find((client) => client.wants?.[1] === lease)!
            // Only those are refused who would wait for ever, whatever the others do.
            assert.isDefined(victim, "somebody was refused who does not wait")
            assert.isAbove(victim.held.length, 0)
            world.nesting.remove(lease)
            pool.end(lease)
            victim.wants = undefined
            world.settle()
          }
        }
      }
      if (world.run().length > 0) stuck++
    }
    return { stuck, refused }
  }

  it("lets nobody wait for ever, over 5,000 worlds of pools and budgets", () => {
    const { refused, stuck } = check(5_000, true)
    assert.strictEqual(stuck, 0)
    assert.isAbove(refused, 500)
    // Without it, many would.
    assert.isAbove(check(500, false).stuck, 50)
  })

  it("refuses nobody who would be served, over 5,000 worlds of pools and budgets", () => {
    const random = seed(6)
    let waited = 0
    let stuck = 0
    for (let i = 0; i < 5_000; i++) {
      const world = new World(random)
      for (let step = 0; step < 12; step++) {
        const client = random.pick(world.clients as [Client])
        if (client.wants === undefined) world.take(client, random.pick(world.pools as [Fake]))
      }
      const nested = world.clients.filter((client) => client.wants !== undefined && client.held.length > 0)
      const found = world.pools.some((pool) => world.nesting.stuck(pool) !== undefined)
      const left = world.run().filter((client) => nested.includes(client))
      waited += nested.length
      if (found) stuck++
      assert.strictEqual(found, left.length > 0)
    }
    assert.isAbove(waited, 1_000)
    assert.isAbove(stuck, 300)
  })
})
