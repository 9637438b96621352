import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as Pool from "../../../src/pool/Pool.ts"
import * as Pools from "../../../src/pool/Pools.ts"
import { type Account, ConnectionQuota, type Member, type Request } from "../../../src/pool/state/ConnectionQuota.ts"
import { FakeAdapter, refused } from "../../../src/testing/FakeAdapter.ts"
import { seed } from "../../support/seed.ts"

const fork = Effect.forkChild({ startImmediately: true })

/** A pool as the budget sees it, whose state the test sets by hand. */
class Fake implements Member {
  starving = true
  idleCount = 0
  owes = 0
  readonly account: Account
  private readonly budget: ConnectionQuota
  readonly granted: Array<string>

  constructor(budget: ConnectionQuota, granted: Array<string> = []) {
    this.budget = budget
    this.account = budget.join(this)
    this.granted = granted
  }

  readonly isStarving = () => this.starving
  readonly idle = () => this.idleCount
  readonly giveUpIdle = () => {
    if (this.idleCount === 0) return false
    this.idleCount--
    this.budget.release(this.account)
    return true
  }
  readonly giveUpNext = () => {
    this.owes++
  }

  ask(name: string): Request {
    const request: Request = { account: this.account, grant: () => this.granted.push(name) }
    if (this.budget.ask(request)) request.grant()
    return request
  }

  release(): void {
    this.budget.release(this.account)
  }
}

describe("A budget", () => {
  it("asks for an idle connection once, however long its goodbye takes", () => {
    const budget = new ConnectionQuota(3)
    let asked = 0
    const slow: Member = {
      isStarving: () => false,
      idle: () => 3 - asked,
      // It is given back when it is closed.
      giveUpIdle: () => asked++ < 3,
      giveUpNext: () => {}
    }
    const rich = budget.join(slow)
    for (let connection = 0; connection < 3; connection++) {
      assert.isTrue(budget.ask({ account: rich, grant: () => {} }))
    }
    const granted: Array<string> = []
    new Fake(budget, granted).ask("b")
    for (let change = 0; change < 5; change++) budget.relieve()
    assert.strictEqual(asked, 1)
    budget.release(rich)
    assert.deepStrictEqual(granted, ["b"])
    budget.relieve()
    assert.strictEqual(asked, 1)
  })

  it("takes nothing from others for one who has its share already", () => {
    const budget = new ConnectionQuota(4)
    const a = new Fake(budget)
    const b = new Fake(budget)
    for (const name of ["a1", "a2"]) a.ask(name)
    for (const name of ["b1", "b2"]) b.ask(name)
    a.ask("a3")
    budget.relieve()
    assert.deepStrictEqual([a.owes, b.owes], [0, 0])
    // One below its share is served.
    a.release()
    assert.strictEqual(a.granted.at(-1), "a3")
    a.release()
    b.ask("b3")
    a.ask("a4")
    budget.relieve()
    assert.deepStrictEqual([a.owes, b.owes], [0, 1])
  })

  it("never takes from the one who needs it, though it has an idle connection that is of no use to it", () => {
    const budget = new ConnectionQuota(4)
    const [a, b] = [new Fake(budget), new Fake(budget)]
    for (const name of ["a1", "a2", "a3"]) a.ask(name)
    b.ask("b1")
    b.starving = false
    ;[a.idleCount, b.idleCount] = [1, 1]
    a.ask("a4")
    assert.deepStrictEqual([a.idleCount, b.idleCount], [1, 0])
    assert.strictEqual(a.granted.at(-1), "a4")
  })

  it("takes from the richest, not counting what it has been asked to give up already", () => {
    const budget = new ConnectionQuota(8)
    const [a, b, c] = [new Fake(budget), new Fake(budget), new Fake(budget)]
    for (const name of ["a1", "a2", "a3", "a4"]) a.ask(name)
    for (const name of ["b1", "b2", "b3"]) b.ask(name)
    c.ask("c1")
    const owed = ["c2", "c3", "c4"].map((name) => {
      c.ask(name)
      return [a.owes, b.owes]
    })
    assert.deepStrictEqual(owed, [[1, 0], [2, 0], [2, 1]])
  })

  it("one who gives up more than it was asked for serves all who wait, and nobody else is asked", () => {
    const budget = new ConnectionQuota(3)
    let given = false
    const generous: Member = {
      isStarving: () => false,
      idle: () => given ? 0 : 3,
      giveUpIdle: () => {
        given = true
        for (let i = 0; i < 3; i++) budget.release(rich)
        return true
      },
      giveUpNext: () => assert.fail("nobody waits any more")
    }
    const rich = budget.join(generous)
    for (let i = 0; i < 3; i++) budget.ask({ account: rich, grant: () => {} })
    const [a, b] = [new Fake(budget), new Fake(budget)]
    for (const member of [a, b]) member.starving = false
    a.ask("a1")
    b.ask("b1")
    for (const member of [a, b]) member.starving = true
    budget.relieve()
    assert.deepStrictEqual([a.granted, b.granted], [["a1"], ["b1"]])
  })

  it("gives everybody what is asked for while there is room", () => {
    const budget = new ConnectionQuota(3)
    const granted: Array<string> = []
    const a = new Fake(budget, granted)
    const b = new Fake(budget, granted)
    a.ask("a1")
    a.ask("a2")
    b.ask("b1")
    b.ask("b2")
    assert.deepStrictEqual(granted, ["a1", "a2", "b1"])
    assert.strictEqual(budget.used, 3)
    assert.strictEqual(budget.waiting, 1)
  })

  it("gives what is free to whoever has the fewest, and among equals to whoever has asked first", () => {
    const budget = new ConnectionQuota(3)
    const granted: Array<string> = []
    const [a, b, c] = [new Fake(budget, granted), new Fake(budget, granted), new Fake(budget, granted)]
    a.ask("a1")
    a.ask("a2")
    b.ask("b1")
    granted.length = 0
    a.ask("a3")
    b.ask("b2")
    c.ask("c1")
    for (const from of [a, a, b]) from.release()
    assert.deepStrictEqual(granted, ["c1", "a3", "b2"])
  })

  it("serves those who only want to be prepared after those whose callers wait", () => {
    const budget = new ConnectionQuota(1)
    const granted: Array<string> = []
    const [a, b, c] = [new Fake(budget, granted), new Fake(budget, granted), new Fake(budget, granted)]
    a.ask("a1")
    b.starving = false
    b.ask("b1")
    c.ask("c1")
    a.release()
    assert.deepStrictEqual(granted, ["a1", "c1"])
  })

  it("takes idle connections from whoever has the most, only for callers who wait, and no more than needed", () => {
    const budget = new ConnectionQuota(5)
    const granted: Array<string> = []
    const [a, b, c] = [new Fake(budget, granted), new Fake(budget, granted), new Fake(budget, granted)]
    for (let i = 0; i < 3; i++) a.ask("a")
    for (let i = 0; i < 2; i++) b.ask("b")
    a.idleCount = 2
    b.idleCount = 1
    c.starving = false
    c.ask("c1")
    assert.strictEqual(a.idleCount + b.idleCount, 3)
    c.starving = true
    budget.relieve()
    assert.deepStrictEqual([a.idleCount, b.idleCount], [1, 1])
    assert.strictEqual(granted.at(-1), "c1")
  })

  it("asks whoever has more than its share to give up the next one, once for each who needs it", () => {
    const budget = new ConnectionQuota(4)
    const granted: Array<string> = []
    const [a, b] = [new Fake(budget, granted), new Fake(budget, granted)]
    for (let i = 0; i < 4; i++) a.ask("a")
    b.ask("b1")
    budget.relieve()
    assert.strictEqual(a.owes, 1)
    b.ask("b2")
    assert.strictEqual(a.owes, 2)
    // More than half is not its share.
    b.ask("b3")
    assert.strictEqual(a.owes, 2)
    a.release()
    a.release()
    assert.deepStrictEqual(granted.slice(4), ["b1", "b2"])
    assert.strictEqual(a.owes, 2)
  })

  it("forgets whoever cancels, and whoever leaves", () => {
    const budget = new ConnectionQuota(1)
    const granted: Array<string> = []
    const [a, b, c] = [new Fake(budget, granted), new Fake(budget, granted), new Fake(budget, granted)]
    a.ask("a1")
    budget.cancel(b.ask("b1"))
    c.ask("c1")
    budget.leave(c.account)
    a.release()
    assert.deepStrictEqual(granted, ["a1"])
    assert.deepStrictEqual([budget.used, budget.waiting], [0, 0])
  })
})

describe("Pools within a budget", () => {
  for (const number of [1, 2, 3, 4, 5, 6]) {
    it.effect(`keep their promises, whatever happens (${number})`, () =>
      Effect.gen(function*() {
        const random = seed(1000 + number)
        const message = `seed ${random.value}`
        const total = random.int(1, 6)
        const fakes: Array<FakeAdapter> = []
        let peak = 0
        const count = () => fakes.reduce((sum, fake) => sum + fake.open.length + fake.connecting, 0)
        const pools = yield* Pools.make({
          lookup: (key: number) =>
            Layer.effect(
              Pool.Pool,
              Effect.suspend(() => {
                const fake = new FakeAdapter()
                fake.onConnect = () => {
                  peak = Math.max(peak, count())
                  const slow = Effect.sleep(random.int(0, 20))
                  return random.chance(0.1) ? Effect.andThen(slow, Effect.fail(refused)) : slow
                }
                fake.onClose = () => Effect.sleep(random.int(0, 5))
                fakes.push(fake)
                return Pool.make(fake, {
                  startup: random.pick(["lazy", "verify"]),
                  min: key % 3 === 0 ? 1 : 0,
                  max: 4,
                  acquireTimeout: "30 seconds",
                  shutdownTimeout: 0,
                  idleTimeout: random.int(50, 500)
                })
              })
            ),
          budget: total,
          idleTimeToLive: 300
        })
        const fibers: Array<Fiber.Fiber<Exit.Exit<void, unknown>, never>> = []
        let served = 0
        for (let step = 0; step < 300; step++) {
          const dice = random.next()
          if (dice < 0.7) {
            const millis = random.int(0, 40)
            fibers.push(
              yield* fork(Effect.exit(
                pools.use(random.int(0, 5))(Effect.flatMap(Pool.Pool, (pool) =>
                  pool.use(() => {
                    served++
                    return Effect.sleep(millis)
                  })))
              ))
            )
          } else if (dice < 0.8 && fibers.length > 0) {
            fibers[random.int(0, fibers.length - 1)]!.interruptUnsafe()
          } else if (dice < 0.85) {
            fakes[random.int(0, fakes.length - 1)]?.open[0]?.lose()
          } else if (dice < 0.88) {
            yield* pools.refresh(random.int(0, 5))
          }
          yield* TestClock.adjust(random.int(0, 15))
          const { budget } = yield* pools.stats
          assert.isAtMost(budget.used, total, message)
          assert.isAtMost(peak, total, message)
          assert.isAtMost(count(), total, message)
        }
        yield* TestClock.adjust("20 seconds")
        for (const fiber of fibers) {
          const exit = fiber.pollUnsafe()
          assert.isDefined(exit, `${message}: somebody waits for ever`)
          // Whoever was not interrupted has done its work.
          if (Exit.isSuccess(exit!)) assert.isTrue(Exit.isSuccess(exit.value), message)
        }
        assert.isAbove(served, 100)
        yield* pools.shutdown
        assert.deepStrictEqual((yield* pools.stats).budget, { total, used: 0, waiting: 0 }, message)
        assert.strictEqual(count(), 0, message)
      }))
  }
})
