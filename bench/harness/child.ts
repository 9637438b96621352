/** One run of one candidate: the process that is measured. */
import * as fs from "node:fs"
import { Session } from "node:inspector/promises"
import { serverMeter } from "./cpu.ts"
import type { Candidate, Case, Job, Scenario, Subject, Target, Window } from "./model.ts"
import type { Answer, Order } from "./protocol.ts"

/** How often the profiler looks, in microseconds. */
const profileInterval = 100

const measure = async (order: Order): Promise<Answer> => {
  const module = (await import(`../scenarios/${order.scenario}.ts`)) as { readonly default: Scenario }
  const found = module.default.cases.find(({ name }) => name === order.case)!
  const candidate = found.candidates.find(({ id }) => id === order.candidate)!
  const subjects: Array<Subject> = []
  try {
    return { metrics: await found.run(jobOf(order, found, candidate, subjects)) }
  } finally {
    for (const subject of subjects) await subject.close()
  }
}

const jobOf = (order: Order, { servers }: Case, candidate: Candidate, subjects: Array<Subject>): Job => {
  const load = () => import(`../${candidate.module}`) as Promise<Record<string, unknown>>
  return {
    candidate,
    servers: order.servers,
    pace: order.pace,
    round: order.round,
    load,
    open: async (target) => {
      const { open } = (await load()) as { readonly open: (target: Target) => Promise<Subject> }
      const subject = await open({
        servers: order.servers,
        server: servers[0] ?? "postgres",
        connections: 8,
        options: candidate.options ?? {},
        ...target
      })
      subjects.push(subject)
      return subject
    },
    network: (command) =>
      new Promise((resolve) => {
        process.once("message", () => resolve())
        process.send!({ network: command } satisfies Answer)
      }),
    window: () => windowOf(order)
  }
}

const windowOf = (order: Order): Window => {
  const profile = order.profile === undefined ? undefined : profiler(order.profile)
  const pids = Object.values(order.servers).flatMap((server) => server?.pid ?? [])
  const server = serverMeter(pids)
  const cpu = process.cpuUsage()
  const start = performance.now()
  return {
    stop: async () => {
      const seconds = (performance.now() - start) / 1000
      const { system, user } = process.cpuUsage(cpu)
      const spent = { seconds, client: user + system, server: server() }
      await profile?.()
      return spent
    }
  }
}

const profiler = (file: string): () => Promise<void> => {
  const session = new Session()
  session.connect()
  const started = (async () => {
    await session.post("Profiler.enable")
    await session.post("Profiler.setSamplingInterval", { interval: profileInterval })
    await session.post("Profiler.start")
  })()
  return async () => {
    await started
    const { profile } = await session.post("Profiler.stop")
    fs.writeFileSync(file, JSON.stringify(profile))
    session.disconnect()
  }
}

const tell = (answer: Answer): void => {
  // Whatever a candidate has left open must not keep the next one waiting.
  process.send!(answer, () => process.exit(0))
}

const messageOf = (error: unknown): string => {
  const parts: Array<string> = []
  for (let cause = error; cause !== undefined && cause !== null && parts.length < 4; cause = (cause as Error).cause) {
    parts.push(cause instanceof Error ? cause.message || cause.name : String(cause))
  }
  return [...new Set(parts)].join(": ")
}

process.once("message", (order: Order) => {
  measure(order).then(tell, (error: unknown) => {
    if (process.env["BENCH_DEBUG"]) console.error(error)
    tell({ failure: messageOf(error) })
  })
})
process.once("disconnect", () => process.exit(1))
process.on("uncaughtException", (error) => tell({ failure: `uncaught: ${messageOf(error)}` }))
