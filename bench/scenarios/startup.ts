/**
 * How long a program takes from its start to its first row, and how much code it loads for that. Each candidate is a
 * program of a few lines that imports what a user would, in a process of its own.
 */
import { spawn } from "node:child_process"
import * as path from "node:path"
import { published } from "../harness/built.ts"
import type { Candidate, Job, Metrics, Scenario } from "../harness/model.ts"

const root = path.resolve(import.meta.dirname, "../..")

const run = async (job: Job): Promise<Metrics> => {
  const file = path.resolve(root, "bench", job.candidate.module)
  const options = optionsOf(job.candidate)
  const url = job.servers.postgres!.url
  const runs = job.pace.quick ? 2 : 5
  // The first one fills the system's file cache.
  await start(file, url, options)
  const times: Array<Started> = []
  for (let i = 0; i < runs; i++) times.push(await start(file, url, options))
  times.sort((a, b) => a.first - b.first)
  const { first, whole } = times[times.length >> 1]!
  const { stderr } = await start(file, url, ["--import", path.resolve(root, "bench/harness/imports.ts"), ...options])
  const { bytes, count } = JSON.parse(stderr.trim().split("\n").at(-1)!) as { bytes: number; count: number }
  return { first, whole, bytes, modules: count }
}

const optionsOf = (candidate: Candidate): ReadonlyArray<string> =>
  candidate.options?.["ours"] === true ? published() : []

interface Started {
  /** Milliseconds until the first row was there. */
  readonly first: number
  /** Milliseconds until the program had ended. */
  readonly whole: number
  readonly stderr: string
}

const start = (file: string, url: string, options: ReadonlyArray<string>): Promise<Started> =>
  new Promise((resolve, reject) => {
    const began = performance.now()
    const child = spawn(process.execPath, ["--no-warnings", ...options, file], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NODE_ENV: "production", BENCH_URL: url }
    })
    let first = NaN
    let stdout = ""
    let stderr = ""
    child.stdout.on("data", (chunk: Buffer) => {
      if (stdout === "") first = performance.now() - began
      stdout += chunk.toString()
    })
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    child.on("close", (code) => {
      if (code !== 0 || stdout.trim() !== "1") {
        reject(new Error(`${path.basename(file)} answered "${stdout.trim()}": ${stderr.trim().split("\n").at(-1)}`))
      } else resolve({ first, whole: performance.now() - began, stderr })
    })
  })

const program = (id: string, label: string, module: string, ours = false): Candidate => ({
  id,
  label,
  module,
  options: { ours }
})

const scenario: Scenario = {
  name: "startup",
  title: "Start-up",
  cases: [
    {
      name: "postgres",
      title: "PostgreSQL: from the start of Node to the first row",
      note: "Size and number of the modules as they lie on the disk, without Node's own.",
      servers: ["postgres"],
      reference: "sql-pg",
      limit: "limit",
      columns: [
        { key: "first", label: "first row", format: "ms", better: "lower" },
        { key: "whole", label: "until it ends", format: "ms", better: "lower" },
        { key: "bytes", label: "imported", format: "bytes", better: "lower" },
        { key: "modules", label: "modules", format: "count", better: "lower" }
      ],
      candidates: [
        program("limit", "raw socket", "limit/startup.ts"),
        program("watertight", "Watertight", "watertight/startup.ts", true),
        program("sql-pg", "@effect/sql-pg", "candidates/startup/effect-sql-pg.ts"),
        program("pg", "pg", "candidates/startup/pg.ts"),
        program("pg-promise", "pg-promise", "candidates/startup/pg-promise.ts"),
        program("postgres-js", "postgres.js", "candidates/startup/postgres-js.ts"),
        program("knex", "knex", "candidates/startup/knex.ts"),
        program("kysely", "kysely", "candidates/startup/kysely.ts"),
        program("drizzle", "drizzle-orm on pg", "candidates/startup/drizzle.ts"),
        program("slonik", "slonik", "candidates/startup/slonik.ts"),
        program("effect3", "Effect 3, @effect/sql-pg", "candidates/effect3/startup.ts")
      ],
      run,
      takes: ({ quick }) => quick ? 2.5 : 5
    }
  ]
}

export default scenario
