import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import type { AddressInfo } from "node:net"

/** An HTTP server at a port of its own, until the scope closes. */
export const serve = (
  handle: (request: http.IncomingMessage, body: string) => Promise<{ readonly type: string; readonly body: string }>
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<http.Server>((resume) => {
        const server = http.createServer((request, response) => {
          let body = ""
          request.on("data", (chunk) => body += chunk)
          request.on("end", () => {
            void handle(request, body).then((answer) => {
              response.setHeader("content-type", answer.type)
              response.end(answer.body)
            })
          })
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.close()
          server.closeAllConnections()
        })
    ),
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  )

/** What Prometheus gets when it scrapes this process, over HTTP. */
export const scrape = Effect.scoped(Effect.gen(function*() {
  const app = HttpRouter.toWebHandler(PrometheusMetrics.layerHttp(), { disableLogger: true })
  yield* Effect.addFinalizer(() => Effect.promise(() => app.dispose()))
  const url = yield* serve(async (request) => {
    const response = await app.handler(new Request(`http://localhost${request.url}`), undefined as never)
    return { type: response.headers.get("content-type")!, body: await response.text() }
  })
  return yield* Effect.promise(() => fetch(`${url}/metrics`).then((response) => response.text()))
}))

/** A line of what Prometheus gets. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Scraped {
  readonly types: ReadonlyMap<string, string>
  readonly samples: ReadonlyArray<Sample>
}

/** Reads the text format of Prometheus. Throws at a line that is none. */
export const parse = (text: string): Scraped => {
  const types = new Map<string, string>()
  const samples: Array<Sample> = []
  for (const line of text.split("\n")) {
    const type = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram|summary|untyped)$/.exec(line)
    if (type !== null) types.set(type[1]!, type[2]!)
    if (line === "" || line.startsWith("#")) continue
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (sample === null) throw new Error(`This is no line of Prometheus: ${line}`)
    const labels: Record<string, string> = {}
    for (const [, name, value] of (sample[2] ?? "").matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"(?:,|$)/g)) {
      labels[name!] = value!
    }
    samples.push({ name: sample[1]!, labels, value: Number(sample[3]!.replace("+Inf", "Infinity")) })
  }
  return { types, samples }
}
