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
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import { Finder, type Pattern, Pipe } from "./pipe.ts"
import { exactSeed, type Seed } from "./seed.ts"

export type { Pattern } from "./pipe.ts"

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

/** On the real clock: sockets live in real time, also under a `TestClock`. */
const within = (duration: Duration.Input, what: () => string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(
    Effect.timeoutOrElse(self, { duration, orElse: () => Effect.fail(new FaultProxyError({ message: what() })) }),
    Clock.Clock,
    Clock.Clock.defaultValue()
  )

const host = "127.0.0.1"

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

class ProxyRule implements Rule {
  readonly pattern: Pattern
  readonly fault: Fault
  readonly reply: string | Uint8Array | undefined
  private remaining: number
  private struck = 0
  private readonly proxy: Proxy
  readonly held = new Set<Pipe>()

  constructor(proxy: Proxy, pattern: Pattern, fault: Fault, times: number, reply: string | Uint8Array | undefined) {
    this.proxy = proxy
    this.pattern = pattern
    this.fault = fault
    this.remaining = times
    this.reply = reply
  }

  get exhausted(): boolean {
    return this.remaining === 0
  }

  strike(): void {
    this.remaining--
    this.struck++
  }

  releaseUnsafe(): void {
    for (const pipe of this.held) {
      pipe.release()
    }
    this.held.clear()
  }

  readonly count = () => this.struck
  readonly fired: Effect.Effect<void, FaultProxyError> = Effect.suspend(() => this.proxy.until(() => this.struck > 0))
  readonly release = Effect.sync(() => this.releaseUnsafe())
  readonly remove = Effect.sync(() => {
    this.remaining = 0
    this.releaseUnsafe()
    this.proxy.rules.delete(this)
  })
}

class Connection {
  /** Bytes were lost: nothing more is taken from either side, not even a close. */
  private lost = false
  /** It was lost, and then the network was healed: nothing is to be hidden any longer. */
  private healed = false
  private clientLeft = false
  private reached = false
  private closedBy: "client" | "server" | "proxy" | undefined
  /** The rule whose reply we are waiting for. */
  private awaited: { readonly rule: ProxyRule; readonly finder: Finder | undefined; sent: number } | undefined
  private readonly finders = new Map<ProxyRule, Finder>()
  private chance: { readonly options: RandomCuts; readonly seed: Seed } | undefined
  private readonly toServer: Pipe
  private readonly toClient: Pipe
  private readonly proxy: Proxy
  private readonly id: number
  private readonly client: net.Socket
  private readonly server: net.Socket

  constructor(proxy: Proxy, id: number, client: net.Socket) {
    this.proxy = proxy
    this.id = id
    this.client = client
    this.server = new net.Socket({ allowHalfOpen: true })
    this.server.setNoDelay(true)
    this.toServer = new Pipe(client, this.server, () => proxy.delays.toServer, (n) => (proxy.carried.toServer += n))
    this.toClient = new Pipe(this.server, client, () => proxy.delays.toClient, (n) => (proxy.carried.toClient += n))

    client.on("data", (chunk: Buffer) => this.fromClient(chunk))
    client.on("end", () => this.ended("client"))
    client.on("error", () => this.failed("client"))
    client.on("close", () => {
      this.settle()
      proxy.closed(id, this.closedBy ?? "client")
    })
    this.server.on("connect", () => {
      this.reached = true
      proxy.record({ type: "connected", connection: id })
    })
    this.server.on("data", (chunk: Buffer) => this.fromServer(chunk))
    this.server.on("end", () => this.ended("server"))
    this.server.on("error", (error) => {
      if (!this.reached) {
        proxy.record({ type: "unreachable", connection: id, error })
      }
      this.failed("server")
    })
    this.server.on("close", () => this.settle())

    if (proxy.mode() === "blackhole") {
      this.lost = true
    } else {
      this.server.connect(proxy.server)
    }
  }

  // ---------------------------------------------------------------------------
  // What the two sides do
  // ---------------------------------------------------------------------------

  private fromClient(chunk: Buffer): void {
    // The first record of TLS, a handshake: by itself, or behind the 36 bytes by which a client of MySQL asks for it.
    for (const at of [0, 36]) if (chunk[at] === 0x16 && chunk[at + 1] === 0x03) this.proxy.encrypted = true
    if (this.swallows() || this.cutByChance(chunk, this.toServer)) {
      return
    }
    const rule = this.awaited === undefined ? this.match(chunk) : undefined
    if (rule === undefined) {
      return this.toServer.push(chunk)
    }
    rule.strike()
    if (rule.fault === "before") {
      this.reset()
    } else if (rule.fault === "blackholeRequest") {
      this.lose()
    } else if (rule.fault === "hold") {
      this.hold(rule, this.toServer)
      this.toServer.push(chunk)
    } else {
      this.awaited = { rule, finder: rule.reply === undefined ? undefined : new Finder(rule.reply), sent: 0 }
      this.toServer.push(chunk)
    }
    this.proxy.record({ type: "fault", connection: this.id, fault: rule.fault })
  }

  private fromServer(chunk: Buffer): void {
    if (this.swallows() || this.cutByChance(chunk, this.toClient)) {
      return
    }
    const awaited = this.awaited
    if (awaited === undefined || awaited.sent === 0 && awaited.finder?.find(chunk) === false) {
      return this.toClient.push(chunk)
    }
    const fault = awaited.rule.fault
    if (fault === "after") {
      this.reset()
    } else if (fault === "afterFin") {
      this.fin()
    } else if (fault === "blackholeReply") {
      this.lose()
    } else if (fault === "holdReply") {
      this.awaited = undefined
      this.hold(awaited.rule, this.toClient)
      this.toClient.push(chunk)
    } else if (typeof fault === "object") {
      const rest = fault.middle - awaited.sent
      awaited.sent += chunk.length
      if (chunk.length < rest) {
        this.toClient.push(chunk)
      } else {
        this.cutAfter(chunk.subarray(0, rest), this.toClient)
      }
    }
  }

  private ended(side: "client" | "server"): void {
    this.clientLeft ||= side === "client"
    if (this.swallows()) {
      return this.tidy()
    }
    this.closedBy ??= side
    const pipe = side === "client" ? this.toServer : this.toClient
    pipe.end()
  }

  private failed(side: "client" | "server"): void {
    this.clientLeft ||= side === "client"
    if (this.swallows()) {
      return this.tidy()
    }
    this.closedBy ??= side
    this.resetSockets()
  }

  private settle(): void {
    if (this.client.destroyed && this.server.destroyed) {
      this.proxy.connections.delete(this)
    }
  }

  // ---------------------------------------------------------------------------
  // What we do to them
  // ---------------------------------------------------------------------------

  /** Resets both sides, dropping what is under way. */
  reset(): void {
    this.closedBy ??= "proxy"
    this.resetSockets()
  }

  /** Closes both sides cleanly, dropping what is under way. */
  fin(): void {
    this.closedBy ??= "proxy"
    this.lose()
    this.client.end()
    this.server.end()
  }

  /** The network is well again: the server may learn that the client of a lost connection has left. */
  heal(): void {
    this.healed = this.lost
    this.tidy()
  }

  private tidy(): void {
    if (this.healed && this.clientLeft) {
      this.resetSockets()
    }
  }

  private resetSockets(): void {
    this.lost = true
    this.awaited = undefined
    this.toServer.clear()
    this.toClient.clear()
    for (const socket of [this.client, this.server]) {
      // A socket that was never connected, or has already sent its FIN, cannot be reset.
      if (socket.pending || socket.writableEnded) {
        socket.destroy()
      } else if (!socket.destroyed) {
        socket.resetAndDestroy()
      }
    }
    this.proxy.connections.delete(this)
  }

  /** Delivers these last bytes to one side, then resets both. A reset must not overtake what is to be seen. */
  private cutAfter(chunk: Uint8Array, pipe: Pipe): void {
    this.lost = true
    pipe.push(chunk, () => this.reset())
  }

  private lose(): void {
    this.lost = true
    this.awaited = undefined
    this.toServer.clear()
    this.toClient.clear()
    // Whatever still comes is read and thrown away, so that nobody sees a full buffer.
    this.client.resume()
    this.server.resume()
  }

  private swallows(): boolean {
    if (!this.lost && this.proxy.mode() === "blackhole") {
      this.lose()
    }
    return this.lost
  }

  private hold(rule: ProxyRule, pipe: Pipe): void {
    pipe.hold()
    rule.held.add(pipe)
  }

  private match(chunk: Buffer): ProxyRule | undefined {
    let matched: ProxyRule | undefined
    for (const rule of this.proxy.rules) {
      let finder = this.finders.get(rule)
      if (finder === undefined) {
        finder = new Finder(rule.pattern)
        this.finders.set(rule, finder)
      }
      // Every rule sees every chunk, or a pattern that is split between two chunks would be missed.
      if (finder.find(chunk) && !rule.exhausted) {
        matched ??= rule
      }
    }
    return matched
  }

  private cutByChance(chunk: Buffer, pipe: Pipe): boolean {
    const options = this.proxy.cuts
    if (options === undefined) {
      return false
    }
    if (this.chance?.options !== options) {
      this.chance = { options, seed: exactSeed(Math.imul(options.seed + this.id, 0x9e3779b1)) }
    }
    if (!this.chance.seed.chance(options.probability)) {
      return false
    }
    this.proxy.record({ type: "fault", connection: this.id, fault: "random" })
    // Before it (no byte passes), after it (all pass), or in the middle.
    this.cutAfter(chunk.subarray(0, this.chance.seed.int(0, chunk.length)), pipe)
    return true
  }
}

class Proxy implements FaultProxy {
  readonly host = host
  readonly port: number
  readonly url: string
  readonly server: { readonly host: string; readonly port: number }

  // What the connections read.
  readonly rules = new Set<ProxyRule>()
  readonly connections = new Set<Connection>()
  readonly delays = { toServer: 0, toClient: 0 }
  readonly carried = { toServer: 0, toClient: 0 }
  cuts: RandomCuts | undefined
  encrypted = false

  private listener: net.Server | undefined
  private current: Mode = "forward"
  private readonly history: Array<ProxyEvent> = []
  private readonly watchers = new Set<() => void>()
  private attempted = 0
  private reached = 0
  private clients = 0

  constructor(server: { readonly host: string; readonly port: number }, port: number, url: string) {
    this.server = server
    this.port = port
    this.url = url
  }

  // ---------------------------------------------------------------------------
  // Listening
  // ---------------------------------------------------------------------------

  readonly listen: Effect.Effect<void, FaultProxyError> = Effect.callback<void, FaultProxyError>((resume) => {
    if (this.listener !== undefined) {
      return resume(Effect.void)
    }
    const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.accept(client))
    listener.once("error", (cause) => {
      this.listener = undefined
      resume(
        Effect.fail(new FaultProxyError({ message: `Cannot listen on ${host}:${this.port}: ${cause.message}`, cause }))
      )
    })
    listener.listen({ host, port: this.port, exclusive: true }, () => resume(Effect.void))
    this.listener = listener
  })

  readonly close = Effect.sync(() => {
    this.unlisten()
    for (const connection of this.connections) {
      connection.reset()
    }
  })

  private unlisten(): void {
    // The port is closed when this returns; `close` would wait for the connections too, and they are to stay.
    this.listener?.close()
    this.listener = undefined
  }

  private accept(client: net.Socket): void {
    const id = ++this.attempted
    this.clients++
    this.record({ type: "attempt", connection: id })
    if (this.current === "acceptAndClose") {
      client.on("error", () => {})
      client.on("close", () => {
        this.clients--
        this.record({ type: "closed", connection: id, by: "proxy" })
      })
      client.destroy()
    } else {
      this.connections.add(new Connection(this, id, client))
    }
  }

  closed(id: number, by: "client" | "server" | "proxy"): void {
    this.clients--
    this.record({ type: "closed", connection: id, by })
  }

  // ---------------------------------------------------------------------------
  // Faults
  // ---------------------------------------------------------------------------

  readonly mode = () => this.current

  private enter(mode: Mode): void {
    this.current = mode
    this.record({ type: "mode", mode })
  }

  readonly heal: Effect.Effect<void, FaultProxyError> = Effect.suspend(() => {
    this.delays.toServer = 0
    this.delays.toClient = 0
    this.cuts = undefined
    for (const rule of this.rules) {
      rule.releaseUnsafe()
    }
    this.rules.clear()
    for (const connection of this.connections) {
      connection.heal()
    }
    return Effect.andThen(this.listen, Effect.sync(() => this.enter("forward")))
  })

  readonly refuse = Effect.sync(() => {
    this.unlisten()
    this.enter("refuse")
  })

  readonly acceptAndClose: Effect.Effect<void, FaultProxyError> = Effect.suspend(() => {
    this.enter("acceptAndClose")
    return this.listen
  })

  readonly blackhole: Effect.Effect<void, FaultProxyError> = Effect.suspend(() => {
    this.enter("blackhole")
    return this.listen
  })

  readonly delay: FaultProxy["delay"] = (duration) =>
    Effect.sync(() => {
      const each = isPerDirection(duration) ? duration : { toServer: duration, toClient: duration }
      this.delays.toServer = Duration.toMillis(each.toServer ?? 0)
      this.delays.toClient = Duration.toMillis(each.toClient ?? 0)
    })

  readonly randomCuts: FaultProxy["randomCuts"] = (options) =>
    Effect.sync(() => {
      this.cuts = options
    })

  readonly cutAll = Effect.sync(() => {
    const connections = [...this.connections]
    for (const connection of connections) {
      connection.reset()
    }
    return connections.length
  })

  readonly finAll = Effect.sync(() => {
    const connections = [...this.connections]
    for (const connection of connections) {
      connection.fin()
    }
    return connections.length
  })

  readonly when: FaultProxy["when"] = (pattern, fault, options) =>
    Effect.sync(() => {
      const rule = new ProxyRule(this, pattern, fault, options?.times ?? 1, options?.reply)
      this.rules.add(rule)
      return rule
    })

  // ---------------------------------------------------------------------------
  // Observation
  // ---------------------------------------------------------------------------

  readonly attempts = () => this.attempted
  readonly connected = () => this.reached
  readonly isEncrypted = () => this.encrypted
  readonly open = () => this.clients
  readonly bytes = () => ({ ...this.carried })
  readonly events = () => [...this.history]

  record(event: ProxyEvent extends infer E ? E extends ProxyEvent ? Omit<E, "at"> : never : never): void {
    if (event.type === "connected") {
      this.reached++
    }
    this.history.push({ at: performance.now(), ...event } as ProxyEvent)
    for (const watcher of this.watchers) {
      watcher()
    }
  }

  readonly until: FaultProxy["until"] = (condition, timeout = "10 seconds") =>
    Effect.callback<void>((resume) => {
      const look = () => {
        if (condition(this)) {
          this.watchers.delete(look)
          resume(Effect.void)
        }
      }
      this.watchers.add(look)
      look()
      return Effect.sync(() => this.watchers.delete(look))
    }).pipe(
      within(timeout, () =>
        "What was waited for at the proxy has not come to be. Its last events:\n" +
        this.history.slice(-20).map((event) => JSON.stringify(event)).join("\n"))
    )
}

const isPerDirection = (
  duration: Parameters<FaultProxy["delay"]>[0]
): duration is { readonly toServer?: Duration.Input | undefined; readonly toClient?: Duration.Input | undefined } =>
  typeof duration === "object" && ("toServer" in duration || "toClient" in duration)
