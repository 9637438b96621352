/** The circuit of a fleet: operating system processes that share it in a real Redis. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import { spawn } from "node:child_process"
import * as readline from "node:readline"
import { fileURLToPath } from "node:url"
import * as Breaker from "../../src/breaker/Breaker.ts"
import { sick } from "./failures.ts"
import type { Command, Report } from "./process.ts"
import * as Redis from "./redis.ts"

/** A process of the fleet. It ends with the scope. */
const startProcess = Effect.fnUntraced(function*(port: number) {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(
        process.execPath,
        ["--conditions=watertight-source", fileURLToPath(new URL("./process.ts", import.meta.url)), String(port)],
        { stdio: ["pipe", "pipe", "inherit"] }
      )
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const read = Effect.flatMap(
    Effect.promise(() => lines.next()),
    (line) =>
      line.done === true ? Effect.die(new Error("The process has ended")) : Effect.succeed(JSON.parse(line.value))
  )
  assert.strictEqual(yield* read, "ready")
  const run = Effect.fnUntraced(function*(command: Partial<Command>): Effect.fn.Return<Report> {
    child.stdin.write(JSON.stringify({ count: 1, millis: 0, succeeds: true, ...command } satisfies Command) + "\n")
    return (yield* read) as Report
  })
  return { pid: child.pid, run }
})

/** Makes a call now and then until the process reports what is waited for. */
const until = (process: Effect.Success<ReturnType<typeof startProcess>>, is: (report: Report) => boolean) =>
  Effect.repeat(Effect.delay(process.run({}), "10 millis"), { until: is })

const sum = (reports: ReadonlyArray<Report>, f: (report: Report) => number | undefined) =>
  reports.reduce((total, report) => total + (f(report) ?? 0), 0)

describe("two processes that share a circuit in Redis", () => {
  it.live("open it, probe it and close it together, and live without it", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.make
      const [one, two] = yield* Effect.all([startProcess(redis.port), startProcess(redis.port)], { concurrency: 2 })
      assert.notStrictEqual(one.pid, two.pid)
      const both = (command: Partial<Command>) => Effect.all([one.run(command), two.run(command)], { concurrency: 2 })

      for (const report of yield* both({ count: 20 })) {
        assert.strictEqual(report.succeeded, 20)
        assert.isTrue(report.closed)
      }

      // One finds the database dead. The other has not had a single failure.
      yield* Effect.sleep("150 millis")
      yield* one.run({ count: 30, succeeds: false })
      yield* until(one, (report) => !report.closed)
      yield* until(two, (report) => !report.closed)
      const opened = yield* two.run({ count: 100 })
      assert.deepStrictEqual(opened.rejected, { CircuitOpen: 100 })
      assert.isAbove(opened.retryAfter!, 0)
      assert.isAtMost(opened.retryAfter!, 2_400)
      assert.strictEqual(opened.failed, 0)

      // One probe for both.
      yield* Effect.sleep(opened.retryAfter! + 100)
      const probed = yield* both({ count: 200, millis: 3_000 })
      assert.strictEqual(sum(probed, (report) => report.succeeded), 1)
      assert.strictEqual(sum(probed, (report) => report.rejected["CircuitHalfOpen"]), 399)
      for (const process of [one, two]) {
        const report = yield* until(process, (report) => report.closed)
        assert.strictEqual(report.state, "Closed")
        assert.deepStrictEqual(report.log, [])
      }

      // Redis is gone: each has a circuit of its own, and says so once.
      yield* redis.kill
      yield* Effect.sleep("150 millis")
      for (const process of [one, two]) {
        assert.strictEqual((yield* process.run({ count: 50 })).succeeded, 50)
        yield* until(process, (report) => report.log.length === 1)
      }
      yield* one.run({ count: 30, succeeds: false })
      yield* until(one, (report) => !report.closed)
      assert.isTrue((yield* two.run({})).closed)

      // Redis is back, and they share again.
      yield* redis.restart
      for (const process of [one, two]) yield* until(process, (report) => report.log.length === 2 && report.closed)
      yield* two.run({ count: 30, succeeds: false })
      yield* until(one, (report) => !report.closed)
    }), { timeout: 60_000 })
})

describe("a circuit in Redis", () => {
  const make = (port: number, options?: Breaker.Options) =>
    Effect.flatMap(
      Layer.build(CircuitBreaker.layerStoreRedis().pipe(Layer.provide(Redis.layer(port)))),
      (context) =>
        Effect.provideContext(
          Breaker.make({ name: "shared" }, {
            tripPolicy: CircuitBreaker.consecutive(2),
            openDuration: "300 millis",
            refreshInterval: "50 millis",
            storeTimeout: "1 second",
            ...options
          }),
          context
        )
    )
  const isClosed = (breaker: Breaker.Breaker) =>
    Effect.repeat(Effect.delay(Effect.sync(() => breaker.closed), "1 millis"), { until: (closed) => closed })
  const isOpen = (breaker: Breaker.Breaker) =>
    Effect.repeat(Effect.delay(Effect.sync(() => !breaker.closed), "1 millis"), { until: (open) => open })

  it.live("records what the calls found out in their order", () =>
    Effect.gen(function*() {
      const { port } = yield* Redis.make
      const breaker = yield* make(port)
      for (let i = 0; i < 50; i++) {
        breaker.failed(sick.connect(), 1, breaker.permit)
        breaker.succeeded(1, breaker.permit)
      }
      yield* Effect.sleep("200 millis")
      assert.isTrue(breaker.closed)
      breaker.failed(sick.connect(), 1, breaker.permit)
      breaker.failed(sick.connect(), 1, breaker.permit)
      yield* isOpen(breaker)
      const error = yield* Effect.flip(breaker.execute(Effect.void))
      assert.isAbove(Duration.toMillis(Breaker.retryAfter(error)!), 0)
    }))

  it.live("takes back the place of a probe that was interrupted", () =>
    Effect.gen(function*() {
      const { port } = yield* Redis.make
      const breaker = yield* make(port, { tripPolicy: CircuitBreaker.consecutive(1) })
      breaker.failed(sick.connect(), 1, breaker.permit)
      yield* isOpen(breaker)
      yield* Effect.sleep("310 millis")
      const probe = yield* Effect.forkChild(breaker.execute(Effect.never), { startImmediately: true })
      yield* Effect.repeat(breaker.state, { until: ({ _tag }) => _tag === "HalfOpen" })
      yield* Fiber.interrupt(probe)
      yield* breaker.execute(Effect.void)
      assert.isTrue(breaker.closed)
    }))

  it.live("does not hold calls up when Redis stops answering", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.make
      const breaker = yield* make(redis.port)
      yield* Effect.sleep("60 millis")
      yield* redis.pause
      // The store never answers while this runs, so no call can have waited for it.
      for (let i = 0; i < 1000; i++) yield* breaker.execute(Effect.void)
      yield* Effect.repeat(
        Effect.delay(
          Effect.sync(() => {
            breaker.failed(sick.connect(), 1, breaker.permit)
            breaker.failed(sick.connect(), 1, breaker.permit)
          }),
          "50 millis"
        ),
        { until: () => !breaker.closed }
      )
      yield* redis.resume
      yield* Effect.repeat(Effect.delay(Effect.exit(breaker.execute(Effect.void)), "50 millis"), {
        until: Exit.isSuccess
      })
      yield* isClosed(breaker)
    }).pipe(Effect.provide(Logger.layer([]))))
})
