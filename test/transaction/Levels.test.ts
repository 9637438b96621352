/** Whose turn it is among the levels of a transaction: a savepoint that is open holds up who is outside of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Levels } from "../../src/transaction/Levels.ts"

const waiting = (levels: Levels, id: number) =>
  Effect.forkChild(levels.turn(levels.find(id)!), { startImmediately: true })

describe("the turn of a level", () => {
  it.effect("comes when the savepoint inside of it is over", () =>
    Effect.gen(function*() {
      const levels = new Levels()
      levels.enter(1, undefined)
      const outer = yield* waiting(levels, 0)
      assert.isUndefined(outer.pollUnsafe())
      levels.leave(levels.innermost)
      yield* Fiber.join(outer)
    }))

  it.effect("comes for all who waited inside of what is over, for they have to look", () =>
    Effect.gen(function*() {
      const levels = new Levels()
      levels.enter(1, undefined)
      const one = levels.find(1)!
      levels.enter(2, undefined)
      const inner = yield* waiting(levels, 1)
      levels.leave(one)
      yield* Fiber.join(inner)
      assert.isFalse(one.isOpen)
      assert.strictEqual(levels.innermost, levels.root)
      // Once is enough.
      levels.leave(one)
      assert.strictEqual(levels.innermost, levels.root)
    }))

  it.effect("is not waited for by who was interrupted", () =>
    Effect.gen(function*() {
      const levels = new Levels()
      levels.enter(1, undefined)
      const outer = yield* waiting(levels, 0)
      yield* Fiber.interrupt(outer)
      assert.lengthOf(levels.root.waiters, 0)
    }))
})
