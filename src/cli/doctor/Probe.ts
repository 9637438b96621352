/** Questions to a server on one connection. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../../Adapter.ts"
import { type Line, ok, problem, warning } from "./Check.ts"

/** What all checks of a server know. */
export interface Probe {
  readonly connection: Connection
  /** Reads one row, whose values are text, numbers or null. */
  readonly row: (sql: string) => Effect.Effect<Readonly<Record<string, any>>, SqlError>
  /** How many programs run, and how many connections each may open. */
  readonly processes: number
  readonly poolMax: number
}

export const makeProbe = (
  connection: Connection,
  options: { readonly processes: number; readonly poolMax: number }
): Probe => ({
  ...options,
  connection,
  row: (sql) =>
    Effect.map(
      connection.execute(sql, [], undefined),
      (rows) => (rows[0] ?? {}) as Readonly<Record<string, any>>
    )
})

/** The time of 20 short questions, from the fastest to the slowest. */
export const latency = Effect.fnUntraced(function*({ row }: Probe): Effect.fn.Return<Line, SqlError> {
  const times: Array<number> = []
  for (let count = 0; count < 20; count++) {
    const before = yield* Clock.currentTimeMillis
    yield* row("select 1 as one")
    times.push((yield* Clock.currentTimeMillis) - before)
  }
  const middle = times.sort((left, right) => left - right)[10]!
  const found = `${middle < 1 ? "less than 1" : middle} ms for a round trip`
  return middle > 20
    ? warning("latency", found, "the server is far away: run the program near it, and send several statements at once")
    : ok("latency", found)
})

/** How far two clocks are apart, at least. */
export const skew = Effect.fnUntraced(function*(
  { row }: Probe,
  millis: string
): Effect.fn.Return<Line, SqlError> {
  const before = yield* Clock.currentTimeMillis
  const server = Number((yield* row(`select ${millis} as millis`))["millis"])
  const after = yield* Clock.currentTimeMillis
  const apart = server < before ? before - server : server > after ? server - after : 0
  const found = apart < 1000
    ? "the clocks are less than a second apart"
    : `the server's clock is ${Math.round(apart / 1000)} s ${server < before ? "behind" : "ahead"}`
  return apart < 1000 ? ok("clock", found) : warning("clock", found, "set both clocks by NTP")
})

/** What the pools may open, and what the server has left. */
export const connections = (
  { poolMax, processes }: Probe,
  { allowed, used }: { readonly allowed: number; readonly used: number }
): Line => {
  const wanted = poolMax * processes
  const found = `${used} of ${allowed} in use; ${processes} ${processes === 1 ? "process" : "processes"} ` +
    `with \`pool.max\` ${poolMax} may open ${wanted}`
  return used >= allowed * 0.9
    ? problem("connections", found, "nearly all are taken: look who has them, before the next program gets none")
    : wanted > allowed
    ? problem(
      "connections",
      found,
      `lower \`pool.max\` to ${
        Math.max(1, Math.floor(allowed / processes))
      }, put a pooler in between, or raise \`max_connections\``
    )
    : wanted + used > allowed
    ? warning("connections", found, "together with what is in use that is more than there are")
    : ok("connections", found)
}

/** A time limit that should be there. */
export const limit = (check: string, name: string, value: string, isOff: boolean, remedy: string): Line =>
  isOff ? warning(check, `${name} is off`, remedy) : ok(check, `${name} is ${value}`)
