/** What a closed circuit remembers of its calls, and what becomes of it when it is closed anew, stepped by hand. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import { LocalCircuit, type Store, type Ticket, type Work } from "../../src/breaker/LocalCircuit.ts"
import { sick } from "./failures.ts"

/** A circuit that opens when half of three calls have failed, and what it has told of its calls. */
const make = (
  options: { readonly minimumCalls?: number; readonly slowMillis?: number; readonly stalled?: number } = {}
) => {
  const told: Array<readonly [successes: number, failure: boolean]> = []
  const circuit = new LocalCircuit(
    {
      tripPolicy: CircuitBreaker.rate({ size: 3, minimumCalls: options.minimumCalls ?? 3, threshold: 0.5 }),
      openDuration: Duration.seconds(1),
      longestOpenMillis: 1_000,
      slowMillis: options.slowMillis ?? Infinity,
      refreshMillis: 100,
      storeTimeout: Duration.seconds(1)
    },
    store(),
    {
      submit: ({ failure, successes }: Work) => void told.push([successes, failure]),
      lookUp: () => {},
      doubt: () => false,
      stalled: () => options.stalled ?? 0
    }
  )
  const mine = circuit.store
  circuit.close(mine, admission(1))
  return { circuit, mine, told }
}

const store = (): Store => ({ service: {} as never, shared: false })

const admission = (generation: number): Ticket["admission"] => ({
  generation,
  probe: false,
  consecutiveOpenings: 0,
  transition: undefined
})

describe("LocalCircuit", () => {
  it("successes are counted as far as the policy can see, and come with the next failure", () => {
    // As long as it is looked whether calls are slow, all of them are told.
    const { circuit, told } = make({ slowMillis: 1_000 })
    for (let i = 0; i < 5; i++) circuit.succeeded(1, circuit.permit)
    circuit.failed(sick.connect(), 1, circuit.permit)
    assert.deepStrictEqual(told, [[3, true]])
  })

  it("the same store says that it is the same circuit: what was counted stays", () => {
    const { circuit, mine, told } = make()
    const before = circuit.permit
    circuit.succeeded(1, before)
    circuit.close(mine, admission(1))
    circuit.failed(sick.connect(), 1, before)
    assert.deepStrictEqual(told, [[1, true]])
  })

  const anew: ReadonlyArray<readonly [what: string, happens: (circuit: LocalCircuit, mine: Store) => void]> = [
    ["it was opened and closed", (circuit, mine) => circuit.close(mine, admission(2))],
    ["another store counts from now on, under the same number", (circuit) => circuit.close(store(), admission(1))],
    ["it was left, and the store still has the same number", (circuit, mine) => {
      circuit.leave("Open", 10)
      circuit.close(mine, admission(1))
    }],
    ["it was isolated and reset, and the store still has the same number", (circuit, mine) => {
      circuit.isolate()
      circuit.isolated = false
      circuit.close(mine, admission(1))
    }]
  ]
  for (const [what, happens] of anew) {
    it(`${what}: successes of before do not come with the next failure`, () => {
      const { circuit, mine, told } = make()
      circuit.succeeded(1, circuit.permit)
      happens(circuit, mine)
      circuit.failed(sick.connect(), 1, circuit.permit)
      assert.deepStrictEqual(told, [[0, true]])
    })

    it(`${what}: what was admitted before is late`, () => {
      const { circuit, mine, told } = make()
      const before = circuit.permit
      happens(circuit, mine)
      circuit.failed(sick.connect(), 1, before)
      circuit.succeeded(1, before)
      assert.deepStrictEqual(told, [])
      assert.isTrue(circuit.closed)
    })

    it(`${what}: a failure of before is not waiting for more calls`, () => {
      const { circuit, mine, told } = make()
      circuit.failed(sick.connect(), 1, circuit.permit)
      happens(circuit, mine)
      told.length = 0
      for (let i = 0; i < 3; i++) circuit.succeeded(1, circuit.permit)
      assert.deepStrictEqual(told, [])
    })

    it(`${what}: the calls of before do not make up the least number`, () => {
      const { circuit, mine, told } = make()
      circuit.succeeded(1, circuit.permit)
      happens(circuit, mine)
      circuit.failed(sick.connect(), 1, circuit.permit)
      told.length = 0
      circuit.succeeded(1, circuit.permit)
      assert.deepStrictEqual(told, [])
      circuit.succeeded(1, circuit.permit)
      assert.deepStrictEqual(told, [[2, false]])
    })
  }

  it("slow is what took longer than allowed, without the time that this process stood still", () => {
    for (
      const [millis, stalled, isSlow] of [[1_000, 0, false], [1_001, 0, true], [1_500, 500, false], [
        1_501,
        500,
        true
      ]] as const
    ) {
      assert.strictEqual(make({ slowMillis: 1_000, stalled }).circuit.isSlow(millis), isSlow, `${millis}, ${stalled}`)
    }
  })

  it("successes that no failure has brought to the store are told when it is asked for, and once", () => {
    const { circuit, told } = make()
    circuit.succeeded(1, circuit.permit)
    circuit.reportSuccesses()
    circuit.reportSuccesses()
    assert.deepStrictEqual(told, [[1, false]])
    circuit.succeeded(1, circuit.permit)
    circuit.leave("Open", 10)
    circuit.reportSuccesses()
    assert.deepStrictEqual(told, [[1, false]])
  })
})
