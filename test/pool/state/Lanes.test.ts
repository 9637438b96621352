import { describe, it } from "@effect/vitest"
import { quick, same, Steps } from "./steps.ts"

const report = 1
const login = 2

/** Ten connections: reports may have half of them, and two are kept free for logins. */
const setUp = (max = 10) =>
  new Steps({ max, maxConnecting: max, lanes: [{ guaranteed: 0, max: 0.5 }, { guaranteed: 0.2, max: 1 }] }).open(
    Math.floor(max * 0.8)
  )

describe("PoolState: lanes", () => {
  it("have no more than their maximum, also when connections are free", () => {
    const pool = setUp()
    for (const name of ["a", "b", "c", "d", "e"]) same(pool.whole(name, report)[0]?.slice(0, 7), `Lease ${name}`)
    same(pool.whole("f", report), [])
    same(pool.whole("x")[0], "Lease x 3")
    same(pool.end("b"), ["Lease f 7"])
  })

  it("find what is guaranteed to them, whatever the others want", () => {
    const pool = setUp()
    for (let i = 0; i < 20; i++) pool.whole(`${i}`)
    same(pool.state.counts.used, 8)
    same(pool.in("Connecting"), [])
    same(pool.whole("l", login), ["Connect 9"])
    same(pool.connected(9), ["Lease l 9"])
    same(pool.whole("m", login), ["Connect 10"])
    same(pool.connected(10), ["Lease m 10"])
    // What comes back of a guarantee is for its lane.
    same(pool.whole("n", login), [])
    same(pool.end("m"), ["Lease n 10"])
    same(pool.end("n"), [])
    same(pool.state.counts.waiting, 12)
  })

  it("take more than is guaranteed to them when there is more", () => {
    const pool = setUp()
    for (let i = 0; i < 8; i++) same(pool.whole(`${i}`, login)[0]!.startsWith("Lease"), true)
    same(pool.whole("a")[0], "Connect 9")
    same(pool.connected(9), ["Lease a 9"])
  })

  it("keep the waiting order, and stand in nobody's way", () => {
    const pool = setUp()
    for (let i = 0; i < 5; i++) pool.whole(`report ${i}`, report)
    pool.whole("report x", report)
    pool.whole("report y", report)
    for (const name of ["a", "b", "c"]) same(pool.whole(name)[0]!.startsWith("Lease"), true)
    same(pool.whole("d"), [])
    same(pool.end("a"), ["Lease d 3"])
    same(pool.end("report 0"), ["Lease report x 8"])
    same(pool.end("report 1"), ["Lease report y 7"])
  })

  it("share connections only with their own statements", () => {
    const pool = setUp()
    pool.shared("a", quick(), report)
    for (let i = 0; i < 7; i++) pool.shared(`${i}`)
    same(pool.shared("b", quick(), login), [])
    same(pool.sleep(1), ["Connect 9"])
    same(pool.shared("c", quick(), report), ["Lease c 8"])
    same(pool.shared("d"), ["Lease d 7"])
  })

  it("get at least one connection of a small pool", () => {
    const pool = new Steps({ max: 1, lanes: [{ guaranteed: 0.2, max: 0.5 }] }).open(1)
    same(pool.whole("a", report), ["Lease a 1"])
    same(pool.whole("b"), [])
    same(pool.end("a"), ["Lease b 1"])
  })
})
