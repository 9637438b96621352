/** A throwaway Redis, and as much of a client as Effect's `Redis` needs. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import * as path from "node:path"
import * as Binaries from "../support/servers/binaries.ts"
import type { ServerError } from "../support/servers/ServerError.ts"
import * as ServerProcess from "../support/servers/ServerProcess.ts"

// ---------------------------------------------------------------------------------------------------------------------
// The client
// ---------------------------------------------------------------------------------------------------------------------

type Reply = string | number | null | Error | ReadonlyArray<Reply>

/** Reads one reply from `buffer` at `at`; `undefined` when it is not complete. Returns it and where the next begins. */
const parse = (buffer: Buffer, at: number): readonly [Reply, number] | undefined => {
  const end = buffer.indexOf("\r\n", at)
  if (end < 0) return undefined
  const line = buffer.toString("utf8", at + 1, end)
  const next = end + 2
  switch (String.fromCharCode(buffer[at]!)) {
    case "+":
      return [line, next]
    case "-":
      return [new Error(line), next]
    case ":":
      return [Number(line), next]
    case "$": {
      const length = Number(line)
      if (length < 0) return [null, next]
      return buffer.length < next + length + 2
        ? undefined
        : [buffer.toString("utf8", next, next + length), next + length + 2]
    }
    case "*": {
      const items: Array<Reply> = []
      let position = next
      for (let count = Number(line); count > 0; count--) {
        const item = parse(buffer, position)
        if (item === undefined) return undefined
        items.push(item[0])
        position = item[1]
      }
      return [items, position]
    }
  }
  throw new Error(`Redis answered something strange: ${buffer.toString("utf8", at, at + 40)}`)
}

/** One connection, opened by the first command, and again by the first one after it was lost. */
class Client {
  private readonly port: number
  private socket: net.Socket | undefined
  private waiting: Array<(reply: Reply) => void> = []

  constructor(port: number) {
    this.port = port
  }

  send(command: ReadonlyArray<string>, answer: (reply: Reply) => void): void {
    this.socket ??= this.open()
    this.waiting.push(answer)
    this.socket.write(
      `*${command.length}\r\n` + command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join("")
    )
  }

  close(): void {
    this.socket?.destroy()
  }

  private open(): net.Socket {
    const socket = net.connect(this.port, "127.0.0.1")
    socket.setNoDelay(true)
    let received: Buffer = Buffer.alloc(0)
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk])
      for (let reply = parse(received, 0); reply !== undefined; reply = parse(received, 0)) {
        received = received.subarray(reply[1])
        this.waiting.shift()!(reply[0])
        if (received.length === 0) return
      }
    })
    let cause = new Error("The connection to Redis was closed")
    socket.on("error", (error) => {
      cause = error
    })
    socket.on("close", () => {
      const { waiting } = this
      this.socket = undefined
      this.waiting = []
      for (const answer of waiting) answer(cause)
    })
    return socket
  }
}

const sendWith = (client: Client) => <A>(command: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<A, Redis.RedisError>((resume) =>
    client.send([command, ...args], (reply) =>
      resume(
        reply instanceof Error ? Effect.fail(new Redis.RedisError({ cause: reply })) : Effect.succeed(reply as A)
      ))
  )

/** Effect's `Redis` over a socket of its own. It cannot subscribe. */
export const layer = (port: number): Layer.Layer<Redis.Redis> =>
  Layer.effect(
    Redis.Redis,
    Effect.gen(function*() {
      const open = Effect.acquireRelease(
        Effect.sync(() => new Client(port)),
        (client) => Effect.sync(() => client.close())
      )
      return yield* Redis.make({
        send: sendWith(yield* open),
        subscribe: () => Effect.die("not supported"),
        connect: Effect.sync(() => {
          const client = new Client(port)
          return { send: sendWith(client), close: Effect.sync(() => client.close()) }
        })
      })
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// The server
// ---------------------------------------------------------------------------------------------------------------------

export interface RedisServer {
  readonly port: number
  /** Ends it with everything that it knows. */
  readonly kill: Effect.Effect<void, ServerError>
  /** Stops it from answering. */
  readonly pause: Effect.Effect<void>
  /** Undoes `pause`. */
  readonly resume: Effect.Effect<void>
  /** Starts it again, empty. */
  readonly restart: Effect.Effect<void, ServerError>
}

/** What Redis needs from this machine. */
export const requirement: Binaries.Requirement = {
  name: "Redis",
  programs: ["redis-server", "valkey-server"],
  byName: true,
  folders: () => ["/usr/local/bin", "/opt/homebrew/bin"],
  debian: { name: "redis", packages: ["redis-server"], programs: ["usr/bin/redis-server"] },
  install: "apt-get install redis-server   or   brew install redis"
}

/** Starts a Redis on a free port of 127.0.0.1. It keeps nothing on disk and goes with the scope. */
export const make: Effect.Effect<RedisServer, ServerError, Scope.Scope> = Effect.gen(function*() {
  const program = yield* Binaries.locate(requirement)
  const port = yield* ServerProcess.freePort
  const folder = yield* ServerProcess.temporaryFolder(undefined)
  const logFile = path.join(folder, "redis.log")
  const start = Effect.gen(function*() {
    const started = yield* ServerProcess.spawn(
      program,
      ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder],
      { identity: undefined, cwd: folder, logFile, quit: "SIGKILL" }
    )
    const client = new Client(port)
    yield* ServerProcess.awaitReady(started, sendWith(client)("PING"), { name: "Redis", logFile, timeout: 10 })
    client.close()
    return started
  })
  let running = yield* start
  yield* Effect.addFinalizer(() => Effect.orDie(Effect.suspend(() => running.kill)))
  return {
    port,
    kill: Effect.suspend(() => running.kill),
    pause: Effect.suspend(() => running.pause),
    resume: Effect.suspend(() => running.resume),
    restart: Effect.map(start, (started) => {
      running = started
    })
  }
})
