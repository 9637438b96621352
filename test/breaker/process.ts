/**
 * A process that has a breaker in a shared Redis, and does what it is told over its standard input, one line of JSON
 * for each command. Its one argument is the port of Redis.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as readline from "node:readline"
import * as Breaker from "../../src/breaker/Breaker.ts"
import { sick } from "./failures.ts"
import * as Redis from "./redis.ts"

/** What it is told: to make `count` calls at once, which take `millis` and then succeed or not. */
export interface Command {
  readonly count: number
  readonly millis: number
  readonly succeeds: boolean
}

/** What became of them. */
export interface Report {
  readonly succeeded: number
  readonly failed: number
  readonly rejected: Readonly<Record<string, number>>
  /** The longest time in which a call was turned away, in milliseconds. */
  readonly rejectionMillis: number
  readonly retryAfter: number | undefined
  readonly closed: boolean
  readonly state: string
  readonly log: ReadonlyArray<string>
}

const log: Array<string> = []

const program = Effect.gen(function*() {
  const breaker = yield* Breaker.make({ name: "shared" }, {
    tripPolicy: CircuitBreaker.rate({ size: 10, minimumCalls: 5 }),
    openDuration: "2 seconds",
    refreshInterval: "100 millis",
    storeTimeout: "2 seconds"
  })

  const perform = Effect.fnUntraced(function*(command: Command) {
    const call = breaker.execute(
      Effect.andThen(
        Effect.sleep(command.millis),
        command.succeeds ? Effect.void : Effect.suspend(() => Effect.fail(sick.connect()))
      )
    )
    let rejectionMillis = 0
    let retryAfter: number | undefined
    const rejected: Record<string, number> = {}
    let succeeded = 0
    let failed = 0
    yield* Effect.forEach(
      Array.from({ length: command.count }),
      Effect.fnUntraced(function*() {
        const startedAt = performance.now()
        const exit = yield* Effect.exit(call)
        if (Exit.isSuccess(exit)) return succeeded++
        const reason = Breaker.find(Option.getOrUndefined(Exit.findErrorOption(exit)))?.reason
        if (reason === undefined) return failed++
        rejected[reason._tag] = (rejected[reason._tag] ?? 0) + 1
        rejectionMillis = Math.max(rejectionMillis, performance.now() - startedAt)
        if (reason._tag === "CircuitOpen") retryAfter = Duration.toMillis(reason.retryAfter)
      }),
      { concurrency: "unbounded", discard: true }
    )
    const { closed } = breaker
    const state = (yield* breaker.state)._tag
    return { succeeded, failed, rejected, rejectionMillis, retryAfter, closed, state, log } satisfies Report
  })

  yield* Effect.callback<void>((resume) => {
    const lines = readline.createInterface({ input: process.stdin })
    lines.on("line", (line) => {
      Effect.runFork(Effect.map(perform(JSON.parse(line) as Command), (report) => {
        process.stdout.write(JSON.stringify(report) + "\n")
      }))
    })
    lines.on("close", () => resume(Effect.void))
    process.stdout.write("\"ready\"\n")
  })
})

await program.pipe(
  Effect.scoped,
  Effect.provide(
    CircuitBreaker.layerStoreRedis().pipe(
      Layer.provide(Redis.layer(Number(process.argv[2]))),
      Layer.merge(Logger.layer([Logger.make(({ message }) => log.push(String([message].flat()[0])))]))
    )
  ),
  Effect.runPromise
)
