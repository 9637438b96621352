/** Answers requests for snapshots and for the page. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import { css, html, js } from "./page.ts"

/** Nothing from elsewhere is loaded, nobody shows it in a frame, and nothing of it is kept. */
const headers = {
  "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store"
}

const files: Readonly<Record<string, readonly [type: string, text: string]>> = {
  "": ["text/html; charset=utf-8", html],
  "top.css": ["text/css; charset=utf-8", css],
  "top.js": ["text/javascript; charset=utf-8", js]
}

/** Whether an address is of this machine only. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(host)

/**
 * Whether a request was meant for this server. A page from elsewhere whose name was made to point here says its own
 * name.
 */
const isMeant = (host: string, given: string | undefined): boolean =>
  !isLoopback(host) || given !== undefined && isLoopback(given.replace(/:\d+$/, ""))

/** Serves until the scope closes. Answers the port. */
export const serve = (
  host: string,
  port: number,
  snapshot: Effect.Effect<unknown>
): Effect.Effect<number, Error, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const answer = (request: Http.IncomingMessage, response: Http.ServerResponse): void => {
      const send = (status: number, type: string, text: string): void => {
        response.writeHead(status, { ...headers, "content-type": type })
        response.end(request.method === "HEAD" ? undefined : text)
      }
      if (!isMeant(host, request.headers.host)) return send(403, "text/plain", "this is not the host that was meant\n")
      if (request.method !== "GET" && request.method !== "HEAD") return send(405, "text/plain", "only read here\n")
      const name = new URL(request.url ?? "/", "http://localhost").pathname.split("/").at(-1)!
      if (name === "snapshot") {
        Effect.runForkWith(context)(
          Effect.map(snapshot, (found) => send(200, "application/json", JSON.stringify(found, withBigints)))
        )
        return
      }
      const file = Object.hasOwn(files, name) ? files[name]! : undefined
      return file === undefined ? send(404, "text/plain", "there is nothing here\n") : send(200, ...file)
    }
    const server = yield* Effect.acquireRelease(
      Effect.sync(() => Http.createServer({ requestTimeout: 10_000 }, answer)),
      (server) =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    return yield* Effect.callback<number, Error>((resume) => {
      server.once("error", (error) => resume(Effect.fail(error)))
      server.listen(port, host, () => {
        // A program that has nothing else to do may end.
        server.unref()
        resume(Effect.succeed((server.address() as { readonly port: number }).port))
      })
    })
  })

const withBigints = (_: string, value: unknown): unknown => typeof value === "bigint" ? String(value) : value
