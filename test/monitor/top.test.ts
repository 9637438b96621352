/** The live view of a program: what it serves, and what a terminal and a browser show of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { execFile, execFileSync, spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import * as Http from "node:http"
import * as path from "node:path"
import { Pool } from "watertight"
import { Cached } from "watertight/cache"
import { Monitor } from "watertight/monitor"
import { Postgres } from "watertight/postgres"
import { screen } from "../../src/cli/top/screen.ts"
import { cli, root } from "../cli/support.ts"
import { freshDatabase, leftOut } from "../support/index.ts"

const secret = "hunter2"

/** A program with two connections, both in use, and a caller that waits. */
const program = <A, E>(use: (monitor: Monitor.Monitor) => Effect.Effect<A, E, SqlClient.SqlClient>) =>
  Effect.scoped(Effect.gen(function*() {
    const url = yield* freshDatabase("postgresql")
    return yield* Effect.scoped(Effect.gen(function*() {
      const monitor = yield* Monitor.make({ port: 0 })
      const pool = yield* Pool.Pool
      const sql = yield* SqlClient.SqlClient
      yield* sql`select ${secret} as password, '<img src=x onerror=alert(1)>' as html`
      yield* Effect.ignore(sql`select 1 / 0`)
      const open = yield* Deferred.make<void>()
      const hold = (name: string) =>
        Effect.forkScoped(pool.use(() => Deferred.await(open)).pipe(Effect.withSpan(name)), { startImmediately: true })
      yield* hold("pay <b>invoice</b>")
      yield* hold("send mail")
      yield* Effect.forkScoped(Effect.ignore(pool.use(() => Effect.void)).pipe(Effect.withSpan("see account")), {
        startImmediately: true
      })
      yield* Effect.suspend(() => monitor.snapshot).pipe(
        Effect.repeat({
          until: ({ databases: [one] }) => one!.activity.holders.length === 2 && one!.activity.waiters.length === 1
        })
      )
      const result = yield* use(monitor)
      yield* Deferred.succeed(open, undefined)
      return result
    })).pipe(
      Effect.provide(Postgres.layer({ url: Redacted.make(url), pool: { max: 2 }, log: { statements: "none" } }))
    )
  }))

const get = (url: string, headers: Record<string, string> = {}, method = "GET") =>
  Effect.callback<{ readonly status: number; readonly headers: Http.IncomingHttpHeaders; readonly body: string }>(
    (resume) => {
      Http.request(url, { headers, method }, (response) => {
        let body = ""
        response.on("data", (chunk) => void (body += String(chunk)))
        response.on(
          "end",
          () => resume(Effect.succeed({ status: response.statusCode!, headers: response.headers, body }))
        )
      }).end()
    }
  )

describe("top", () => {
  it.live(
    "the snapshot: who holds, who waits, what statements took; and no value of any of them",
    () =>
      program((monitor) =>
        Effect.gen(function*() {
          const { body, headers, status } = yield* get(`${monitor.url}/snapshot`)
          assert.strictEqual(status, 200)
          const { databases: [one] } = JSON.parse(body) as Monitor.Snapshot
          assert.deepStrictEqual(one!.activity.holders.map(({ span }) => span).toSorted(), [
            "pay <b>invoice</b>",
            "send mail"
          ])
          assert.deepStrictEqual(one!.activity.waiters.map(({ span }) => span), ["see account"])
          assert.deepInclude(one!.pool, { used: 2, waiting: 1, max: 2 })
          assert.strictEqual(one!.breaker, "Closed")
          assert.deepStrictEqual(one!.statements!.map(({ count, failed, form }) => [form, count, failed]).toSorted(), [
            ["select ? / ?", 1, 1],
            ["select ? as password, ? as html", 1, 0]
          ])
          assert.notInclude(body, secret)
          assert.include(headers["content-security-policy"], "default-src 'self'")
          // Another name that points here, as a page from elsewhere would use it, and another method.
          assert.strictEqual((yield* get(`${monitor.url}/snapshot`, { host: "evil.test" })).status, 403)
          assert.strictEqual((yield* get(`${monitor.url}/snapshot`, {}, "POST")).status, 405)
          assert.strictEqual((yield* get(`${monitor.url}/__proto__`)).status, 404)
          const page = yield* get(`${monitor.url}/`)
          assert.notMatch(page.body, /https?:\/\/|<script>|style=|onclick/)
        })
      ),
    120_000
  )

  it.live(
    "the command: one screen, one object, and a program that is not there",
    () =>
      program((monitor) =>
        Effect.gen(function*() {
          const once = yield* cli(".", ["top", monitor.url, "--once"])
          assert.strictEqual(once.code, 0, once.stderr)
          assert.match(once.stdout, /connections \[#{20}\] 2 in use, 0 idle, 0 opening, at most 2; 1 waiting/)
          assert.match(once.stdout, /who waits: all connections are in use\n +[\d.]+ m?s {2}see account {2}fiber \d+/)
          assert.match(once.stdout, /[\d.]+ m?s {2}send mail {2}fiber \d+, session \d+/)
          assert.include(once.stdout, "select ? / ?")
          assert.notInclude(once.stdout, "\u001b")
          const json = yield* cli(".", ["top", monitor.url, "--json"])
          assert.strictEqual((JSON.parse(json.stdout) as { snapshot: Monitor.Snapshot }).snapshot.version, 1)
          const nobody = yield* cli(".", ["top", "http://127.0.0.1:1"])
          assert.strictEqual(nobody.code, 9)
          assert.include(nobody.stderr, "does the program have `Monitor.layer`?")
          assert.strictEqual((yield* cli(".", ["top", "nonsense"])).code, 2)
        })
      ),
    120_000
  )

  it.live("the cache: what its reads were answered with, of this database alone", () =>
    Effect.gen(function*() {
      const read = Cached.read(Effect.succeed(1), { tags: ["x"], key: "x" })
      const url = Redacted.make(yield* freshDatabase("postgresql"))
      const counts = (reads: number) =>
        Effect.gen(function*() {
          const monitor = yield* Monitor.make({ port: 0 })
          for (let i = 0; i < reads; i++) yield* read
          return (yield* monitor.snapshot).databases[0]!
        }).pipe(Effect.provide(Cached.layer().pipe(Layer.provideMerge(Layer.fresh(Postgres.layer({ url }))))))
      const { cache } = yield* Effect.scoped(counts(3))
      assert.deepStrictEqual([cache["requests miss"], cache["requests hit"]], [1, 2])
    }).pipe(Effect.scoped))

  it.live("another host than this machine is refused, unless somebody says so", () =>
    Effect.gen(function*() {
      const build = (options: Monitor.MonitorOptions) =>
        Effect.scoped(Layer.build(Monitor.layer(options))).pipe(
          Effect.provide(Postgres.layer({ url: Redacted.make("postgres://u@127.0.0.1:1/x"), pool: { min: 0 } }))
        )
      const refused = yield* Effect.flip(build({ host: "0.0.0.0", port: 0 }))
      assert.include(String(refused), "allowRemote")
      yield* build({ host: "0.0.0.0", port: 0, allowRemote: true })
      yield* build({ host: "127.0.0.1", port: 0 })
    }), 60_000)

  it.live(
    "a screen is never wider or longer than its terminal, and shows control characters as what they are",
    () =>
      program((monitor) =>
        Effect.gen(function*() {
          const snapshot = yield* monitor.snapshot
          const one = snapshot.databases[0]!
          const crowd = {
            ...snapshot,
            databases: [{
              ...one,
              activity: {
                ...one.activity,
                waiters: Array.from({ length: 90 }, (_, fiberId) => ({
                  fiberId,
                  span: `\u001b[2J${"x".repeat(300)}`,
                  waitedMillis: 5
                }))
              }
            }]
          }
          for (const [columns, rows] of [[80, 24], [200, 50], [20, 6], [1, 1]] as const) {
            const lines = screen(crowd, { columns, rows }, (_, text) => text)
            assert.isAtMost(lines.length, rows)
            if (columns > 20) { for (const line of lines) assert.isAtMost([...line].length, columns) }
            assert.notInclude(lines.join("\n"), "\u001b")
          }
        })
      ),
    120_000
  )
})

const tmux = spawnSync("tmux", ["-V"]).status === 0
const terminal = tmux ? describe : describe.skip

terminal(tmux ? "top in a terminal" : `top in a terminal${leftOut}there is no tmux`, () => {
  it.live(
    "it is drawn, drawn again for another size, and `q` gives the terminal back",
    () =>
      program((monitor) =>
        Effect.gen(function*() {
          const name = `watertight-${randomBytes(4).toString("hex")}`
          const run = (...args: ReadonlyArray<string>) =>
            execFileSync("tmux", ["-L", name, "-f", "/dev/null", ...args], { encoding: "utf8" })
          const command = `${path.join(root, "node_modules/node/bin/node")} --conditions=watertight-source ${
            path.join(root, "src/cli/main.ts")
          } top ${monitor.url} --interval 200; stty -a | tr '\\n' ' '; echo done; sleep 100`
          yield* Effect.acquireRelease(
            Effect.sync(() => run("new-session", "-d", "-x", "80", "-y", "24", command)),
            () => Effect.sync(() => run("kill-server"))
          )
          const until = (text: string | RegExp) =>
            Effect.sync(() => run("capture-pane", "-p")).pipe(
              Effect.repeat({ until: (shown) => typeof text === "string" ? shown.includes(text) : text.test(shown) }),
              Effect.timeout("90 seconds")
            )
          const shown = yield* until("who has a connection")
          assert.match(shown, /2 in use, 0 idle/)
          for (const line of shown.split("\n")) assert.isAtMost(line.length, 80)
          run("resize-window", "-x", "120", "-y", "40")
          yield* until(/at most 2; 1 waiting/)
          run("send-keys", "q")
          const left = yield* until("done")
          assert.notInclude(left, "who has a connection")
          assert.match(left, / icanon[\s\S]* echo /)
        }).pipe(Effect.scoped)
      ),
    180_000
  )
})

const browser = ["chromium", "chromium-browser", "google-chrome"].find((name) =>
  spawnSync(name, ["--version"]).status === 0
)
const page = browser === undefined ? describe.skip : describe

page(browser === undefined ? `top in a browser${leftOut}there is no Chromium` : "top in a browser", () => {
  it.live(
    "the page shows the same, and what a statement says stays text",
    () =>
      program((monitor) =>
        Effect.gen(function*() {
          const dom = yield* Effect.callback<string>((resume) => {
            execFile(
              browser!,
              ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom", monitor.url],
              (_, stdout) => resume(Effect.succeed(stdout))
            )
          })
          assert.include(dom, "see account")
          assert.include(dom, "pay &lt;b&gt;invoice&lt;/b&gt;")
          assert.include(dom, "select ? / ?")
        })
      ),
    120_000
  )
})
