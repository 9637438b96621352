/** What users see of the proxy: faults, rules, events, controls. */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Pattern } from "./pipe.ts"

/**
 * What a rule does to the exchange that it was waiting for. The request is the piece of the client's stream that
 * matched; the reply is what the server sends after it.
 *
 * | fault              | the server sees | the client sees                                  |
 * | ------------------ | --------------- | ------------------------------------------------ |
 * | `before`           | a reset         | a reset                                          |
 * | `after`            | the request     | no reply, a reset                                |
 * | `afterFin`         | the request     | no reply, a clean close                          |
 * | `{ middle: n }`    | the request     | the first `n` bytes of the reply, then a reset   |
 * | `blackholeRequest` | nothing         | silence                                          |
 * | `blackholeReply`   | the request     | silence                                          |
 * | `hold`             | nothing, then the request | the reply, later: after `Rule.release` |
 * | `holdReply`        | the request     | nothing, then the reply: after `Rule.release`    |
 *
 * `after`, `afterFin` and `{ middle }` cut when the reply arrives, which shows that the server has done its work.
 *
 * @category models
 * @since 0.2.0
 */
export type Fault =
  | "before"
  | "after"
  | "afterFin"
  | { readonly middle: number }
  | "blackholeRequest"
  | "blackholeReply"
  | "hold"
  | "holdReply"

/**
 * A fault that waits for its exchange.
 *
 * @category models
 * @since 0.2.0
 */
export interface Rule {
  /** How often it has struck. */
  readonly count: () => number
  /** Ends when it has struck. */
  readonly fired: Effect.Effect<void, FaultProxyError>
  /** Lets what `hold` and `holdReply` keep back go on its way. */
  readonly release: Effect.Effect<void>
  readonly remove: Effect.Effect<void>
}

/**
 * Something that happened, in order. `at` is in milliseconds of `performance.now()`.
 *
 * @category models
 * @since 0.2.0
 */
export type ProxyEvent =
  & { readonly at: number }
  & (
    /** A client has connected to the proxy. Refused attempts never reach us and are not seen. */
    | { readonly type: "attempt"; readonly connection: number }
    /** The server has accepted the connection. */
    | { readonly type: "connected"; readonly connection: number }
    /** The server could not be reached; the client was reset. */
    | { readonly type: "unreachable"; readonly connection: number; readonly error: Error }
    /** The client's side of the connection is gone. */
    | { readonly type: "closed"; readonly connection: number; readonly by: "client" | "server" | "proxy" }
    /** A rule, or chance, has struck. */
    | { readonly type: "fault"; readonly connection: number; readonly fault: Fault | "random" }
    /** The mode has changed. */
    | { readonly type: "mode"; readonly mode: Mode }
  )

/**
 * How new connections are met.
 *
 * @category models
 * @since 0.2.0
 */
export type Mode = "forward" | "refuse" | "acceptAndClose" | "blackhole"

/**
 * How often chance strikes: the probability is that of each chunk.
 *
 * @category models
 * @since 0.2.0
 */
export interface RandomCuts {
  readonly seed: number
  readonly probability: number
}

/**
 * The proxy and its controls.
 *
 * @category models
 * @since 0.2.0
 */
export interface FaultProxy {
  readonly host: string
  readonly port: number
  /** The server's URL with our host and port in it. Empty when the server was not given as a URL. */
  readonly url: string

  readonly mode: () => Mode
  /** Ends every mode, delay, rule and chance, and opens the port again. Connections that lost bytes stay lost. */
  readonly heal: Effect.Effect<void, FaultProxyError>
  /** Closes the listening port: `ECONNREFUSED`. Open connections stay; add `cutAll` for a server that is gone. */
  readonly refuse: Effect.Effect<void>
  /** Accepts every new connection and closes it at once, as a load balancer without a server does. */
  readonly acceptAndClose: Effect.Effect<void, FaultProxyError>
  /**
   * Swallows every byte in both directions and every close, of open connections and of new ones. A connection that has
   * lost a byte stays lost after `heal`: what it carries would no longer make sense. One that lost none lives on.
   */
  readonly blackhole: Effect.Effect<void, FaultProxyError>
  /** Holds back every byte for a while, in both directions or in one. */
  readonly delay: (
    duration: Duration.Input | {
      readonly toServer?: Duration.Input | undefined
      readonly toClient?: Duration.Input | undefined
    }
  ) => Effect.Effect<void>
  /**
   * Resets connections at random: with the given probability at every chunk, before it, after it, or in the middle of
   * it. Each connection draws from a generator of its own, so that the same seed cuts the n-th connection at the same
   * chunk again.
   */
  readonly randomCuts: (options: RandomCuts) => Effect.Effect<void>

  /** Resets all open connections, both sides; returns how many. */
  readonly cutAll: Effect.Effect<number>
  /** Closes all open connections cleanly, both sides; returns how many. */
  readonly finAll: Effect.Effect<number>

  /** Waits for bytes of a client and then strikes, once unless told otherwise. */
  readonly when: (pattern: Pattern, fault: Fault, options?: {
    /** How often it strikes. */
    readonly times?: number | undefined
    /**
     * Bytes that mark the reply, for clients that send the request before they have the answer to an earlier one. What
     * arrives before them passes. Without it the first bytes after the request are the reply.
     */
    readonly reply?: string | Uint8Array | undefined
  }) => Effect.Effect<Rule>

  /** How many clients have connected so far. */
  readonly attempts: () => number
  /** How many of them reached the server. */
  readonly connected: () => number
  /** Whether a client has begun to encrypt what it sends, so that rules find nothing in it. */
  readonly isEncrypted: () => boolean
  /** How many clients are connected now. */
  readonly open: () => number
  /** How many bytes clients have sent and the server has been given, and the other way round. */
  readonly bytes: () => { readonly toServer: number; readonly toClient: number }
  /** Everything that happened so far. */
  readonly events: () => ReadonlyArray<ProxyEvent>
  /** Ends when the condition holds; looked at now and after every event. Fails after 10 s, or after `timeout`. */
  readonly until: (
    condition: (proxy: FaultProxy) => boolean,
    timeout?: Duration.Input
  ) => Effect.Effect<void, FaultProxyError>
}

/**
 * The proxy could not listen, or what was waited for at it has not come to be.
 *
 * @category errors
 * @since 0.2.0
 */
export class FaultProxyError extends Data.TaggedError("FaultProxyError")<{
  readonly message: string
  readonly cause?: unknown
}> {}
