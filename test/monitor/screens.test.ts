/** `watertight top` in a terminal and in a browser, of databases that are well and of those that are not. */
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import * as path from "node:path"
import { Pool } from "watertight"
import { Monitor } from "watertight/monitor"
import { Postgres } from "watertight/postgres"
import { root } from "../cli/support.ts"
import { Browser, describeWith, FaultProxy, freshDatabase, Terminal } from "../support/index.ts"
import { program } from "./support.ts"

/** A program, and what is to be seen of its database before somebody looks. */
interface State {
  readonly name: string
  readonly url: Effect.Effect<{ readonly url: string; readonly end: Effect.Effect<void> }, unknown, Scope.Scope>
  readonly begin: (
    end: Effect.Effect<void>
  ) => Effect.Effect<unknown, never, Pool.Pool | SqlClient.SqlClient | Scope.Scope>
  readonly isThere: (database: Monitor.DatabaseSnapshot) => boolean
  /** The screen, with its numbers masked. */
  readonly screen: string
  /** What the page says, apart from the numbers. */
  readonly page: ReadonlyArray<string>
}

const fresh = Effect.map(freshDatabase(), (url) => ({ url, end: Effect.void }))

const hold = (name: string, until: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const pool = yield* Pool.Pool
    yield* Effect.forkScoped(
      Effect.ignore(pool.use(() => until)).pipe(Effect.withSpan(name)),
      { startImmediately: true }
    )
  })

const admin = (url: string, statement: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement).unprepared).pipe(
    Effect.provide(Postgres.layer({ url: Redacted.make(url), pool: { max: 1 } }))
  )

const states: ReadonlyArray<State> = [
  {
    name: "healthy",
    url: fresh,
    begin: () => Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.orDie(sql`select ${1} as one`)),
    isThere: ({ pool, statements }) => pool.used === 0 && statements!.length === 1,
    screen: `process <n>, up for <n> ms, Node <n> q quits
postgresql://<database> Healthy
connections [....................] 0 in use, 1 idle, <n> opening, at most 2; 0 waiting
wait p95 <n> ms, statement p95 <n> ms; breaker Closed; 0 repeated; COMMITs lost 0

total count mean longest failed statement
<n> ms 1 <n> ms <n> ms 0 select ? as one`,
    page: ["Healthy", "select ? as one"]
  },
  {
    name: "full",
    url: fresh,
    begin: () =>
      Effect.gen(function*() {
        const open = yield* Deferred.make<void>()
        yield* hold("monthly report", Deferred.await(open))
        yield* hold("send mail", Deferred.await(open))
        yield* hold("see account", Effect.void)
        yield* Effect.addFinalizer(() => Deferred.succeed(open, undefined))
      }),
    isThere: ({ activity, pool }) => activity.holders.length === 2 && pool.waiting === 1,
    screen: `process <n>, up for <n> ms, Node <n> q quits
postgresql://<database> Healthy
connections [####################] 2 in use, 0 idle, <n> opening, at most 2; 1 waiting
wait p95 <n> ms, statement p95 <n> ms; breaker Closed; 0 repeated; COMMITs lost 0

who waits: all connections are in use
<n> ms see account fiber <n>

who has a connection
<n> ms monthly report fiber <n>, session <n>
<n> ms send mail fiber <n>, session <n>`,
    page: ["who waits", "see account", "who has a connection", "monthly report", "send mail"]
  },
  {
    // The server lets in fewer than `pool.max`.
    name: "misconfigured",
    url: Effect.gen(function*() {
      const url = new URL(yield* freshDatabase())
      const role = `few_${url.pathname.slice(6)}`
      yield* admin(url.href, `create role ${role} login connection limit 1`)
      yield* Effect.addFinalizer(() => Effect.orDie(admin(url.href, `drop role ${role}`)))
      const few = new URL(url)
      few.username = role
      return { url: few.href, end: Effect.void }
    }),
    begin: () =>
      Effect.gen(function*() {
        const open = yield* Deferred.make<void>()
        yield* hold("monthly report", Deferred.await(open))
        yield* hold("see account", Effect.void)
        yield* Effect.addFinalizer(() => Deferred.succeed(open, undefined))
      }),
    isThere: ({ activity, health, pool }) =>
      activity.holders.length === 1 && activity.waiters.length === 1 && pool.connectFailures > 0 &&
      health.status !== "Healthy",
    screen: `process <n>, up for <n> ms, Node <n> q quits
postgresql://<database> Degraded
connections [####################] 1 in use, 0 idle, <n> opening, at most 1; 1 waiting
wait p95 <n> ms, statement p95 <n> ms; breaker Closed; 0 repeated; COMMITs lost 0
<database>: <n> of <n> attempts to connect failed

who waits: no connection could be opened for <n> ms
<n> ms see account fiber <n>

who has a connection
<n> ms monthly report fiber <n>, session <n>

what happened
<time> the server lets in fewer than \`pool.max\`: at most 1 from now on
<time> a connection could not be opened: the server has no room for one more`,
    page: ["Degraded", "see account", "the server lets in fewer than `pool.max`: at most 1 from now on"]
  },
  {
    name: "dead",
    url: Effect.gen(function*() {
      const url = new URL(yield* freshDatabase())
      const proxy = yield* FaultProxy.make({ host: url.hostname, port: Number(url.port) })
      url.host = `${proxy.host}:${proxy.port}`
      return { url: url.href, end: Effect.andThen(proxy.refuse, Effect.asVoid(proxy.cutAll)) }
    }),
    begin: (end) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* Effect.orDie(sql`select 1 as one`)
        yield* end
        // What is sent before the loss is noticed would be repeated.
        const pool = yield* Pool.Pool
        yield* Effect.repeat(pool.stats, { until: ({ total }) => total === 0 })
        yield* Effect.forkScoped(
          Effect.forever(Effect.ignore(sql`select 2 as two`)).pipe(Effect.withSpan("see account"))
        )
      }),
    isThere: ({ activity, health, pool }) =>
      health.status === "Critical" && activity.waiters.length === 1 && pool.connectFailures > 1,
    screen: `process <n>, up for <n> ms, Node <n> q quits
postgresql://<database> Critical
connections [....................] 0 in use, 0 idle, <n> opening, at most 2; 1 waiting
wait p95 <n> ms, statement p95 <n> ms; breaker Closed; 0 repeated; COMMITs lost 0
<database>: there is no connection, and every attempt to open one has failed for <n> ms
<database>: <n> of <n> attempts to connect failed

who waits: no connection could be opened for <n> ms
<n> ms see account fiber <n>

total count mean longest failed statement
<n> ms 1 <n> ms <n> ms 0 select ? as one

what happened
<time> a connection could not be opened: the server cannot be reached`,
    page: ["Critical", "see account", "the server cannot be reached"]
  }
]

/** Runs a program until it is in a state, and lets somebody look. */
const within = <A, E, R>(state: State, look: (url: string) => Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.gen(function*() {
    const { end, url } = yield* state.url
    return yield* Effect.scoped(Effect.gen(function*() {
      const monitor = yield* Monitor.make({ port: 0 })
      yield* state.begin(end)
      yield* monitor.snapshot.pipe(
        Effect.repeat({ until: ({ databases: [one] }) => state.isThere(one!) }),
        Effect.timeout("60 seconds")
      )
      return yield* look(monitor.url)
    })).pipe(
      Effect.provide(
        Postgres.layer({
          url: Redacted.make(url),
          pool: { min: 0, max: 2, acquireTimeout: "5 minutes" },
          log: { statements: "none" }
        })
      )
    )
  }))

/** A screen without what a machine with much to do makes of it. */
const withoutLoad = (shown: string): string => {
  const slow = /.*one (?:caller|statement) in twenty .*\n/g
  const others = shown
    .replaceAll(/.* this process stood still for .*\n?/g, "")
    .replace(/\nwhat happened\s*$/, "")
    .replaceAll(slow, "")
  return slow.test(shown) && !others.includes("attempts to connect") ? others.replace("Degraded", "Healthy") : others
}

/** A screen without what is another one each time. */
const masked = (shown: string): string =>
  withoutLoad(shown)
    .replaceAll(/\d\d:\d\d:\d\d/g, "<time>")
    .replaceAll(/127\.0\.0\.1:\d+\/\w+/g, "<database>")
    .replaceAll(/[\d.]+ m?s\b/g, "<n> ms")
    .replaceAll(/\b(process|fiber|session|Node|up for) [\d.]+/g, "$1 <n>")
    .replaceAll(/\d+ opening/g, "<n> opening")
    .replaceAll(/\d+ of \d+ attempts/g, "<n> of <n> attempts")
    .replaceAll(/, \d+ times/g, "")
    // How the system tells of a connection that was cut is another code each time.
    .replaceAll(/ConnectionError \(-?\d+\)/g, "ConnectionError")
    .replaceAll(/ +/g, " ")
    .split("\n").map((line) => line.trim())
    .filter((line, index, all) => line === "" || line !== all[index - 1]).join("\n").trimEnd()

const command = (url: string) =>
  `${path.join(root, "node_modules/node/bin/node")} --conditions=watertight-source ` +
  `${path.join(root, "src/cli/main.ts")} top ${url} --interval 200`

describeWith("url-postgresql", "tmux")("top in a terminal", () => {
  for (const state of states) {
    it.live(`${state.name}: its screen`, () =>
      within(state, (url) =>
        Effect.scoped(Effect.gen(function*() {
          const terminal = yield* Terminal.open(command(url), { columns: 140, rows: 40 })
          assert.strictEqual(masked(yield* terminal.until("connections [")), state.screen)
        }))), 180_000)
  }

  it.live(
    "it is drawn, drawn again for another size, and `q` gives the terminal back",
    () =>
      program((monitor) =>
        Effect.gen(function*() {
          const terminal = yield* Terminal.open(`${command(monitor.url)}; stty -a | tr '\\n' ' '; echo done`, {
            columns: 80,
            rows: 24
          })
          const shown = yield* terminal.until("who has a connection")
          assert.match(shown, /2 in use, 0 idle/)
          for (const line of shown.split("\n")) assert.isAtMost(line.length, 80)
          yield* terminal.resize(120, 40)
          yield* terminal.until(/at most 2; 1 waiting/)
          yield* terminal.press("q")
          const left = yield* terminal.until("done")
          assert.notInclude(left, "who has a connection")
          assert.match(left, / icanon[\s\S]* echo /)
        }).pipe(Effect.scoped)
      ),
    180_000
  )
})

describeWith("url-postgresql", "chromium")("top in a browser", () => {
  for (const state of states) {
    it.live(
      `${state.name}: the page says it, and nothing goes wrong on it`,
      () =>
        within(state, (url) =>
          Effect.scoped(Effect.gen(function*() {
            const { page, problems } = yield* Browser.open(url)
            const text = yield* Effect.promise(async () => {
              await page.getByRole("heading", { name: "127.0.0.1" }).waitFor()
              return page.locator("body").innerText()
            })
            for (const each of state.page) assert.include(text, each)
            assert.deepStrictEqual(problems, [])
          }))),
      180_000
    )
  }

  it.live(
    "what a statement and a span say stays text; it fits a telephone; the program ends and comes back",
    () =>
      program((monitor) =>
        Effect.scoped(Effect.gen(function*() {
          const { page, problems } = yield* Browser.open(monitor.url)
          yield* Effect.promise(async () => {
            await page.getByText("pay <b>invoice</b>", { exact: true }).waitFor()
            assert.strictEqual(await page.locator("img, b").count(), 0)
            for (const width of [360, 1920]) {
              await page.setViewportSize({ width, height: 800 })
              const overflow = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
              assert.isAtMost(overflow as number, 0, `${width} wide`)
            }
            assert.deepStrictEqual(problems, [])
            await page.route("**/snapshot", (route) => route.abort())
            await page.getByText("reconnecting").waitFor()
            await page.unroute("**/snapshot")
            await page.getByText(/^process \d+, up for/).waitFor()
          })
        }))
      ),
    180_000
  )
})
