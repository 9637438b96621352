/**
 * One connection through the proxy: what both sides send and close, what strikes them, and what is hidden from them.
 */
import * as net from "node:net"
import { exactSeed, type Seed } from "../seed.ts"
import type { Mode, ProxyEvent, RandomCuts } from "./model.ts"
import { Finder, Pipe } from "./pipe.ts"
import type { ProxyRule } from "./ProxyRule.ts"

/** What a connection reads of its proxy, and tells it. */
export interface ConnectionHost {
  readonly server: { readonly host: string; readonly port: number }
  readonly rules: ReadonlySet<ProxyRule>
  readonly delays: { readonly toServer: number; readonly toClient: number }
  readonly carried: { toServer: number; toClient: number }
  readonly cuts: RandomCuts | undefined
  encrypted: boolean
  readonly mode: () => Mode
  readonly record: (event: EventToRecord) => void
  /** The client's side is gone. */
  readonly closed: (id: number, by: "client" | "server" | "proxy") => void
  /** Both sides are gone. */
  readonly forget: (connection: ProxiedConnection) => void
}

/** An event, without the time at which it is recorded. */
export type EventToRecord = ProxyEvent extends infer E ? E extends ProxyEvent ? Omit<E, "at"> : never : never

/** One client's way to the server and back. */
export class ProxiedConnection {
  /** Bytes were lost: nothing more is taken from either side, not even a close. */
  private lost = false
  /** It was lost, and then the network was healed: nothing is to be hidden any longer. */
  private healed = false
  private clientLeft = false
  private reached = false
  private closedBy: "client" | "server" | "proxy" | undefined
  /** The rule whose reply we are waiting for. */
  private awaited:
    | { readonly rule: ProxyRule; readonly strike: number; readonly finder: Finder | undefined; sent: number }
    | undefined
  private readonly finders = new Map<ProxyRule, Finder>()
  private chance: { readonly options: RandomCuts; readonly seed: Seed } | undefined
  private readonly toServer: Pipe
  private readonly toClient: Pipe
  private readonly proxy: ConnectionHost
  private readonly id: number
  private readonly client: net.Socket
  private readonly server: net.Socket

  constructor(proxy: ConnectionHost, id: number, client: net.Socket) {
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
      this.awaited = {
        rule,
        strike: rule.count(),
        finder: rule.reply === undefined ? undefined : new Finder(rule.reply),
        sent: 0
      }
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
      if (awaited.strike > awaited.rule.released) this.hold(awaited.rule, this.toClient)
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
      this.proxy.forget(this)
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
    this.proxy.forget(this)
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
