import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as net from "node:net"
import { afterAwake, DeadlineTimer } from "../../src/timing/DeadlineTimer.ts"
import { stallGuard } from "../../src/timing/StallGuard.ts"
import * as Timeout from "../../src/timing/timeout.ts"

/** The process stands still. */
const block = (millis: number) =>
  Effect.sync(() => {
    const end = performance.now() + millis
    while (performance.now() < end);
  })

/** A socket whose other end sends one byte when it is asked to, and an effect that waits for the byte. */
const answer = Effect.gen(function*() {
  const arrived = yield* Deferred.make<string>()
  const sockets: Array<net.Socket> = []
  const server = yield* Effect.acquireRelease(
    Effect.callback<net.Server>((resume) => {
      const server = net.createServer((socket) => void sockets.push(socket.on("error", () => {})))
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )
  const client = yield* Effect.acquireRelease(
    Effect.callback<net.Socket>((resume) => {
      const socket = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1")
      socket.once("connect", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )
  client.once("data", () => Deferred.doneUnsafe(arrived, Effect.succeed("answered")))
  while (sockets.length === 0) yield* Effect.sleep(1)
  return { arrived, send: Effect.sync(() => sockets[0]!.write("x")) }
})

const limits: ReadonlyArray<{
  readonly name: string
  readonly limit: <A>(self: Effect.Effect<A>, millis: number) => Effect.Effect<A | string>
}> = [
  {
    name: "timeoutOrElse",
    limit: (self, millis) =>
      Timeout.timeoutOrElse(self, { duration: millis, orElse: (stalled) => Effect.succeed(`timed out ${stalled > 0}`) })
  },
  {
    name: "DeadlineTimer",
    limit: (self, millis) =>
      Effect.raceFirst(
        self,
        Effect.callback<string>((resume) => {
          const from = stallGuard.now()
          const timer = new DeadlineTimer(() => {
            const now = stallGuard.now()
            const stalled = stallGuard.stalledBetween(from, now)
            if (from + millis + stalled > now) timer.arm(from + millis + stalled, now)
            else resume(Effect.succeed(`timed out ${stalled > 0}`))
          })
          timer.arm(from + millis, from)
          return Effect.sync(() => timer.stop())
        })
      )
  }
]

describe("limits under a stall", () => {
  for (const { limit, name } of limits) {
    for (const factor of [1, 2, 10]) {
      it.live(`${name}: an answer that arrives during a stall of ${factor} × the limit is read first`, () =>
        Effect.scoped(Effect.gen(function*() {
          const { arrived, send } = yield* answer
          const fiber = yield* Effect.forkChild(limit(Deferred.await(arrived), 100), { startImmediately: true })
          yield* send
          yield* block(100 * factor)
          assert.strictEqual(yield* Fiber.join(fiber), "answered")
        })))
    }

    it.live(`${name}: the stall does not use the limit up`, () =>
      Effect.gen(function*() {
        const work = Effect.sleep(350).pipe(Effect.as("answered"))
        // The work has not begun before the stall; its limit has.
        const fiber = yield* Effect.forkChild(
          limit(Effect.andThen(Effect.yieldNow, work), 500),
          { startImmediately: true }
        )
        yield* block(1_000)
        assert.strictEqual(yield* Fiber.join(fiber), "answered")
      }))

    it.live(`${name}: no stall, no answer → it ends in time and says that there was no stall`, () =>
      Effect.gen(function*() {
        const startedAt = performance.now()
        assert.strictEqual(yield* limit(Effect.never, 60), "timed out false")
        assert.isAtLeast(performance.now() - startedAt, 59)
      }))

    it.live(`${name}: a stall and no answer → it ends after the rest of its time and says so`, () =>
      Effect.gen(function*() {
        const startedAt = performance.now()
        const fiber = yield* Effect.forkChild(limit(Effect.never, 300), { startImmediately: true })
        yield* block(600)
        assert.strictEqual(yield* Fiber.join(fiber), "timed out true")
        assert.isAtLeast(performance.now() - startedAt, 800)
      }))
  }

  it.live("the check bites: Effect's own timeout takes the stall for a slow answer", () =>
    Effect.scoped(Effect.gen(function*() {
      const { arrived, send } = yield* answer
      const fiber = yield* Effect.forkChild(
        Effect.timeoutOrElse(Deferred.await(arrived), { duration: 100, orElse: () => Effect.succeed("timed out") }),
        { startImmediately: true }
      )
      yield* send
      yield* block(200)
      assert.strictEqual(yield* Fiber.join(fiber), "timed out")
    })))

  it.effect("the monotonic time of another clock, and of the live one", () =>
    Effect.gen(function*() {
      const now = yield* Effect.clockWith((clock) => Effect.succeed(Timeout.monotonicOf(clock)))
      const before = now()
      yield* TestClock.adjust("90 seconds")
      assert.strictEqual(now() - before, 90_000)
      const live = Timeout.monotonicOf(Context.get(Context.empty(), Clock.Clock))
      const [low, middle, high] = [performance.now(), live(), performance.now()]
      assert.isTrue(low <= middle && middle <= high)
    }))

  it.effect("another clock: time is what it says", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(limits[0]!.limit(Effect.never, 60_000))
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), "timed out false")
    }))
})

describe("DeadlineTimer", () => {
  it.live("goes off once, at the earliest of the times that were asked for", () =>
    Effect.gen(function*() {
      let fired = 0
      const timer = new DeadlineTimer(() => fired++)
      const now = stallGuard.now()
      timer.arm(now + 60, now)
      timer.arm(now + 20, now)
      timer.arm(now + 40, now)
      while (fired === 0) yield* Effect.sleep(5)
      yield* Effect.sleep(80)
      assert.strictEqual(fired, 1)
      timer.stop()
    }))

  it.live("afterAwake: the time that the process stood still is added", () =>
    Effect.gen(function*() {
      const fired = yield* Deferred.make<number>()
      const startedAt = stallGuard.now()
      afterAwake(200, () => Deferred.doneUnsafe(fired, Effect.succeed(stallGuard.now())))
      yield* block(500)
      assert.isAtLeast((yield* Deferred.await(fired)) - startedAt, 690)
    }))

  it.live("stopped: it keeps nothing alive, and can be armed for a later time", () =>
    Effect.gen(function*() {
      const alive = () => process.getActiveResourcesInfo().filter((what) => what === "Timeout").length
      const fired = yield* Deferred.make<void>()
      const timer = new DeadlineTimer(() => Deferred.doneUnsafe(fired, Effect.void))
      const before = alive()
      const now = stallGuard.now()
      timer.arm(now + 60_000, now)
      timer.arm(now + 50_000, now)
      assert.strictEqual(alive(), before + 1)
      timer.stop()
      assert.strictEqual(alive(), before)
      timer.arm(now + 10, now)
      timer.stop()
      timer.arm(now + 30, now)
      yield* Deferred.await(fired)
    }))

  it.live("a delay above 24 days: it does not go off", () =>
    Effect.gen(function*() {
      let fired = 0
      const timer = new DeadlineTimer(() => fired++)
      const now = stallGuard.now()
      timer.arm(now + 30 * 86_400_000, now)
      yield* Effect.sleep(20)
      timer.stop()
      assert.strictEqual(fired, 0)
    }))

  it.live("stopped while the loop reads: it does not go off", () =>
    Effect.gen(function*() {
      let fired = 0
      const timer = new DeadlineTimer(() => fired++)
      const now = stallGuard.now()
      timer.arm(now, now)
      const stopped = Effect.callback<void>((resume) =>
        void setTimeout(() => {
          timer.stop()
          resume(Effect.void)
        }, 1)
      )
      // Both are due when the loop comes to its timers, so this one stops the other between due and reading.
      yield* Effect.all([stopped, block(5)], { concurrency: "unbounded" })
      yield* Effect.sleep(20)
      assert.strictEqual(fired, 0)
    }))

  it.live("armed twice: the earlier time counts", () =>
    Effect.gen(function*() {
      const fired = yield* Deferred.make<number>()
      const timer = new DeadlineTimer(() => Deferred.doneUnsafe(fired, Effect.succeed(stallGuard.now())))
      const now = stallGuard.now()
      timer.arm(now + 60_000, now)
      timer.arm(now + 20, now)
      timer.arm(now + 90_000, now)
      const at = yield* Deferred.await(fired)
      assert.isAtLeast(at - now, 19)
      timer.stop()
    }))
})
