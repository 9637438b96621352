/** Which connections are asked for a sign of life when another one has ended, and which are not. */
import { assert, describe, it } from "@effect/vitest"
import { same, Steps } from "./steps.ts"

/** How many connections were suspected, and why, since this was asked last. */
const suspected = (pool: Steps): ReadonlyArray<string> =>
  pool.events().flatMap((event) => event._tag === "Suspected" ? [`${event.count} ${event.reason}`] : [])

describe("PoolState: a ping that fails", () => {
  /** Connection 1 is being asked since `now`. */
  const asking = (count: number): Steps => {
    const pool = new Steps({ max: 5, validateAfter: 1_000 }).open(count)
    pool.sleep(1_500)
    // The one that came back last is lent first.
    pool.whole("a")
    same(pool.in("Validating").length, 1)
    suspected(pool)
    return pool
  }

  it("has the others asked that have not been heard of since it was asked", () => {
    const pool = asking(3)
    const [dead] = pool.in("Validating")
    pool.sleep(10)
    pool.validated(dead!, false)
    same(suspected(pool), ["2 NetworkFault"])
    pool.closed(dead!)
  })

  it("leaves those alone that have answered since, are being opened, or are being closed", () => {
    const pool = asking(3)
    const [dead] = pool.in("Validating")
    pool.sleep(10)
    // The next one answers a ping, and is given back.
    pool.whole("b")
    const alive = pool.in("Validating").find((id) => id !== dead)!
    pool.validated(alive, true)
    pool.end("a")
    pool.end("b")
    // The last one is closed, and in its place others are opened.
    const last = pool.in("Idle").find((id) => id !== alive)!
    pool.lost(last)
    suspected(pool)
    for (const name of ["c", "d"]) pool.whole(name)
    pool.end("c")
    pool.end("d")
    pool.validated(dead!, false)
    same(suspected(pool), [])
    assert.isUndefined(pool.slot(alive).suspicion)
  })

  it("suspects those that are lent, whatever they have answered before", () => {
    const pool = new Steps({ max: 3, validateAfter: 1_000 }).open(2)
    pool.whole("busy")
    pool.sleep(1_500)
    pool.whole("a")
    const [dead] = pool.in("Validating")
    suspected(pool)
    pool.validated(dead!, false)
    same(suspected(pool), ["1 NetworkFault"])
  })

  it("suspects one that is about to be closed as too many, for it may be wanted again, but not one that is retired", () => {
    for (const [change, count] of [["resize", ["1 NetworkFault"]], ["clear", []]] as const) {
      const pool = new Steps({ max: 3, validateAfter: 1_000 }).open(2)
      pool.whole("busy")
      pool.sleep(1_500)
      pool.whole("a")
      const [dead] = pool.in("Validating")
      if (change === "resize") pool.resize(0, 1)
      else pool.clear()
      suspected(pool)
      pool.validated(dead!, false)
      same(suspected(pool), count)
    }
  })
})

describe("PoolState: a connection whose server is not what it was", () => {
  it("is closed as retired, and says nothing about the network", () => {
    const pool = new Steps({ max: 3 }).open(3)
    pool.retire(3)
    same(suspected(pool), ["2 RoleChange"])
    const [first, second] = pool.in("Validating")
    same(pool.validated(first!, false), [`Close ${first} Retired`])
    same(suspected(pool), [])
    same(pool.slot(second!).suspicion, "RoleChange")
    // And so is one that is the same as before.
    pool.validated(second!, true)
    assert.isUndefined(pool.slot(second!).suspicion)
    same(pool.in("Idle"), [second])
  })
})
