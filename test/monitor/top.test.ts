/** The live view of a program: what it serves, and what a terminal and a browser show of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Http from "node:http"
import { Cached } from "watertight/cache"
import { Monitor } from "watertight/monitor"
import { Postgres } from "watertight/postgres"
import { screen } from "../../src/cli/top/screen.ts"
import { cli } from "../cli/support.ts"
import { freshDatabase } from "../support/index.ts"
import { program, secret } from "./support.ts"

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
