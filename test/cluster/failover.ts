/**
 * The ledger of `test/transaction`, kept by servers that take each other's place. What one of them has confirmed must be
 * in the books of the one that is the primary at the end.
 */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import { Postgres } from "watertight/postgres"
import type { FaultProxy, Seed, ServerError } from "../support/index.ts"
import * as Ledger from "../transaction/ledger/ledger.ts"

/** A server of a cluster, whatever it is. */
export interface Node {
  readonly clients: FaultProxy.FaultProxy
  readonly query: (statement: string) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, ServerError>
}

/** Several servers, and what befalls them. */
export interface Cluster<N extends Node> {
  readonly url: string
  readonly nodes: ReadonlyArray<N>
  /** The node that is to have everything which was confirmed. */
  readonly primary: Effect.Effect<N, ServerError>
}

/** A blow of fate. Succeeds with the time at which another node took writes, and what is to be done when all is over. */
export type Blow<N extends Node> = (cluster: Cluster<N>, seed: Seed) => Effect.Effect<{
  readonly takenOverAt: number
  readonly after: Effect.Effect<void, ServerError>
}, ServerError>

/** What is to be seen beside the books. */
export interface Report extends Ledger.Report {
  /** How long after each take-over somebody succeeded again, in milliseconds. */
  readonly backAfter: ReadonlyArray<number>
  /** The longest that anybody waited, in milliseconds. */
  readonly slowest: number
}

/** How long a caller waits at most for its connection. */
export const acquireTimeout = 60_000

const postgres: Ledger.Place["layer"] = (url, pool) =>
  Layer.provideMerge(
    Postgres.layer({
      url: Redacted.make(url),
      connectTimeout: "2 seconds",
      controlTimeout: "2 seconds",
      resolveTimeout: "1 minute",
      pool: { ...pool, acquireTimeout }
    }),
    Logger.layer([])
  )

/** Keeps the books while the cluster is hit, once or again and again. */
export const run = Effect.fnUntraced(function*<N extends Node>(cluster: Cluster<N>, options: {
  readonly blow: Blow<N>
  readonly seconds: number
  readonly seed: number
  readonly killEvery: number
  /** Default: PostgreSQL at the URL of the cluster. */
  readonly layer?: Ledger.Place["layer"] | undefined
  readonly locking?: "for update" | undefined
}) {
  const query = (statement: string) => Effect.flatMap(cluster.primary, (node) => node.query(statement))
  const successes: Array<number> = []
  const takeOvers: Array<number> = []
  let slowest = 0
  const client: Ledger.Client = Effect.fnUntraced(function*(operation, body) {
    const begin = yield* Clock.currentTimeMillis
    return yield* Ledger.modes["each operation has an idempotency key"](operation, body).pipe(
      Effect.tap(Effect.map(Clock.currentTimeMillis, (now) => void successes.push(now))),
      Effect.ensuring(Effect.map(Clock.currentTimeMillis, (now) => void (slowest = Math.max(slowest, now - begin))))
    )
  })
  const place: Ledger.Place = {
    server: Effect.succeed({
      url: cluster.url,
      proxies: cluster.nodes.map(({ clients }) => clients),
      query,
      strike: Effect.fnUntraced(function*(seed: Seed) {
        const { after, takenOverAt } = yield* options.blow(cluster, seed)
        takeOvers.push(takenOverAt)
        yield* Effect.repeat(Effect.sync(() => successes.some((at) => at > takenOverAt)), {
          until: (is) => is,
          schedule: Schedule.spaced("5 millis")
        })
        yield* after
      })
    }),
    layer: options.layer ?? postgres
  }
  const report = yield* Ledger.run({
    place,
    client,
    seconds: options.seconds,
    seed: options.seed,
    killEvery: options.killEvery,
    locking: options.locking,
    cuts: 0,
    commitCuts: 0
  })
  const backAfter = takeOvers.map((at) => Math.min(...successes.filter((success) => success > at)) - at)
  return { ...report, backAfter, slowest } satisfies Report
})

/**
 * Nothing lost, nothing doubled, nothing unknown; nobody waited longer than they asked for; and after a take-over somebody
 * succeeded within `backLimit` milliseconds. It takes some hundred; a machine with much to do needs longer for everything.
 */
export const check = (report: Report, backLimit = 10_000): void => {
  const what = Ledger.describe(report)
  assert.isTrue(Ledger.isRight(report), what)
  assert.strictEqual(report.unknown, 0, what)
  assert.isAbove(report.succeeded, 25, what)
  assert.isAtLeast(report.kills, 1, what)
  assert.isBelow(Math.max(...report.backAfter), backLimit, what)
  // A connection, a statement that hangs, and a COMMIT that is resolved each have their own limit.
  assert.isBelow(report.slowest, 2 * acquireTimeout, what)
}
