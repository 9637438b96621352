/** The service of the recipes as a process: readiness, telemetry, and its end while a request is under way. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { spawn } from "node:child_process"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import * as path from "node:path"
import pg from "pg"
import { describeWith, FaultProxy, freePort, freshDatabase } from "../support/index.ts"

const root = path.resolve(import.meta.dirname, "../..")

/** Takes what a program sends to an OTLP collector, by its path. */
const collector = Effect.gen(function*() {
  const received: Array<{ readonly path: string; readonly body: string }> = []
  const server = yield* Effect.acquireRelease(
    Effect.callback<Http.Server>((resume) => {
      const server = Http.createServer((request, response) => {
        let body = ""
        request.on("data", (chunk) => void (body += String(chunk)))
        request.on("end", () => {
          received.push({ path: request.url!, body })
          response.writeHead(200, { "content-type": "application/json" }).end("{}")
        })
      }).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received }
})

const start = (env: Record<string, string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(
        path.join(root, "node_modules/node/bin/node"),
        ["--conditions=watertight-source", path.join(root, "examples/service.ts")],
        { cwd: root, env: { PATH: process.env["PATH"] ?? "", ...env }, stdio: ["ignore", "pipe", "pipe"] }
      )
      const printed = { out: "" }
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (chunk) => void (printed.out += String(chunk)))
      }
      const ended = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)))
      return { child, printed, ended }
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

const status = (url: string, init?: RequestInit) =>
  Effect.promise(() => fetch(url, init).then((response) => response.status, () => 0))

const until = <A>(effect: Effect.Effect<A>, isThere: (value: A) => boolean) =>
  effect.pipe(Effect.tap(() => Effect.sleep("20 millis")), Effect.repeat({ until: isThere }))

describeWith("url-postgresql")("the service", () => {
  it.live(
    "is ready with its database, tells what it does, and ends when its requests are answered",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const direct = yield* freshDatabase()
        const url = new URL(direct)
        const proxy = yield* FaultProxy.make({ host: url.hostname, port: Number(url.port) })
        url.host = `${proxy.host}:${proxy.port}`
        const { received, url: endpoint } = yield* collector
        const port = yield* freePort
        const service = yield* start({
          DATABASE_URL: url.href,
          PORT: String(port),
          OTEL_EXPORTER_OTLP_ENDPOINT: endpoint
        })
        const base = `http://127.0.0.1:${port}`
        yield* until(status(`${base}/ready`), (code) => code === 200)

        // Without its database it is not ready, but alive; with it, it is ready again.
        yield* proxy.refuse
        yield* proxy.cutAll
        yield* until(
          Effect.andThen(status(`${base}/accounts`, { signal: AbortSignal.timeout(500) }), status(`${base}/ready`)),
          (code) => code === 503
        )
        assert.strictEqual(yield* status(`${base}/live`), 200)
        yield* proxy.heal
        yield* until(
          Effect.andThen(status(`${base}/accounts`, { signal: AbortSignal.timeout(500) }), status(`${base}/ready`)),
          (code) => code === 200
        )

        const sent = (kind: string) =>
          received.filter(({ path }) => path === `/v1/${kind}`).map(({ body }) => body).join("\n")
        // Metrics go there from time to time.
        yield* until(Effect.sync(() => sent("metrics")), (text) => text.includes("db.client.connection"))

        // A transfer waits for a row when SIGTERM comes.
        const other = new pg.Client({ connectionString: direct })
        yield* Effect.acquireRelease(Effect.promise(() => other.connect()), () => Effect.promise(() => other.end()))
        yield* Effect.promise(() => other.query("begin; select * from account for update"))
        const request = yield* Effect.forkChild(
          status(`${base}/transfers`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ id: "a", from: "ann", to: "bob", cents: 300 })
          }),
          { startImmediately: true }
        )
        const waiting = "select count(*)::int as n from pg_stat_activity where datname = current_database() " +
          "and wait_event_type = 'Lock'"
        yield* until(Effect.promise(() => other.query<{ n: number }>(waiting)), ({ rows }) => rows[0]!.n === 1)
        service.child.kill("SIGTERM")
        yield* until(status(`${base}/live`), (code) => code === 0)
        yield* Effect.promise(() => other.query("commit"))
        assert.strictEqual(yield* Fiber.join(request), 200, service.printed.out)
        // As a shell tells of a program that was interrupted.
        assert.strictEqual(yield* Effect.promise(() => service.ended), 130, service.printed.out)
        const { rows } = yield* Effect.promise(() => other.query("select id, cents::int from account order by id"))
        assert.deepStrictEqual(rows, [{ id: "ann", cents: 700 }, { id: "bob", cents: 1300 }])

        assert.include(sent("traces"), "\"update account\"")
        assert.include(sent("traces"), "\"bank\"")
      })),
    180_000
  )
})
