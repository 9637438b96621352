/** What stays in memory: after many statements, for each fiber or caller that waits, and for each idle connection. */
import { sleep } from "../harness/load.ts"
import type { Candidate, Case, Job, Load, Metrics, Scenario, Subject } from "../harness/model.ts"
import * as Who from "./candidates.ts"

/** Bytes in use on the heap and outside of it, once everything that can be collected has been. */
const used = async (): Promise<number> => {
  let least = Infinity
  for (let i = 0; i < 4; i++) {
    // What ends in a later turn of the event loop is no leak.
    await sleep(0.05)
    globalThis.gc!()
    const { external, heapUsed } = process.memoryUsage()
    least = Math.min(least, heapUsed + external)
  }
  return least
}

const statements = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  const run = async (count: number): Promise<void> => {
    let left = count
    const load: Load<unknown> = {
      get running() {
        return left > 0
      },
      key: () => left--,
      operation: subject.echo!,
      done: (key, _, value) => {
        if (value !== key) throw new Error(`Wrong result for ${key}: ${String(value)}`)
      }
    }
    await subject.style.loop(64, load)
  }
  const total = job.pace.quick ? 100_000 : 1_000_000
  // Code that is compiled and caches that are filled are not what is looked for.
  await run(50_000)
  const before = await used()
  await run(total)
  const after = await used()
  return { growth: Math.max(0, after - before) / total, after, rss: process.memoryUsage.rss() }
}

const waiting = 10_000

const waiters = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  const occupy = (millis: number) =>
    Promise.all(Array.from({ length: 8 }, () =>
      new Promise<void>((resolve, reject) => {
        subject.style.start(subject.sleep!(millis), (_, error) => error === undefined ? resolve() : reject(error))
      })))
  // The pool is full of connections, and knows that these statements take long.
  await occupy(300)
  const hold = job.pace.quick ? 4000 : 6000
  const occupied = occupy(hold)
  await sleep(0.3)
  const before = await used()
  let left = waiting
  let failure: unknown
  let finish = (): void => {}
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  for (let n = 0; n < waiting; n++) {
    subject.style.start(subject.echo!(n), (_, error) => {
      failure ??= error
      if (--left === 0) finish()
    })
  }
  await sleep(0.2)
  const after = await used()
  if (left !== waiting) throw new Error(`${waiting - left} of ${waiting} did not wait`)
  await occupied
  await finished
  if (failure !== undefined) throw failure
  return { each: (after - before) / waiting, all: after - before }
}

const idle = 100

/** Runs a statement on each connection of a pool, so that all are open. */
const openAll = (subject: Subject, count: number): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, () =>
    new Promise<void>((resolve, reject) => {
      subject.style.start(subject.sleep!(1000), (_, error) => error === undefined ? resolve() : reject(error))
    })))

const connections = async (job: Job): Promise<Metrics> => {
  // Code is compiled once, for the first connections of a process. It is not what is looked for.
  await openAll(await job.open({ connections: idle }), idle)
  const subject = await job.open({ connections: idle })
  await openAll(subject, 1)
  const before = await used()
  await openAll(subject, idle)
  const after = await used()
  return { each: (after - before) / (idle - 1), all: after - before }
}

const peers: ReadonlyArray<Candidate> = [
  Who.watertightPostgres,
  Who.multiplex,
  Who.sqlPg,
  Who.pgNamed,
  Who.pgPromise,
  Who.postgresJs,
  Who.knex,
  Who.kysely,
  Who.drizzlePostgres,
  Who.prisma,
  Who.slonik,
  Who.effect3
]

const each: Case["columns"] = [
  { key: "each", label: "bytes each", format: "bytes", better: "lower" },
  { key: "all", label: "all together", format: "bytes", better: "lower" }
]

/** Fibers that wait for something else: what a fiber costs that nobody can save. */
const fiber: Candidate = { id: "limit", label: "fibers that wait for nothing", module: "limit/fibers.ts" }

const scenario: Scenario = {
  name: "memory",
  title: "Memory",
  cases: [
    {
      name: "statements",
      published: true,
      title: "PostgreSQL: after a million statements (with --quick a hundred thousand)",
      servers: ["postgres"],
      reference: Who.multiplex.id,
      columns: [
        { key: "after", label: "in use", format: "bytes", better: "lower" },
        { key: "growth", label: "growth per statement", format: "bytes", better: "lower" },
        { key: "rss", label: "resident", format: "bytes", better: "lower" }
      ],
      candidates: peers,
      run: statements,
      takes: ({ quick }) => quick ? 4 : 25
    },
    {
      name: "waiters",
      published: true,
      title: `PostgreSQL: ${waiting.toLocaleString("en-US")} statements wait for 8 busy connections`,
      servers: ["postgres"],
      reference: Who.sqlPg.id,
      limit: fiber.id,
      columns: each,
      candidates: [fiber, ...peers],
      run: waiters,
      takes: ({ quick }) => quick ? 6 : 8
    },
    {
      name: "connections",
      published: true,
      title: `PostgreSQL: ${idle} idle connections`,
      servers: ["postgres"],
      reference: Who.sqlPg.id,
      columns: each,
      // Those that share connections open fewer.
      candidates: peers.filter(({ id }) => id !== Who.multiplex.id),
      run: connections,
      takes: () => 6
    }
  ]
}

export default scenario
