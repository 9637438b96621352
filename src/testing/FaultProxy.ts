/**
 * A TCP proxy that breaks connections on purpose.
 *
 * It stands between a client and a server, forwards, counts, and does on command what networks, load balancers and
 * dying servers do: refuse, accept and hang up, swallow, slow down, reset, or cut a connection at one exact moment of
 * one exact exchange. It knows nothing of the protocol; a server may speak first.
 *
 * **Details**
 *
 * Faults come in three kinds. *Modes* hold until `heal`: `refuse`, `acceptAndClose`, `blackhole`, `delay`,
 * `randomCuts`. *Commands* happen now: `cutAll`, `finAll`. *Rules* wait for bytes of a client, such as `COMMIT`, and
 * cut that one exchange in the way that they say: see {@link Fault}.
 *
 * Everything runs in real time, also under a `TestClock`.
 *
 * **Example** (Losing the reply to COMMIT)
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { Postgres } from "watertight/postgres"
 * import { FaultProxy } from "watertight/testing"
 *
 * const program = Effect.gen(function*() {
 *   const proxy = yield* FaultProxy.make("postgres://app@localhost/bank")
 *   const rule = yield* proxy.when("COMMIT", "after")
 *   yield* transfer("ann", "bob", 500).pipe(Effect.provide(Postgres.layer({ url: Redacted.make(proxy.url) })))
 *   yield* rule.fired
 * })
 * ```
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { FaultProxy, FaultProxyError } from "./proxy/model.ts"
import { host, Proxy } from "./proxy/Proxy.ts"

export {
  type Fault,
  type FaultProxy,
  FaultProxyError,
  type Mode,
  type ProxyEvent,
  type RandomCuts,
  type Rule
} from "./proxy/model.ts"
export type { Pattern } from "./proxy/pipe.ts"

/**
 * Starts a proxy in front of a server; it ends with the scope.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function*(
  server: string | { readonly host: string; readonly port: number }
): Effect.fn.Return<FaultProxy, FaultProxyError, Scope.Scope> {
  const target = typeof server === "string" ? addressOf(server) : server
  const open = Effect.suspend(() => {
    // Below the ports that the system gives to those who connect, so that none of them is connected to itself.
    const port = 10_240 + Math.floor(Math.random() * 22_000)
    const proxy = new Proxy(target, port, urlThrough(server, port))
    return Effect.as(proxy.listen, proxy)
  })
  return yield* Effect.acquireRelease(Effect.retry(open, { times: 100 }), (proxy) => proxy.close)
})

const addressOf = (url: string) => {
  const { hostname, port, protocol } = new URL(url)
  return {
    host: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port || (protocol.startsWith("postgres") ? 5432 : 3306))
  }
}

const urlThrough = (server: unknown, port: number): string => {
  if (typeof server !== "string") {
    return ""
  }
  const url = new URL(server)
  url.hostname = host
  url.port = String(port)
  return url.href
}
