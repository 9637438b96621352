/**
 * What the breaker adds to a call while the circuit is closed, against `CircuitBreaker.execute` around the call, and
 * what it costs to be turned away.
 *
 *     node --conditions=watertight-source bench/breaker.ts
 *
 * Every variant runs the same empty call, in the shape in which the client runs a statement: an effect with a
 * finalizer that sees the exit. The variants take turns in one process, and the median of the rounds counts.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type { SqlError } from "effect/sql/SqlError"
import * as Breaker from "../src/Breaker.ts"

const calls = 100_000
const rounds = 15

type Guard = (self: Effect.Effect<void, SqlError>) => Effect.Effect<void, unknown>

const plain: Guard = (self) => Effect.suspend(() => Effect.onExitPrimitive(self, () => undefined))

/** As the client does it. The clock is read in any case: the pool needs the time as well. */
const inParts = (breaker: Breaker.Breaker): Guard => (self) =>
  Effect.suspend(() => {
    const startedAt = breaker.now()
    breaker.touch(startedAt)
    if (!breaker.closed) return breaker.execute(self)
    const { permit } = breaker
    return Effect.onExitPrimitive(self, (exit) => {
      if (Exit.isFailure(exit)) {
        breaker.failed(Option.getOrUndefined(Cause.findErrorOption(exit.cause)), breaker.now() - startedAt, permit)
      } else if (breaker.watching) {
        breaker.succeeded(breaker.now() - startedAt, permit)
      }
      return undefined
    })
  })

const withClock: Guard = (self) =>
  Effect.suspend(() => {
    performance.now()
    return Effect.onExitPrimitive(self, () => undefined)
  })

const program = Effect.gen(function*() {
  const breaker = yield* Breaker.make({ name: "bench" })
  const slow = yield* Breaker.make({ name: "bench-slow" }, { slowCall: "1 second" })
  const shared = yield* Breaker.make({ name: "bench-shared" }).pipe(
    Effect.provide(CircuitBreaker.layerStoreMemory())
  )
  const isolated = yield* Breaker.make({ name: "bench-isolated" })
  yield* isolated.isolate
  const open = yield* Breaker.make({ name: "bench-open" }, {
    slowCall: 0.001,
    tripPolicy: CircuitBreaker.consecutive(1),
    openDuration: "1 hour"
  })
  yield* open.execute(Effect.sleep("5 millis"))
  const circuit = yield* CircuitBreaker.make({
    tripPolicy: Breaker.defaultTripPolicy,
    openDuration: Breaker.defaultOpenDuration
  }).pipe(Effect.provide(CircuitBreaker.layerStoreMemory()))

  const variants: ReadonlyArray<readonly [name: string, guard: Guard, calls: number]> = [
    ["no breaker", plain, calls],
    ["no breaker, reads the clock", withClock, calls],
    ["breaker in parts", inParts(breaker), calls],
    ["breaker in parts, slow calls on", inParts(slow), calls],
    ["breaker in parts, shared store", inParts(shared), calls],
    ["breaker.execute", (self) => breaker.execute(self), calls],
    ["CircuitBreaker.execute", (self) => circuit.execute(self, { key: "bench" }), calls / 10],
    ["turned away: isolated", (self) => Effect.ignore(isolated.execute(self)), calls / 10],
    ["turned away: open", (self) => Effect.ignore(open.execute(self)), calls / 10]
  ]

  const times = variants.map((): Array<number> => [])
  for (let round = 0; round < rounds + 3; round++) {
    for (const [index, [, guard, count]] of variants.entries()) {
      const call = guard(Effect.void)
      const startedAt = performance.now()
      for (let i = 0; i < count; i++) yield* call
      if (round >= 3) times[index]!.push(((performance.now() - startedAt) / count) * 1_000_000)
    }
  }
  const medians = times.map((list) => list.sort((a, b) => a - b)[list.length >> 1]!)
  for (const [index, [name]] of variants.entries()) {
    const nanos = medians[index]!
    const added = nanos - medians[1]!
    console.log(
      `${name.padEnd(34)} ${nanos.toFixed(0).padStart(7)} ns` +
        (index < 2 ? "" : `   adds ${added.toFixed(0).padStart(6)} ns, ${(nanos / medians[1]!).toFixed(2)}×`)
    )
  }

  // The same without the runtime around it: what the fields and methods themselves cost.
  const bare = (): number => {
    let open = 0
    const startedAt = performance.now()
    for (let i = 0; i < 10_000_000; i++) {
      breaker.touch(i)
      if (!breaker.closed) open++
      const { permit } = breaker
      if (breaker.watching) breaker.succeeded(0, permit)
    }
    return ((performance.now() - startedAt) / 10_000_000) * 1_000_000 + open
  }
  bare()
  console.log(`fields and methods alone            ${bare().toFixed(1).padStart(6)} ns`)

  const added = medians[2]! - medians[1]!
  if (!(added < 1000)) {
    return yield* Effect.die(
      new Error(`A closed breaker adds ${Duration.format(Duration.nanos(BigInt(Math.round(added))))}`)
    )
  }
})

await Effect.runPromise(Effect.scoped(program))
