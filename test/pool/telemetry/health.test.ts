import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Adapter } from "../../../src/Adapter.ts"
import * as Database from "../../../src/Database.ts"
import * as Health from "../../../src/pool/Health.ts"
import * as Pool from "../../../src/pool/Pool.ts"
import { FakeAdapter, refused } from "../../../src/testing/FakeAdapter.ts"

/** A pool that is well. */
const well: Health.Signals = {
  pool: "db:5432/shop",
  total: 5,
  connecting: 0,
  acquireTimeoutMillis: 10_000,
  exhaustedMillis: 0,
  outageMillis: 0,
  leaks: { current: 0 },
  wait: { recent: { count: 1000, p95: 1 } },
  query: { recent: { count: 1000, p95: 5 } },
  recent: { checkouts: 1000, failed: 0, created: 100, connectFailures: 0 }
}

const recent = (more: Partial<Health.Signals["recent"]>) => ({ recent: { ...well.recent, ...more } })

describe("Health", () => {
  for (
    const [what, signals, expected] of [
      ["a pool that does its work", {}, "Healthy"],
      ["a pool that nobody has used yet", {
        total: 0,
        wait: { recent: { count: 0, p95: 0 } },
        query: { recent: { count: 0, p95: 0 } },
        recent: { checkouts: 0, failed: 0, created: 0, connectFailures: 0 }
      }, "Healthy"],
      ["1 % of failed checkouts", recent({ checkouts: 990, failed: 10 }), "Healthy"],
      ["more than 1 % of failed checkouts", recent({ checkouts: 989, failed: 11 }), "Degraded: FailedCheckouts"],
      ["checkouts of 50 ms", { wait: { recent: { count: 1, p95: 50 } } }, "Healthy"],
      ["checkouts of more than 50 ms", { wait: { recent: { count: 1, p95: 50.1 } } }, "Degraded: SlowCheckouts"],
      ["statements of 50 ms", { query: { recent: { count: 1, p95: 50 } } }, "Healthy"],
      ["statements of more than 50 ms", { query: { recent: { count: 1, p95: 50.1 } } }, "Degraded: SlowQueries"],
      [
        "one slow statement in a pool that hardly anybody uses",
        { query: { recent: { count: 3, p95: 60 } }, ...recent({ checkouts: 3 }) },
        "Healthy"
      ],
      ["5 % of failed attempts to connect", recent({ created: 95, connectFailures: 5 }), "Healthy"],
      [
        "more than 5 % of failed attempts to connect",
        recent({ created: 94, connectFailures: 6 }),
        "Degraded: ConnectionErrors"
      ],
      ["a suspected leak", { leaks: { current: 1 } }, "Degraded: SuspectedLeaks"],
      ["nobody served for the acquire timeout", { exhaustedMillis: 10_000 }, "Healthy"],
      ["nobody served for longer than the acquire timeout", { exhaustedMillis: 10_001 }, "Critical: Exhausted"],
      ["an outage while connections live", { outageMillis: 1000 }, "Healthy"],
      ["an outage without connections", { total: 2, connecting: 2, outageMillis: 1000 }, "Critical: Unreachable"],
      ["a breaker that is closed", { breaker: "Closed" }, "Healthy"],
      ["a breaker that probes", { breaker: "HalfOpen" }, "Healthy"],
      ["a breaker that is open", { breaker: "Open" }, "Critical: BreakerOpen"],
      ["a breaker that is held open", { breaker: "Isolated" }, "Critical: BreakerOpen"],
      [
        "several things, the worst first",
        { leaks: { current: 2 }, exhaustedMillis: 60_000, ...recent({ checkouts: 0, failed: 7 }) },
        "Critical: Exhausted FailedCheckouts SuspectedLeaks"
      ]
    ] as ReadonlyArray<readonly [string, Partial<Health.Signals>, string]>
  ) {
    it(`of ${what} is ${expected}`, () => {
      const health = Health.decide({ ...well, ...signals })
      const reasons = health.reasons.map(({ _tag }) => _tag).join(" ")
      assert.strictEqual(reasons === "" ? health._tag : `${health._tag}: ${reasons}`, expected)
      for (const reason of health.reasons) {
        assert.isAbove(reason.value, reason.threshold)
        assert.strictEqual(reason.pool, "db:5432/shop")
      }
      assert.strictEqual(Health.isHealthy(health), health._tag === "Healthy")
      assert.strictEqual(Health.isCritical(health), health._tag === "Critical")
    })
  }

  it("goes by thresholds of one's own", () => {
    const thresholds: Health.Thresholds = {
      failedCheckouts: 0.5,
      checkoutLatency: "1 second",
      queryLatency: "2 seconds",
      connectionErrors: 0.5,
      suspectedLeaks: 3,
      exhausted: "1 minute"
    }
    const sick: Health.Signals = {
      ...well,
      leaks: { current: 3 },
      exhaustedMillis: 60_000,
      wait: { recent: { count: 1, p95: 1000 } },
      query: { recent: { count: 1, p95: 2000 } },
      recent: { checkouts: 10, failed: 10, created: 5, connectFailures: 5 }
    }
    assert.isTrue(Health.isHealthy(Health.decide(sick, thresholds)))
    assert.strictEqual(Health.decide(sick).reasons.length, 6)
  })

  it("says in words what is wrong", () => {
    const health = Health.decide({ ...well, exhaustedMillis: 61_000, ...recent({ checkouts: 3, failed: 1 }) })
    assert.strictEqual(
      Health.describe(health),
      [
        "Critical",
        "db:5432/shop: callers wait, and nobody has got a connection for 61 s",
        "db:5432/shop: 1 of 4 callers got no connection"
      ].join("\n")
    )
  })

  it("of several pools is that of the worst, with the reasons of all", () => {
    const degraded = Health.decide({ ...well, pool: "a", leaks: { current: 1 } })
    const critical = Health.decide({ ...well, pool: "b", exhaustedMillis: 60_000 })
    const all = Health.combine([Health.decide(well), degraded, critical])
    assert.strictEqual(all._tag, "Critical")
    assert.deepStrictEqual(all.reasons.map(({ _tag, pool }) => `${pool} ${_tag}`), ["b Exhausted", "a SuspectedLeaks"])
    assert.strictEqual(Health.combine([degraded])._tag, "Degraded")
    assert.strictEqual(Health.combine([])._tag, "Healthy")
  })

  it.effect("changes with what happens to the pool, once for each change", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      const pool = yield* Pool.make(fake, { startup: "lazy", shutdownTimeout: 0, max: 1 })
      const seen: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(Health.changes(pool.health), (health) =>
          Effect.sync(() => seen.push([health._tag, ...health.reasons.map(({ _tag }) => _tag)].join(" ")))),
        { startImmediately: true }
      )
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(seen, ["Healthy"])
      fake.onConnect = () =>
        Effect.fail(refused)
      const caller = yield* Effect.forkChild(pool.use(() => Effect.void), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(seen.slice(1), ["Critical Unreachable ConnectionErrors"])
      fake.onConnect = () => Effect.void
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(caller)
      assert.deepStrictEqual(seen.slice(2), ["Degraded SlowCheckouts ConnectionErrors"])
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(seen.slice(3).at(-1), "Healthy")
    }))

  it.effect("takes the breaker into account that stands before the pool", () =>
    Effect.gen(function*() {
      const pool = yield* Pool.make(new FakeAdapter(), { startup: "lazy" })
      const health = yield* Health.check(pool, { breaker: Effect.succeed("Open") })
      assert.deepStrictEqual(health.reasons.map(({ _tag }) => _tag), ["BreakerOpen"])
      assert.isTrue(Health.isHealthy(yield* Health.check(pool)))
    }))

  it.effect("of a database tells of its breaker, until the next call may try again", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      const layer = Database.layerOf(Layer.succeed(Adapter, fake), {
        pool: { startup: "lazy", acquireTimeout: "1 second", shutdownTimeout: 0 },
        breaker: { tripPolicy: CircuitBreaker.consecutive(1), openDuration: "10 seconds" }
      })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient
        const pool = yield* Pool.Pool
        const { breaker } = yield* Database.Database
        const about = Effect.map(pool.health, ({ reasons }) => reasons.some(({ _tag }) => _tag === "BreakerOpen"))
        assert.isFalse(yield* about)
        fake.onConnect = () => Effect.fail(refused)
        const caller = yield* Effect.forkChild(Effect.exit(sql`select 1`), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(caller)
        assert.isTrue(yield* about)
        assert.strictEqual((yield* pool.stats).breaker, "Open")
        // Whoever is kept away by this answer could never close the circuit.
        yield* TestClock.adjust("10 seconds")
        assert.isFalse(yield* about)
        assert.strictEqual((yield* pool.stats).breaker, "HalfOpen")
        fake.onConnect = () => Effect.void
        yield* sql`select 1`
        assert.strictEqual((yield* pool.stats).breaker, "Closed")
        yield* breaker!.isolate
        assert.isTrue(yield* about)
        assert.isTrue(Health.isCritical(yield* Health.check(pool, { checkoutLatency: "1 hour" })))
        yield* breaker!.reset
        assert.isFalse(yield* about)
      }).pipe(Effect.provide(layer))
    }))

  it.effect("of a pool knows only of the breakers that are there, and the worst of them", () =>
    Effect.gen(function*() {
      const pool = yield* Pool.make(new FakeAdapter(), { startup: "lazy" })
      const breaker = Effect.map(pool.stats, (stats) => stats.breaker)
      assert.isUndefined(yield* breaker)
      yield* pool.guardedBy({ stateUnsafe: () => "Closed" })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* pool.guardedBy({ stateUnsafe: () => "Open" })
        assert.strictEqual(yield* breaker, "Open")
      }))
      assert.strictEqual(yield* breaker, "Closed")
    }))
})
