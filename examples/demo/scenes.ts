/** What is done to the clients, and what the books say afterwards. */
import * as Effect from "effect/Effect"
import type { FaultProxy } from "watertight/testing"
import type { Client, ClientOptions } from "./clients.ts"

export interface Sizes {
  readonly transfers: number
  readonly warmUpMillis: number
  readonly loadMillis: number
  readonly crowd: number
}

/** A line of the result: what was counted, and whether it is as it should be. */
export interface Finding {
  readonly what: string
  readonly value: string
  readonly isGood: boolean
}

export interface Stage {
  readonly proxy: FaultProxy.FaultProxy
  readonly connect: (options: ClientOptions) => Client
  /** Asks the server itself, past the proxy. */
  readonly ask: (sql: string) => Promise<ReadonlyArray<Record<string, unknown>>>
}

export interface Scene {
  readonly title: string
  readonly run: (stage: Stage, sizes: Sizes) => Promise<ReadonlyArray<Finding>>
}

const sleep = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

/** What callers were told of each request. */
type Told = Map<string, "booked" | "failed">

const call = async (client: Client, told: Told, request: string): Promise<void> => {
  try {
    await client.book(request)
    told.set(request, "booked")
  } catch {
    told.set(request, "failed")
  }
}

/** What the books say next to what callers were told. */
const audit = async (stage: Stage, told: Told): Promise<ReadonlyArray<Finding>> => {
  const rows = await stage.ask("select request, count(*)::int as n from booking group by request")
  const booked = new Map(rows.map((row) => [String(row["request"]), Number(row["n"])]))
  const all = [...told]
  const failed = all.filter(([, outcome]) => outcome === "failed").length
  const doubled = [...booked.values()].filter((n) => n > 1).length
  const lost = all.filter(([request, outcome]) => outcome === "booked" && !booked.has(request)).length
  const number = (what: string, value: number, isGood = value === 0): Finding => ({
    what,
    value: String(value),
    isGood
  })
  return [
    number("transfers", all.length, true),
    number("callers told that it failed", failed),
    number("booked twice", doubled),
    number("lost", lost)
  ]
}

const lostCommits: Scene = {
  title: "The wire is cut in the middle of COMMIT",
  run: async (stage, { transfers }) => {
    const client = stage.connect({ url: stage.proxy.url, max: 4, wait: 5_000 })
    const told: Told = new Map()
    for (let i = 0; i < transfers; i++) {
      // Of three COMMITs one arrives and its answer does not, and one does not arrive.
      if (i % 3 > 0) await Effect.runPromise(stage.proxy.when("COMMIT", i % 3 === 1 ? "after" : "before"))
      await call(client, told, `commit ${i}`)
    }
    await Effect.runPromise(stage.proxy.heal)
    await client.close()
    return audit(stage, told)
  }
}

/** Sixteen callers, one transfer after the other. */
const load = async (client: Client, told: Told, name: string, millis: number): Promise<void> => {
  const end = Date.now() + millis
  let next = 0
  const worker = async () => {
    while (Date.now() < end) await call(client, told, `${name} ${next++}`)
  }
  await Promise.all(Array.from({ length: 16 }, worker))
}

const restart: Scene = {
  title: "The database restarts under load",
  run: async (stage, { loadMillis, warmUpMillis }) => {
    const client = stage.connect({ url: stage.proxy.url, max: 8, wait: 5_000 })
    // Code that has just been loaded is slow, and a service has been running for a while.
    await load(client, new Map(), "warm-up", warmUpMillis)
    const told: Told = new Map()
    const loaded = load(client, told, "restart", loadMillis)
    await sleep(loadMillis / 3)
    await Effect.runPromise(stage.proxy.refuse)
    await Effect.runPromise(stage.proxy.cutAll)
    await sleep(loadMillis / 4)
    await Effect.runPromise(stage.proxy.heal)
    await loaded
    await client.close()
    return audit(stage, told)
  }
}

const crowd: Scene = {
  title: "A crowd comes to eight connections, and one of them is slow",
  run: async (stage, { crowd }) => {
    const client = stage.connect({ url: stage.proxy.url, max: 8, wait: 10_000 })
    for (let i = 0; i < 200; i++) await client.query("select 1")
    const slow = client.query("select pg_sleep(1)").catch(() => {})
    const started = performance.now()
    const times: Array<number> = []
    let failed = 0
    let first: string | undefined
    await Promise.all(Array.from({ length: crowd }, async () => {
      const from = performance.now()
      try {
        await client.query("select 1")
        times.push(performance.now() - from)
      } catch (error) {
        failed++
        first ??= (error as Error).message
      }
    }))
    const took = performance.now() - started
    await slow
    await client.close()
    times.sort((a, b) => a - b)
    return [
      { what: "callers", value: String(crowd), isGood: true },
      {
        what: "failed",
        value: String(failed) + (first === undefined ? "" : ` (${first.slice(0, 60)})`),
        isGood: failed === 0
      },
      { what: "served a second", value: String(Math.round(times.length / took * 1000)), isGood: true },
      { what: "the slowest", value: `${Math.round(times.at(-1) ?? 0)} ms`, isGood: true }
    ]
  }
}

export const scenes: ReadonlyArray<Scene> = [lostCommits, restart, crowd]
