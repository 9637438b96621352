/**
 * What a session costs per statement, next to the driver's own with multiplexing: 64 fibers on 8 sessions, both through
 * the raw session API, interleaved, in processes of their own.
 *
 * `node --conditions=watertight-source bench/session.ts postgres://postgres@127.0.0.1/postgres`
 */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { spawnSync } from "node:child_process"
import { makeAdapter } from "../src/postgres/Postgres.ts"

const fibers = 64
const connections = 8
const warmUp = 30_000
const statements = 150_000
const rounds = 5

type Run = (value: number) => Effect.Effect<unknown, unknown>

const sql = "SELECT $1::int AS value"

const candidates: Record<string, (url: string) => Effect.Effect<ReadonlyArray<Run>, unknown, any>> = {
  session: (url) =>
    Effect.gen(function*() {
      const adapter = yield* makeAdapter({ url: Redacted.make(url) })
      const sessions = yield* Effect.all(Array.from({ length: connections }, () =>
        Effect.acquireRelease(adapter.connect, (connection) =>
          connection.close)))
      return sessions.map((session) => (value: number) =>
        session.execute(sql, [value], undefined)
      )
    }),
  PgConnection: (url) =>
    Effect.gen(function*() {
      const sessions = yield* Effect.all(
        Array.from({ length: connections }, () => PgConnection.make({ url: Redacted.make(url), multiplex: true }))
      )
      return sessions.map((session) => (value: number) =>
        Effect.map(session.query(sql, [value]), (result) => result.rows)
      )
    })
}

/** Each fiber asks again when it was answered. Filling few sessions makes for few writes, so neighbours share one. */
const load = (runs: ReadonlyArray<Run>, total: number) =>
  Effect.forEach(
    Array.from({ length: fibers }, (_, index) => index),
    (index) => {
      const run = runs[Math.floor(index * runs.length / fibers)]!
      let left = Math.floor(total / fibers)
      const loop: Effect.Effect<unknown, unknown> = Effect.suspend(() =>
        left-- > 0 ? Effect.flatMap(run(left), () => loop) : Effect.void
      )
      return loop
    },
    { concurrency: "unbounded", discard: true }
  )

const measure = (name: string, url: string) =>
  Effect.gen(function*() {
    const runs = yield* candidates[name]!(url)
    yield* load(runs, warmUp)
    const started = performance.now()
    const cpu = process.cpuUsage()
    yield* load(runs, statements)
    const used = process.cpuUsage(cpu)
    const seconds = (performance.now() - started) / 1000
    console.log(JSON.stringify([statements / seconds, (used.user + used.system) / statements]))
  }).pipe(Effect.scoped) as Effect.Effect<void, unknown>

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[values.length >> 1]!

const [url = process.env["DATABASE_URL"], name] = process.argv.slice(2)
if (url === undefined) {
  console.error("usage: bench/session.ts postgres://…")
} else if (name !== undefined) {
  await Effect.runPromise(measure(name, url))
} else {
  const results: Record<string, Array<[number, number]>> = {}
  for (let round = 0; round < rounds; round++) {
    for (const candidate of Object.keys(candidates)) {
      const child = spawnSync(process.execPath, [...process.execArgv, import.meta.filename, url, candidate], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "inherit"]
      })
      ;(results[candidate] ??= []).push(JSON.parse(child.stdout))
    }
  }
  const reference = median(results["PgConnection"]!.map(([rate]) => rate))
  for (const [candidate, measured] of Object.entries(results)) {
    const rate = median(measured.map(([rate]) => rate))
    const cpu = median(measured.map(([, cpu]) => cpu))
    console.log(
      `${candidate.padEnd(14)} ${rate.toFixed(0).padStart(8)}/s  ${(rate / reference).toFixed(2)} ×  ${
        cpu.toFixed(2)
      } µs of CPU`
    )
  }
}
