/**
 * The pools of a cluster as one `Pool`, for what is above it.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Pool from "../pool/Pool.ts"
import type { ClusterRuntime } from "./ClusterRuntime.ts"
import { clusterHealth } from "./health.ts"
import { routed } from "./oneNode.ts"
import type { Router } from "./route/Router.ts"

export const make = (runtime: ClusterRuntime, router: Router): Pool.Pool =>
  routed(poolOf(runtime, router), router.standing)

const poolOf = (runtime: ClusterRuntime, router: Router): Pool.Pool => {
  const members = () => Array.from(runtime.members.values())
  const pools = () => members().map(({ pool }) => pool)
  const each = <A, E>(f: (pool: Pool.Pool) => Effect.Effect<A, E>) =>
    Effect.suspend(() => Effect.forEach(pools(), f, { concurrency: "unbounded" }))
  const database = runtime.cluster.name
  return {
    [Pool.TypeId]: Pool.TypeId,
    name: database,
    use: router.use,
    reserve: router.reserve,
    share: router.share,
    // The router decides for each statement.
    leaseUnsafe: () => undefined,
    checkoutsUnsafe: () => pools().reduce((sum, pool) => sum + pool.checkoutsUnsafe(), 0),
    stats: Effect.suspend(() => {
      const [first] = members()
      return Effect.map(
        each((pool) => pool.stats),
        (all) => sum(database, all, (runtime.writer ?? first)!.adapter.name)
      )
    }),
    activity: Effect.map(each((pool) => pool.activity), (all) => ({
      holders: all.flatMap(({ holders }) => holders).toSorted((left, right) => right.heldMillis - left.heldMillis),
      waiters: all.flatMap(({ waiters }) => waiters).toSorted((left, right) => right.waitedMillis - left.waitedMillis)
    })),
    health: Effect.map(each((pool) => pool.stats), (all) => clusterHealth(runtime, all)),
    events: Stream.suspend(() => Stream.mergeAll(pools().map((pool) => pool.events), { concurrency: "unbounded" })),
    guardedBy: (breaker) => Effect.forEach(pools(), (pool) => pool.guardedBy(breaker), { discard: true }),
    shutdown: Effect.map(each((pool) => pool.shutdown), (reports) => together(database, reports)),
    clear: (options) => Effect.asVoid(each((pool) => pool.clear(options))),
    suspend: (options) => Effect.sync(() => runtime.hold(options?.mode ?? "hold")),
    resume: Effect.sync(() => runtime.release()),
    drain: (options) =>
      Effect.suspend(() => {
        runtime.hold(options?.mode ?? "hold")
        return Effect.map(
          Effect.forEach(members(), ({ isOpen, pool }) =>
            // Those that are not in use stay as they are: whoever asks there is sent away.
            pool.drain({ ...options, mode: isOpen ? options?.mode : "reject" }), { concurrency: "unbounded" }),
          (reports) => together(database, reports)
        )
      }),
    resize: (options) => Effect.asVoid(each((pool) => pool.resize(options)))
  }
}

const together = (database: string, reports: ReadonlyArray<Pool.DrainReport>): Pool.DrainReport => ({
  database,
  cut: reports.flatMap(({ cut }) => cut)
})

/** Numbers are added; how long things took is that of the node that takes writes. */
const sum = (name: string, all: ReadonlyArray<Pool.Stats>, main: string): Pool.Stats => {
  const base = all.find(({ pool }) => main.endsWith(pool)) ?? all[0]!
  const total = { ...base } as Record<string, unknown>
  for (const [key, value] of Object.entries(base)) {
    if (typeof value !== "number" || measured.has(key)) continue
    total[key] = all.reduce((sum, stats) => sum + (stats[key as keyof Pool.Stats] as number), 0)
  }
  return {
    ...(total as unknown as Pool.Stats),
    pool: name,
    failed: added(all.map(({ failed }) => failed)),
    closed: added(all.map(({ closed }) => closed))
  }
}

/** What cannot be added. */
const measured = new Set<string>(["acquireTimeoutMillis", "unansweredMillis", "exhaustedMillis", "outageMillis"])

const added = <Name extends string>(all: ReadonlyArray<Readonly<Record<Name, number>>>): Record<Name, number> => {
  const result = { ...all[0]! } as Record<Name, number>
  for (const each of all.slice(1)) {
    for (const name of Object.keys(each) as Array<Name>) result[name] += each[name]
  }
  return result
}
