/** `watertight doctor`: looks at a database and the way to it, and says what to do. Nothing is changed there. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { Adapter, type Connection } from "../../Adapter.ts"
import { Exit, paint } from "../answer.ts"
import { databaseOf, driverOf } from "../database.ts"
import { conclude, json, named, url } from "../flags.ts"
import { type Progress, progress } from "../progress.ts"
import { type Line, ok, skipped } from "./Check.ts"
import { refused } from "./login.ts"
import { mysqlChecks } from "./mysql.ts"
import { encryption, reach, resolveName, unreached } from "./network.ts"
import { placesOf, roles } from "./nodes.ts"
import { embeddedChecks, postgresChecks } from "./postgres.ts"
import { makeProbe } from "./Probe.ts"
import { type Target, targetOf } from "./target.ts"
import { ownVersions } from "./versions.ts"

export const doctor = Command.make("doctor", {
  target: Argument.Redacted("url").pipe(
    Argument.withDescription("The database. Default: `--url`, or $DATABASE_URL"),
    Argument.withFallbackConfig(Config.Redacted("DATABASE_URL")),
    Argument.optional
  ),
  url,
  json,
  strict: Flag.Boolean("strict").pipe(
    Flag.withDescription("Exit with 1 on warnings too"),
    Flag.withDefault(false)
  ),
  processes: Flag.Int("processes").pipe(
    Flag.withDescription("How many processes of the program run. Default: 1"),
    Flag.withMetavar("NUMBER"),
    Flag.withDefault(1)
  ),
  poolMax: Flag.Int("pool-max").pipe(
    Flag.withDescription("`pool.max` of each. Default: 10, as of the library"),
    Flag.withMetavar("NUMBER"),
    Flag.withDefault(10)
  )
}, (flags) =>
  conclude(
    "doctor",
    flags.json,
    Effect.gen(function*() {
      const url = yield* named(Option.orElse(flags.target, () => flags.url))
      const lines = yield* Effect.scoped(Effect.gen(function*() {
        return yield* examine(url, flags, yield* progress(flags.json))
      }))
      const count = (status: Line["status"]) => lines.filter((line) => line.status === status).length
      const [problems, warnings] = [count("problem"), count("warning")]
      const isReached = lines.some(({ check, status }) => check === "login" && status === "ok")
      return {
        command: "doctor",
        exitCode: !isReached
          ? Exit.unreachable
          : problems > 0 || flags.strict && warnings > 0
          ? Exit.found
          : Exit.ok,
        data: { problems, warnings, checks: lines },
        lines: [
          ...(yield* Effect.forEach(lines, print)).flat(),
          "",
          problems + warnings === 0 ? "all is well" : `${plural(problems, "problem")}, ${plural(warnings, "warning")}`
        ]
      }
    })
  )).pipe(
    Command.withDescription("Look at a database and the way to it, and say what to do. Changes nothing"),
    Command.withExamples([
      { command: "watertight doctor postgres://app@db/shop", description: "Look at one database" },
      { command: "watertight doctor --processes 8 --pool-max 10", description: "Do all pools together fit?" }
    ])
  )

const plural = (count: number, name: string): string => `${count} ${name}${count === 1 ? "" : "s"}`

const signs = { ok: "✓", warning: "!", problem: "✗", skipped: "·" } as const
const colors = { ok: "green", warning: "yellow", problem: "red", skipped: "dim" } as const

const print = Effect.fnUntraced(function*(
  { check, found, remedy, status }: Line
): Effect.fn.Return<ReadonlyArray<string>> {
  const sign = yield* paint(colors[status], signs[status])
  return [
    `${sign} ${check.padEnd(17)} ${found}`,
    ...remedy === undefined ? [] : [`  ${" ".repeat(17)} → ${remedy}`]
  ]
})

interface Sizes {
  readonly processes: number
  readonly poolMax: number
}

/** Everything from the name to the server, as far as it goes. */
const examine = Effect.fnUntraced(function*(url: Redacted.Redacted, sizes: Sizes, bar: Progress) {
  const versions = ownVersions(driverOf(url))
  if (Redacted.value(url).startsWith("pglite:")) {
    return [ok("name", "PGlite, in this process"), ...yield* login(url, sizes, bar), versions]
  }
  yield* bar.now("looks for the way")
  const places = yield* placesOf(url)
  if (places === undefined) {
    const { isOpen, lines } = yield* way(yield* targetOf(url))
    return isOpen ? [...lines, ...yield* login(url, sizes, bar), versions] : [...lines, ...unreached.slice(1), versions]
  }
  const ways = yield* Effect.forEach(
    places,
    (place) =>
      Effect.flatMap(targetOf(url, place), (target) =>
        Effect.map(way(target), ({ isOpen, lines }) => ({
          isOpen,
          lines: lines.map((line) => ({ ...line, check: `${line.check} ${target.host}:${target.port}` }))
        })))
  )
  const lines = ways.flatMap(({ lines }) => lines)
  return ways.some(({ isOpen }) => isOpen)
    ? [...lines, ...yield* login(url, sizes, bar), versions]
    : [...lines, ...unreached.slice(1), versions]
})

/** The way to one server, as far as it goes. */
const way = Effect.fnUntraced(function*(target: Target) {
  const [name, addresses] = yield* resolveName(target)
  const [tls] = unreached
  if (addresses.length === 0) return { isOpen: false, lines: [name, skipped("tcp", "there is no address"), tls!] }
  const tcp = yield* reach(target, addresses)
  if (tcp.status === "problem") return { isOpen: false, lines: [name, tcp, tls!] }
  return { isOpen: true, lines: [name, tcp, yield* encryption(target, addresses[0]!)] }
})

/** What the server itself says, on one connection. */
const login = Effect.fnUntraced(function*(url: Redacted.Redacted, sizes: Sizes, bar: Progress) {
  yield* bar.now("logs in")
  const built = yield* Effect.result(Effect.flatMap(databaseOf(url), (layer) => Layer.build(layer)))
  if (Result.isFailure(built)) {
    return built.failure._tag === "SqlError" ? [refused(built.failure)] : yield* Effect.fail(built.failure)
  }
  const nodes = yield* roles(built.success)
  const connected = yield* Effect.result(open.pipe(Effect.provideContext(built.success)))
  if (Result.isFailure(connected)) return [...nodes, refused(connected.failure)]
  yield* bar.now("asks the server")
  const probe = makeProbe(connected.success, sizes)
  const isEmbedded = Redacted.value(url).startsWith("pglite:")
  return [
    ...nodes,
    ok("login", "the server lets this user in"),
    ...yield* isEmbedded
      ? embeddedChecks(probe)
      : Redacted.value(url).startsWith("postgres")
      ? postgresChecks(probe)
      : mysqlChecks(probe)
  ]
})

/** A connection of its own: a pool would wait for better times. */
const open: Effect.Effect<Connection, SqlError, Adapter | Scope.Scope> = Effect.flatMap(
  Adapter,
  (adapter) => Effect.acquireRelease(adapter.connect, (connection) => connection.close)
)
