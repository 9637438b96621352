/** The proxy itself: the port that it listens on, its controls, and what it has seen. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as net from "node:net"
import { type FaultProxy, FaultProxyError, type Mode, type ProxyEvent, type RandomCuts } from "./model.ts"
import { type ConnectionHost, type EventToRecord, ProxiedConnection } from "./ProxiedConnection.ts"
import { ProxyRule, type RuleHost } from "./ProxyRule.ts"

/** On the real clock: sockets live in real time, also under a `TestClock`. */
const within = (duration: Duration.Input, what: () => string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(
    Effect.timeoutOrElse(self, { duration, orElse: () => Effect.fail(new FaultProxyError({ message: what() })) }),
    Clock.Clock,
    Clock.Clock.defaultValue()
  )

/** Where the proxy listens. */
export const host = "127.0.0.1"

export class Proxy implements FaultProxy, RuleHost, ConnectionHost {
  readonly host = host
  readonly port: number
  readonly url: string
  readonly server: { readonly host: string; readonly port: number }

  // What the connections read.
  readonly rules = new Set<ProxyRule>()
  readonly connections = new Set<ProxiedConnection>()
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
      this.connections.add(new ProxiedConnection(this, id, client))
    }
  }

  closed(id: number, by: "client" | "server" | "proxy"): void {
    this.clients--
    this.record({ type: "closed", connection: id, by })
  }

  forget(connection: ProxiedConnection): void {
    this.connections.delete(connection)
  }

  removed(rule: ProxyRule): void {
    this.rules.delete(rule)
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

  record(event: EventToRecord): void {
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
