/** A breaker that shares its circuit with other processes: what it asks the store, and what it does when the store fails. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as fs from "node:fs"
import * as Breaker from "../../src/breaker/Breaker.ts"
import { sick } from "./failures.ts"
import { fail, make, settle, stateOf, succeed, tagOf, touchy } from "./support.ts"

type StoreService = CircuitBreaker.CircuitBreakerStore["Service"]

/** A store in memory whose answers can be counted, delayed and broken. */
const makeFakeStore = Effect.gen(function*() {
  const { CircuitBreakerStore } = CircuitBreaker
  const memory = Context.get(yield* Layer.build(CircuitBreaker.layerStoreMemory()), CircuitBreakerStore)
  const fake = {
    operations: { admit: 0, record: 0, state: 0 },
    mode: "works" as "works" | "fails" | "dies" | "hangs",
    latency: 0,
    service: undefined as unknown as StoreService
  }
  const through = <A, E, R>(name: keyof typeof fake.operations, effect: Effect.Effect<A, E, R>) =>
    Effect.suspend((): Effect.Effect<A, E | CircuitBreaker.CircuitBreakerError, R> => {
      fake.operations[name]++
      switch (fake.mode) {
        case "works":
          return fake.latency === 0 ? effect : Effect.andThen(Effect.sleep(fake.latency), effect)
        case "hangs":
          return Effect.never
        case "dies":
          return Effect.die(new Error("a bug in the store"))
        case "fails":
          return Effect.fail(
            new CircuitBreaker.CircuitBreakerError({
              reason: new CircuitBreaker.CircuitBreakerStoreError({ message: "no route to Redis" })
            })
          )
      }
    })
  fake.service = CircuitBreakerStore.of({
    admit: (key) => through("admit", memory.admit(key)),
    record: (options) => through("record", memory.record(options)),
    state: (key) => through("state", memory.state(key))
  })
  return fake
})

/** A breaker of one of the processes that share the store. */
const sharing = (store: { readonly service: StoreService }, options: Breaker.Options = touchy) =>
  Effect.provideService(make(options), CircuitBreaker.CircuitBreakerStore, store.service)

const capture = () => {
  const messages: Array<string> = []
  const layer = Logger.layer([
    Logger.make(({ logLevel, message }) => messages.push(`${logLevel}: ${[message].flat()[0]}`))
  ])
  return { messages, layer }
}

describe("a fleet", () => {
  it.effect("opens and closes for all, as soon as each looks", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const one = yield* sharing(store)
      const two = yield* sharing(store)
      yield* fail(one)
      assert.isFalse(one.closed)
      // It has not looked yet.
      assert.isTrue(two.closed)
      yield* succeed(two)
      yield* TestClock.adjust("1 second")
      // This call triggers the look and does not wait for it.
      two.touch(two.now())
      assert.isFalse(two.closed)
      const error = yield* Effect.flip(succeed(two))
      assert.strictEqual(Duration.toMillis(Breaker.retryAfter(error)!), 9000)

      // One of them probes, for both.
      yield* TestClock.adjust("9 seconds")
      const gate = Deferred.makeUnsafe<void>()
      const probe = yield* Effect.forkChild(one.execute(Deferred.await(gate)), { startImmediately: true })
      yield* settle
      assert.strictEqual(tagOf(yield* Effect.flip(succeed(two))), "CircuitHalfOpen")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(probe)
      yield* TestClock.adjust("100 millis")
      yield* succeed(two)
      assert.isTrue(two.closed)
    }))

  it.effect("knows at the start that the circuit is open", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      yield* fail(yield* sharing(store))
      const late = yield* sharing(store)
      assert.isFalse(late.closed)
      assert.strictEqual(tagOf(yield* Effect.flip(succeed(late))), "CircuitOpen")
    }))

  it.effect("looks at most once per interval, only while there is traffic, and no call waits for it", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const breaker = yield* sharing(store)
      const { operations } = store
      yield* TestClock.adjust("1 hour")
      operations.state = 0
      store.latency = 300
      for (let i = 0; i < 1000; i++) yield* succeed(breaker)
      assert.strictEqual(operations.state, 1)
      yield* TestClock.adjust("900 millis")
      for (let i = 0; i < 1000; i++) yield* succeed(breaker)
      assert.strictEqual(operations.state, 1)
      yield* TestClock.adjust("100 millis")
      for (let i = 0; i < 1000; i++) yield* succeed(breaker)
      assert.strictEqual(operations.state, 2)
    }))

  it.effect("keeps the order of what is recorded, however slow the store is", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const breaker = yield* sharing(store, { ...touchy, tripPolicy: CircuitBreaker.consecutive(2) })
      store.latency = 50
      const { permit } = breaker
      for (let i = 0; i < 5; i++) {
        breaker.failed(sick.connect(), 1, permit)
        breaker.succeeded(1, permit)
      }
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(breaker.closed)
      breaker.failed(sick.connect(), 1, permit)
      breaker.failed(sick.connect(), 1, permit)
      assert.isTrue(breaker.closed)
      yield* TestClock.adjust("200 millis")
      assert.isFalse(breaker.closed)
    }))

  it.effect("is not opened by one process that cannot reach what the others can", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const options: Breaker.Options = { openDuration: "10 seconds" }
      const cutOff = yield* sharing(store, options)
      const others = yield* Effect.forEach([1, 2, 3, 4], () => sharing(store, options))
      for (let second = 0; second < 60; second++) {
        for (const other of others) for (let i = 0; i < 20; i++) yield* succeed(other)
        if (second > 0) { for (let i = 0; i < 5; i++) yield* fail(cutOff) }
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual(yield* stateOf(cutOff), "Closed")
      // When nobody reaches it any more, it opens within the second.
      for (let i = 0; i < 5; i++) {
        yield* fail(cutOff)
        for (const other of others) yield* fail(other)
      }
      assert.strictEqual(yield* stateOf(cutOff), "Open")
    }))

  it.effect("does not let late outcomes of one process count after another has opened and closed it", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const one = yield* sharing(store)
      const two = yield* sharing(store)
      const { permit } = two
      yield* fail(one)
      yield* TestClock.adjust("10 seconds")
      yield* succeed(one)
      assert.strictEqual(yield* stateOf(one), "Closed")
      // It has not noticed anything, but the store knows when this was admitted.
      two.failed(sick.connect(), 1, permit)
      assert.strictEqual(yield* stateOf(one), "Closed")
      yield* TestClock.adjust("1 second")
      two.touch(two.now())
      two.failed(sick.connect(), 1, two.permit)
      assert.strictEqual(yield* stateOf(one), "Open")
    }))

  it.effect("reset closes it for this process, which comes back when the shared circuit is closed", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const one = yield* sharing(store)
      const two = yield* sharing(store)
      yield* fail(one)
      yield* one.reset
      yield* succeed(one)
      yield* TestClock.adjust("5 seconds")
      yield* succeed(one)
      assert.isTrue(one.closed)
      yield* TestClock.adjust("5 seconds")
      yield* succeed(two)
      yield* succeed(one)
      yield* TestClock.adjust("1 second")
      yield* succeed(one)
      // It shares again.
      yield* fail(one)
      assert.strictEqual(yield* stateOf(two), "Open")
    }))
})

describe("a shared store", () => {
  it.effect("another process probes: it is asked about that every 100 ms, not by every call", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const one = yield* sharing(store)
      const two = yield* sharing(store)
      yield* fail(one)
      yield* TestClock.adjust("1 second")
      two.touch(two.now())
      yield* TestClock.adjust("9 seconds")
      const probe = yield* Effect.forkChild(one.execute(Effect.never), { startImmediately: true })
      yield* settle
      store.operations.admit = 0
      for (let n = 0; n < 50; n++) {
        assert.strictEqual(tagOf(yield* Effect.flip(succeed(two))), "CircuitHalfOpen")
      }
      assert.strictEqual(store.operations.admit, 1)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(tagOf(yield* Effect.flip(succeed(two))), "CircuitHalfOpen")
      assert.strictEqual(store.operations.admit, 2)
      yield* Fiber.interrupt(probe)
    }))

  it.effect("an answer that is older than what a call has found out meanwhile: is not followed", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const held = Deferred.makeUnsafe<void>()
      let admissions = 0
      const late: StoreService = {
        ...store.service,
        // The second answer is made in time and comes late.
        admit: (key) =>
          Effect.tap(
            store.service.admit(key),
            () => ++admissions === 2 ? Deferred.await(held) : Effect.void
          )
      }
      const breaker = yield* sharing({ service: late })
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      admissions = 0
      const probe = yield* Effect.forkChild(succeed(breaker), { startImmediately: true })
      yield* settle
      yield* fail(breaker)
      assert.strictEqual(yield* stateOf(breaker), "Open")
      yield* Deferred.succeed(held, undefined)
      yield* Fiber.join(probe)
      assert.isFalse(breaker.closed)
      assert.strictEqual(tagOf(yield* Effect.flip(succeed(breaker))), "CircuitOpen")
    }))

  for (const openDuration of ["10 seconds", Schedule.spaced("10 seconds")] as const) {
    it.effect("it says 'open' for an hour: believed as long as the options allow, then passed over", () => {
      const log = capture()
      return Effect.gen(function*() {
        const store = yield* makeFakeStore
        const breaker = yield* sharing(store, { ...touchy, openDuration })
        const wrong = yield* sharing(store, { ...touchy, openDuration: "1 hour" })
        yield* fail(wrong)
        yield* TestClock.adjust("1 second")
        breaker.touch(breaker.now())
        const left = Duration.toMillis(Breaker.retryAfter(yield* Effect.flip(succeed(breaker)))!)
        assert.isAtMost(left, 15_000)
        yield* TestClock.adjust(left)
        yield* succeed(breaker)
        assert.isTrue(breaker.closed)
        assert.match(log.messages.join(), /longer than its options allow/)
      }).pipe(Effect.provide(log.layer))
    })
  }
})

describe("a store that is broken", () => {
  it.live("a process that stands still for longer than storeTimeout: the time does not count", () => {
    const log = capture()
    return Effect.gen(function*() {
      const store = yield* makeFakeStore
      const { state } = store.service
      // It is asked before the stall, and goes on for a moment after it.
      const answer = Effect.andThen(Effect.promise(() => fs.promises.stat(".")), Effect.sleep(20))
      const read = { ...store.service, state: (key: string) => Effect.andThen(answer, state(key)) }
      const breaker = yield* sharing({ service: read }, { ...touchy, storeTimeout: "300 millis", refreshInterval: 1 })
      yield* Effect.sleep(5)
      const looks = store.operations.state
      breaker.touch(breaker.now())
      const end = performance.now() + 900
      while (performance.now() < end);
      yield* Effect.repeat(Effect.sleep(5), { until: () => store.operations.state > looks })
      yield* Effect.sleep(5)
      assert.deepStrictEqual(log.messages, [])
    }).pipe(Effect.provide(log.layer))
  })

  for (const mode of ["fails", "dies"] as const) {
    it.effect(`because it ${mode} leaves the process a circuit of its own, and is in the log once`, () => {
      const log = capture()
      return Effect.gen(function*() {
        const store = yield* makeFakeStore
        const breaker = yield* sharing(store)
        const other = yield* sharing(store)
        store.mode = mode
        yield* TestClock.adjust("1 second")
        for (let i = 0; i < 20; i++) {
          yield* succeed(breaker)
          yield* TestClock.adjust("500 millis")
        }
        assert.isTrue(breaker.closed)
        // It still protects the database.
        yield* fail(breaker)
        assert.isFalse(breaker.closed)
        assert.strictEqual(yield* stateOf(breaker), "Open")
        assert.strictEqual(log.messages.length, 1)
        assert.match(log.messages[0]!, /^Warn: The store of the circuit of fake has failed/)

        store.mode = "works"
        yield* TestClock.adjust("1 second")
        breaker.touch(breaker.now())
        assert.strictEqual(yield* stateOf(breaker), "Closed")
        assert.strictEqual(log.messages.length, 2)
        assert.match(log.messages[1]!, /^Info: .*answers again/)
        yield* fail(breaker)
        assert.strictEqual(yield* stateOf(other), "Open")

        store.mode = mode
        yield* TestClock.adjust("10 seconds")
        // Asking for the probe finds it broken: this fails open too.
        yield* succeed(breaker)
        assert.isTrue(breaker.closed)
        assert.strictEqual(log.messages.length, 3)
      }).pipe(Effect.provide(log.layer))
    })
  }

  it.effect("because it hangs holds a probe up for storeTimeout, and nobody else", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const breaker = yield* sharing(store, { ...touchy, storeTimeout: "200 millis" })
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      store.mode = "hangs"
      const probe = yield* Effect.forkChild(breaker.execute(Effect.succeed("answer")), { startImmediately: true })
      yield* TestClock.adjust("199 millis")
      assert.strictEqual(tagOf(yield* Effect.flip(succeed(breaker))), "CircuitHalfOpen")
      assert.isUndefined(probe.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(probe), "answer")
      assert.isTrue(breaker.closed)

      // Failures are recorded in the background.
      store.mode = "works"
      yield* TestClock.adjust("1 second")
      yield* succeed(breaker)
      assert.strictEqual(yield* stateOf(breaker), "Closed")
      store.mode = "hangs"
      for (let i = 0; i < 5000; i++) breaker.failed(sick.connect(), 1, breaker.permit)
      assert.isTrue(breaker.closed)
      yield* TestClock.adjust("200 millis")
      assert.isTrue(breaker.closed)
      yield* fail(breaker)
      assert.isFalse(breaker.closed)
    }))

  it.effect("at the start does not hold the layer up for longer than storeTimeout", () => {
    const log = capture()
    return Effect.gen(function*() {
      const store = yield* makeFakeStore
      store.mode = "hangs"
      const fiber = yield* Effect.forkChild(sharing(store), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      const breaker = yield* Fiber.join(fiber)
      yield* succeed(breaker)
      assert.strictEqual(log.messages.length, 1)
    }).pipe(Effect.provide(log.layer))
  })

  it.effect("does not answer for the state: the local view does", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const breaker = yield* sharing(store)
      yield* fail(breaker)
      yield* TestClock.adjust("4 seconds")
      store.mode = "fails"
      const state = yield* breaker.state
      assert.deepStrictEqual(state, {
        _tag: "Open",
        key: "fake",
        retryAfter: Duration.seconds(6),
        consecutiveOpenings: 1
      })
    }))
})

describe("when its scope closes", () => {
  it.effect("what is still to be recorded is dropped", () =>
    Effect.gen(function*() {
      const store = yield* makeFakeStore
      const scope = yield* Scope.make()
      const breaker = yield* Scope.provide(
        sharing(store, { ...touchy, tripPolicy: CircuitBreaker.consecutive(2) }),
        scope
      )
      store.latency = 100
      breaker.failed(sick.connect(), 1, breaker.permit)
      breaker.failed(sick.connect(), 1, breaker.permit)
      yield* Scope.close(scope, Exit.void)
      breaker.failed(sick.connect(), 1, breaker.permit)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(breaker.closed)
    }))
})
