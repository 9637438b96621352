import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as TestClock from "effect/testing/TestClock"
import type { Connection } from "../../src/Adapter.ts"
import * as Pool from "../../src/pool/Pool.ts"
import { FakeAdapter, type FakeConnection, refused } from "../../src/testing/FakeAdapter.ts"
import { exactSeed, type Seed, seed } from "../support/seed.ts"
import { Simulation } from "../support/simulation.ts"
import { fork, quick } from "./support.ts"

/** A way to a connection. */
type Way = <A, E>(
  pool: Pool.Pool,
  f: (connection: Connection) => Effect.Effect<A, E>
) => Effect.Effect<A, E | SqlError>

const ways: Readonly<Record<"use" | "reserve" | "share" | "lease", Way>> = {
  use: (pool, f) => pool.use(f),
  reserve: (pool, f) => Effect.scoped(Effect.flatMap(pool.reserve, f)),
  share: (pool, f) => pool.share(quick(), f),
  lease: (pool, f) =>
    Effect.withFiber((fiber) => {
      const lease = pool.leaseUnsafe(fiber, quick(), { runOn: f })!
      return Effect.onExitPrimitive(lease.effect, (exit) => {
        lease.end(Exit.isSuccess(exit) ? undefined : exit.cause)
        return undefined
      })
    })
}

const sleep = (connection: Connection) => connection.execute("sleep 100", [], undefined)

/** Nothing is lent, nobody waits, and the pool still works. */
const assertWhole = Effect.fnUntraced(function*(pool: Pool.Pool, fake: FakeAdapter, max: number) {
  yield* TestClock.adjust("1 minute")
  const stats = yield* pool.stats
  assert.deepInclude(stats, { used: 0, waiting: 0, connecting: 0 })
  assert.strictEqual(stats.total, stats.idle)
  assert.strictEqual(stats.total, fake.open.length)
  assert.isAtMost(fake.peak, max)
  for (let i = 0; i < max; i++) yield* fork(pool.use(() => Effect.never))
  yield* TestClock.adjust("1 second")
  assert.deepInclude(yield* pool.stats, { used: max, waiting: 0 })
})

/** Where somebody is when it is interrupted. Each brings its client to the gate and lets time go on after it. */
const gates: Readonly<
  Record<
    string,
    (
      pool: Pool.Pool,
      fake: FakeAdapter,
      way: Way
    ) => Effect.Effect<Fiber.Fiber<unknown, unknown>, never, Scope.Scope>
  >
> = {
  waiting: Effect.fnUntraced(function*(pool, _fake, way) {
    yield* Effect.forkScoped(pool.use(() => Effect.sleep("1 second")), { startImmediately: true })
    yield* Effect.forkScoped(pool.use(() => Effect.sleep("1 second")), { startImmediately: true })
    const client = yield* fork(way(pool, sleep))
    assert.deepInclude(yield* pool.stats, { waiting: 1 })
    return client
  }),
  connecting: Effect.fnUntraced(function*(pool, fake, way) {
    fake.onConnect = () => Effect.sleep("1 second")
    const client = yield* fork(way(pool, sleep))
    yield* TestClock.adjust("500 millis")
    assert.deepInclude(yield* pool.stats, { waiting: 1, connecting: 1 })
    return client
  }),
  validating: Effect.fnUntraced(function*(pool, fake, way) {
    yield* Effect.orDie(pool.use(() => Effect.void))
    fake.onPing = () => Effect.sleep("100 millis")
    yield* TestClock.adjust("10 seconds")
    const client = yield* fork(way(pool, sleep))
    assert.strictEqual(fake.connections[0]!.pings, 1)
    return client
  }),
  "holding it": Effect.fnUntraced(function*(pool, _fake, way) {
    const client = yield* fork(way(pool, () => Effect.never))
    assert.deepInclude(yield* pool.stats, { used: 1 })
    return client
  }),
  "in a statement": Effect.fnUntraced(function*(pool, fake, way) {
    const client = yield* fork(way(pool, sleep))
    yield* TestClock.adjust("50 millis")
    assert.deepStrictEqual(fake.connections[0]!.ran, ["sleep 100"])
    return client
  }),
  releasing: Effect.fnUntraced(function*(pool, fake, way) {
    // It gives back something that has to be cleaned up, while somebody waits for it.
    fake.onReset = () => Effect.sleep("100 millis")
    const done = yield* Deferred.make<void>()
    const client = yield* fork(
      way(pool, (connection) => Effect.andThen(connection.execute("set a", [], undefined), Deferred.await(done)))
    )
    yield* Effect.forkScoped(pool.use(() => Effect.sleep("1 second")), { startImmediately: true })
    yield* Effect.forkScoped(pool.use(() => Effect.sleep("1 second")), { startImmediately: true })
    yield* Deferred.succeed(done, undefined)
    return client
  }),
  "while it is reset": Effect.fnUntraced(function*(pool, fake, way) {
    fake.onReset = () => Effect.sleep("100 millis")
    yield* Effect.forkScoped(pool.use(() => Effect.never), { startImmediately: true }).pipe(
      Effect.flatMap((other) => Effect.addFinalizer(() => Fiber.interrupt(other)))
    )
    yield* Effect.orDie(pool.use((connection) => connection.execute("set a", [], undefined)))
    const client = yield* fork(way(pool, sleep))
    assert.strictEqual(fake.connections[1]!.resets, 1)
    assert.deepInclude(yield* pool.stats, { waiting: 1 })
    return client
  })
}

describe("Whoever is interrupted", () => {
  for (const [gate, bring] of Object.entries(gates)) {
    for (const [name, way] of Object.entries(ways)) {
      it.effect(`${gate}, with ${name}, leaves nothing behind`, () =>
        Effect.gen(function*() {
          const fake = new FakeAdapter()
          const pool = yield* Pool.make(fake, {
            startup: "lazy",
            max: 2,
            shutdownTimeout: 0,
            idleTimeout: Duration.infinity,
            lifetime: Duration.infinity
          })
          yield* Effect.scoped(Effect.gen(function*() {
            const client = yield* bring(pool, fake, way)
            const before = yield* pool.stats
            // At once: nothing that the database does is waited for.
            const interrupting = yield* fork(Fiber.interrupt(client))
            assert.isDefined(interrupting.pollUnsafe())
            assert.strictEqual((yield* pool.stats).waiting, gate === "releasing" ? 1 : 0)
            assert.isAtMost((yield* pool.stats).used, before.used)
            yield* TestClock.adjust("2 seconds")
          }))
          yield* assertWhole(pool, fake, 2)
        }))
    }
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// Between any two operations
// ---------------------------------------------------------------------------------------------------------------------

/** What a client does with a connection. */
const bodies = (random: Seed): (connection: Connection) => Effect.Effect<unknown, unknown> =>
  random.pick<(connection: Connection) => Effect.Effect<unknown, unknown>>([
    () => Effect.void,
    () => Effect.yieldNow,
    () => Effect.sleep(random.int(1, 10)),
    (connection) => connection.execute("select 1", [], undefined),
    (connection) => connection.execute(`sleep ${random.int(1, 10)}`, [], undefined),
    (connection) => connection.execute("fail", [], undefined),
    () => Effect.fail("a failure"),
    () => Effect.die("a defect"),
    () => {
      throw new Error("thrown")
    }
  ])

/** Also what a statement that shares a connection must not do. */
const wholeBodies = (random: Seed): (connection: Connection) => Effect.Effect<unknown, unknown> =>
  random.chance(0.6) ? bodies(random) : random.pick<(connection: Connection) => Effect.Effect<unknown, unknown>>([
    (connection) => connection.execute("set a", [], undefined),
    (connection) => Effect.andThen(connection.begin({}), connection.execute("sleep 3", [], undefined)),
    (connection) => Effect.sync(() => connection.destroy("broken")),
    (connection) => Effect.forkDetach(Effect.andThen(Effect.sleep(5), Effect.exit(connection.rollback)))
  ])

/** One run: clients come, are interrupted at any moment, and in the end nothing is missing. Returns what is wrong. */
const simulate = (random: Seed, use: Way, seen: Record<string, number> = {}): string | undefined => {
  const simulation = new Simulation(random, random.pick([1, 1, 0.5, 0.1]))
  const max = random.int(1, 3)
  const fake = new FakeAdapter()
  const step = (chance: number) =>
    Effect.suspend(() => {
      const millis = random.pick([0, 0, 1, 5])
      const outcome = random.chance(chance) ? Effect.fail(refused) : Effect.void
      return millis === 0 ? outcome : Effect.andThen(Effect.sleep(millis), outcome)
    })
  fake.onConnect = () => step(0.2)
  fake.onPing = () => step(0.2)
  fake.onReset = () => step(0.2)
  fake.onClose = () => Effect.ignore(step(0))
  const scope = Scope.makeUnsafe()
  const pool = simulation.complete(
    Pool.make(fake, {
      startup: "lazy",
      max,
      min: random.int(0, 1),
      acquireTimeout: random.pick([20, 1_000]),
      validateAfter: random.pick([0, 2, 1_000]),
      lifetime: random.pick<Duration.Input>([Duration.infinity, "20 millis"]),
      idleTimeout: Duration.infinity,
      keepAlive: Duration.infinity,
      backoffBase: 1,
      backoffCap: 5,
      pipelineDepth: random.pick([1, 2, 64])
    }).pipe(Scope.provide(scope))
  )

  /** Who is on which connection. */
  const holders = new Map<string, { whole: number; shared: number }>()
  let problem: string | undefined
  const holding = (connection: Connection, kind: "whole" | "shared", change: number) => {
    const count = holders.get(connection.id) ?? { whole: 0, shared: 0 }
    count[kind] += change
    holders.set(connection.id, count)
    if (count.whole > 1 || (count.whole > 0 && count.shared > 0)) {
      problem ??= `${count.whole} and ${count.shared} are on connection ${connection.id}`
    }
  }
  const observed =
    (kind: "whole" | "shared", f: (connection: Connection) => Effect.Effect<unknown, unknown>) =>
    (connection: Connection) =>
      Effect.suspend(() => {
        // Registered before it is counted, or the checker itself could be interrupted in between.
        let counted = false
        const body = Effect.suspend(() => {
          counted = true
          holding(connection, kind, 1)
          return f(connection)
        })
        return Effect.onExitPrimitive(body, () => {
          if (counted) holding(connection, kind, -1)
          return undefined
        })
      })

  /** Scopes that are closed by somebody else, and when. */
  const scopes: Array<{ readonly scope: Scope.Closeable; readonly at: number }> = []
  const until = random.int(1, 600)
  const clients = Array.from({ length: random.int(2, 12) }, () => {
    const kind = random.pick(["use", "use", "reserve", "share", "elsewhere"] as const)
    const clientScope = Scope.makeUnsafe()
    const body = (connection: Connection) => (kind === "share" ? bodies(random) : wholeBodies(random))(connection)
    const effect = kind === "share"
      ? ways.share(pool, observed("shared", body))
      : kind === "elsewhere"
      // Whether it may still use the connection is up to whoever closes the scope, so it is not counted.
      ? Effect.flatMap(Scope.provide(pool.reserve, clientScope), body)
      : (kind === "use" ? use : ways.reserve)(pool, observed("whole", body))
    if (kind === "elsewhere") scopes.push({ scope: clientScope, at: random.int(0, until) })
    return simulation.fork(Effect.andThen(Effect.sleep(random.int(0, 15)), effect))
  })
  // Every client is interrupted after some number of steps, whatever it is doing then.
  const when = clients.map(() => random.int(0, until))
  for (let i = 0; i <= until; i++) {
    when.forEach((at, index) => {
      if (at === i && random.chance(0.8)) clients[index]!.interruptUnsafe()
    })
    for (const { at, scope } of scopes) if (at === i) simulation.fork(Scope.close(scope, Exit.void))
    if (random.chance(0.003)) (fake.open[0] as FakeConnection | undefined)?.lose()
    simulation.step()
    if (fake.peak > max) problem ??= `${fake.peak} connections`
    if (fake.connecting < 0) problem ??= "more attempts ended than began"
  }
  fake.onConnect = fake.onPing = fake.onReset = () => Effect.void
  if (!simulation.until(() => clients.every((client) => client.pollUnsafe() !== undefined))) {
    problem ??= "a client hangs"
  }
  // Whatever the pool still has to do for itself, it does soon.
  let stats: Pool.Stats
  const isQuiet = () => {
    stats = Effect.runSync(pool.stats)
    return stats.used === 0 && stats.waiting === 0 && stats.total === stats.idle && stats.total === fake.open.length
  }
  if (!simulation.until(isQuiet, 10_000)) problem ??= `it does not come to rest: ${JSON.stringify(stats!)}`
  const served = simulation.complete(Effect.exit(pool.use(() => Effect.succeed("served"))))
  if (Exit.isFailure(served)) problem ??= "the pool serves nobody any more"
  simulation.complete(Scope.close(scope, Exit.void))
  if (fake.open.length > 0 || fake.connecting > 0) problem ??= `${fake.open.length} open after the shutdown`
  if (problem !== undefined) return problem
  const see = (what: string, count: number) => {
    seen[what] = (seen[what] ?? 0) + count
  }
  see("interrupted", clients.filter((client) => Exit.hasInterrupts(client.pollUnsafe()!)).length)
  see("served at once", stats!.checkouts - stats!.waited)
  see("served later", stats!.waited)
  see("pinged", fake.connections.reduce((sum, connection) => sum + connection.pings, 0))
  see("reset", fake.connections.reduce((sum, connection) => sum + connection.resets, 0))
  see("timed out", stats!.failed.AcquireTimeout)
  see("failed to connect", stats!.connectFailures)
  for (const [reason, count] of Object.entries(stats!.closed)) see(`closed: ${reason}`, count)
  return undefined
}

const search = (
  first: Seed,
  runs: number,
  use: Way,
  seen: Record<string, number> = {}
): string | undefined => {
  for (let i = 0; i < runs; i++) {
    const random = i === 0 ? first : first.fork()
    const { value } = random
    let problem: string | undefined
    try {
      problem = simulate(random, use, seen)
    } catch (cause) {
      problem = (cause as Error).message
    }
    if (problem !== undefined) return `WATERTIGHT_TEST_SEED=${value}: ${problem}`
  }
  return undefined
}

describe("Whoever is interrupted between any two operations", () => {
  it("leaves nothing behind, in 5,000 runs", () => {
    const seen: Record<string, number> = {}
    assert.isUndefined(search(seed(1), 5_000, ways.use, seen))
    // It has met everything that there is.
    for (const what of ["interrupted", "served at once", "served later", "pinged", "reset", "failed to connect"]) {
      assert.isAbove(seen[what]!, 2_000, what)
    }
  }, 120_000)

  it("is found if it does: acquiring in one step and registering the release in the next", () => {
    const naive: Way = (pool, f) =>
      Effect.flatMap(Scope.make(), (scope) =>
        Effect.flatMap(
          Scope.provide(pool.reserve, scope),
          (connection) => Effect.onExit(f(connection), (exit) => Scope.close(scope, exit))
        ))
    assert.match(search(exactSeed(1), 500, naive) ?? "nothing", /does not come to rest: .*"used":[123]/)
  }, 60_000)

  it("is found if it does: giving back before the body has ended", () => {
    const naive: Way = (pool, f) => Effect.flatMap(Effect.scoped(pool.reserve), (connection) => f(connection))
    assert.match(search(exactSeed(1), 500, naive) ?? "nothing", /are on connection/)
  }, 60_000)
})
