/** How a transaction ends, as an observer is told. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { SqlClient } from "effect/sql/SqlClient"
import { Retry, Transaction } from "watertight"
import { FaultProxy, freshDatabase } from "../support/index.ts"
import { freshLayer, layerAt } from "./support.ts"

const recorded = () => {
  const log: Array<string> = []
  const observer: Transaction.EndObserver = {
    onCommit: () => log.push("commit"),
    onEnd: (outcome) => log.push(outcome)
  }
  return { log, observe: Transaction.observe(observer) }
}

const one = Effect.flatMap(SqlClient, (sql) => sql`select 1`)

it.layer(freshLayer(), { excludeTestServices: true })("an observer of a transaction", (it) => {
  it.effect("body succeeds → told before COMMIT and after it", () =>
    Effect.gen(function*() {
      const { log, observe } = recorded()
      assert.isTrue(yield* Transaction.run(Effect.andThen(one, observe), {}))
      assert.deepStrictEqual(log, ["commit", "Applied"])
    }))

  it.effect("no statement was run → still told once", () =>
    Effect.gen(function*() {
      const { log, observe } = recorded()
      yield* Transaction.run(observe, {})
      assert.deepStrictEqual(log, ["commit", "Applied"])
    }))

  it.effect("body fails → NotApplied, without COMMIT", () =>
    Effect.gen(function*() {
      const { log, observe } = recorded()
      yield* Effect.ignore(Transaction.run(Effect.andThen(observe, Effect.fail("no")), {}))
      assert.deepStrictEqual(log, ["NotApplied"])
    }))

  it.effect("body is interrupted → NotApplied", () =>
    Effect.gen(function*() {
      const { log, observe } = recorded()
      const fiber = yield* Effect.forkChild(Transaction.run(Effect.andThen(observe, Effect.never), {}))
      yield* Effect.repeat(Effect.andThen(Effect.yieldNow, one), { times: 3 })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(log, ["NotApplied"])
    }))

  it.effect("added in a savepoint that is rolled back → told how the whole transaction ends", () =>
    Effect.gen(function*() {
      const { log, observe } = recorded()
      const inner = Transaction.run(Effect.andThen(observe, Effect.fail("no")), {})
      yield* Transaction.run(Effect.andThen(Effect.ignore(inner), one), {})
      assert.deepStrictEqual(log, ["commit", "Applied"])
    }))

  it.effect("through `sql.withTransaction` → told the same", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const { log, observe } = recorded()
      yield* sql.withTransaction(observe)
      assert.deepStrictEqual(log, ["commit", "Applied"])
    }))

  it.effect("outside of a transaction → not added", () =>
    Effect.gen(function*() {
      const { log, observe } = recorded()
      assert.isFalse(yield* observe)
      assert.deepStrictEqual(log, [])
    }))
})

for (
  const [what, fault, resolve, expected] of [
    ["lost, applied and not looked into", "after", "never", "Unknown"],
    ["lost, not applied and not looked into", "before", "never", "Unknown"],
    ["lost, and found applied", "after", "always", "Applied"],
    ["lost, and found not applied", "before", "always", "NotApplied"]
  ] as const
) {
  it.live(`COMMIT is ${what} → ${expected}`, () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* proxy.when("Q\u0000\u0000\u0000\u000bCOMMIT\u0000", fault)
      const { log, observe } = recorded()
      const write = Effect.flatMap(SqlClient, (sql) => sql`create table t (id int)`)
      yield* Effect.ignore(Transaction.run(Effect.andThen(write, observe), { resolve, retry: Retry.never })).pipe(
        Effect.provide(layerAt(proxy.url))
      )
      assert.deepStrictEqual(log, ["commit", expected])
    }))
}
