import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as net from "node:net"
import { FaultProxy, freePort, live, ServerError } from "./support/index.ts"

// -----------------------------------------------------------------------------
// Two ends to look at the proxy from
// -----------------------------------------------------------------------------

/** One end of a TCP connection: what it received, and how it ended. */
const endOf = (socket: net.Socket) => {
  const ended = Deferred.makeUnsafe<"fin" | "reset">()
  let received = Buffer.alloc(0)
  const watchers = new Set<() => void>()
  const changed = () => watchers.forEach((watcher) => watcher())
  socket.setNoDelay(true)
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    changed()
  })
  socket.on("end", () => Deferred.doneUnsafe(ended, Effect.succeed("fin")))
  socket.on(
    "error",
    (error: NodeJS.ErrnoException) =>
      Deferred.doneUnsafe(
        ended,
        /ECONNRESET|EPIPE/.test(error.code ?? "") ? Effect.succeed("reset") : Effect.die(error)
      )
  )
  return {
    socket,
    text: () => received.toString(),
    send: (text: string) => Effect.callback<void>((resume) => void socket.write(text, () => resume(Effect.void))),
    /** Ends when `text` is all that was received. */
    receives: (text: string) =>
      Effect.callback<void>((resume) => {
        const look = () => {
          if (received.toString() === text) {
            resume(Effect.void)
          }
        }
        watchers.add(look)
        look()
        return Effect.sync(() => watchers.delete(look))
      }).pipe(Effect.timeoutOrElse({
        duration: "5 seconds",
        orElse: () => Effect.die(new Error(`Expected ${JSON.stringify(text)} but received ${received}`))
      })),
    ended: Deferred.await(ended).pipe(
      Effect.timeoutOrElse({ duration: "5 seconds", orElse: () => Effect.die(new Error("The connection still lives")) })
    ),
    isOpen: () => !Deferred.isDoneUnsafe(ended)
  }
}

type End = ReturnType<typeof endOf>

/** A server that greets, when told to, and answers every piece of text with itself. */
const echoServer = Effect.fnUntraced(function*(options: { readonly greeting?: string } = {}) {
  const ends: Array<End> = []
  const arrived = new Set<() => void>()
  const port = yield* freePort
  const server = net.createServer((socket) => {
    ends.push(endOf(socket))
    if (options.greeting !== undefined) {
      socket.write(options.greeting)
    }
    socket.on("data", (chunk) => socket.write(chunk))
    arrived.forEach((watcher) => watcher())
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(port, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.sync(() => {
        server.close()
        ends.forEach(({ socket }) => socket.destroy())
      })
  )
  /** The n-th connection, from 0, once it is there. */
  const end = (index: number) =>
    Effect.callback<End>((resume) => {
      const look = () => {
        if (ends[index] !== undefined) {
          resume(Effect.succeed(ends[index]))
        }
      }
      arrived.add(look)
      look()
    }).pipe(Effect.timeout("5 seconds"), Effect.orDie)
  return { host: "127.0.0.1", port, end, count: () => ends.length }
})

const connect = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<End, NodeJS.ErrnoException>((resume) => {
      const socket = net.connect(port, "127.0.0.1")
      socket.once("error", (error) => resume(Effect.fail(error)))
      socket.once("connect", () => {
        socket.removeAllListeners("error")
        resume(Effect.succeed(endOf(socket)))
      })
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

/** A proxy before an echo server, and one client whose first exchange went well. */
const exchange = Effect.gen(function*() {
  const server = yield* echoServer()
  const proxy = yield* FaultProxy.make(server)
  const client = yield* connect(proxy.port)
  yield* client.send("a")
  yield* client.receives("a")
  return { server, proxy, client, atServer: yield* server.end(0) }
})

/** Silence cannot be awaited. This is how long we listen for it. */
const listenForAWhile = Effect.sleep("60 millis")

// -----------------------------------------------------------------------------
// Forwarding and counting
// -----------------------------------------------------------------------------

it.live("it forwards both ways, and the server may speak first", () =>
  Effect.gen(function*() {
    const server = yield* echoServer({ greeting: "hello " })
    const proxy = yield* FaultProxy.make(server)
    const client = yield* connect(proxy.port)
    yield* client.receives("hello ")
    yield* client.send("world")
    yield* client.receives("hello world")
    assert.deepStrictEqual(proxy.bytes(), { toServer: 5, toClient: 11 })
  }))

it.live("it forwards a megabyte unchanged to a client that reads slowly", () =>
  Effect.gen(function*() {
    const server = yield* echoServer()
    const proxy = yield* FaultProxy.make(server)
    const client = yield* connect(proxy.port)
    const text = "0123456789abcdef".repeat(1 << 16)
    client.socket.pause()
    yield* client.send(text)
    client.socket.resume()
    yield* client.receives(text)
  }))

it.live("it counts attempts, connections and ends, with their times", () =>
  Effect.gen(function*() {
    const { client, proxy } = yield* exchange
    const second = yield* connect(proxy.port)
    yield* proxy.until((proxy) => proxy.connected() === 2)
    assert.strictEqual(proxy.open(), 2)
    client.socket.end()
    yield* client.ended
    yield* proxy.until((proxy) => proxy.open() === 1)
    second.socket.end()
    yield* proxy.until((proxy) => proxy.open() === 0)
    assert.strictEqual(proxy.attempts(), 2)
    const events = proxy.events()
    assert.deepStrictEqual(
      events.map((event) => event.type),
      ["attempt", "connected", "attempt", "connected", "closed", "closed"]
    )
    assert.deepStrictEqual(events.map((event) => event.at), events.map((event) => event.at).sort((a, b) => a - b))
  }))

it.live("a clean close by either side reaches the other side as a clean close", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy, server } = yield* exchange
    client.socket.end()
    assert.strictEqual(yield* atServer.ended, "fin")
    const other = yield* connect(proxy.port)
    const otherAtServer = yield* server.end(1)
    otherAtServer.socket.end()
    assert.strictEqual(yield* other.ended, "fin")
  }))

it.live("a reset by either side reaches the other side as a reset", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy, server } = yield* exchange
    client.socket.resetAndDestroy()
    assert.strictEqual(yield* atServer.ended, "reset")
    const other = yield* connect(proxy.port)
    const otherAtServer = yield* server.end(1)
    otherAtServer.socket.resetAndDestroy()
    assert.strictEqual(yield* other.ended, "reset")
  }))

it.live("a server that is down resets the client", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port: yield* freePort })
    const client = yield* connect(proxy.port)
    assert.strictEqual(yield* client.ended, "reset")
    yield* proxy.until((proxy) => proxy.open() === 0)
    assert.deepStrictEqual(proxy.events().map((event) => event.type), ["attempt", "unreachable", "closed"])
  }))

it.live("its URL is the server's with another host and port", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make("postgres://ann:s%27ec@db.example:5433/bank?sslmode=disable")
    assert.strictEqual(proxy.url, `postgres://ann:s%27ec@127.0.0.1:${proxy.port}/bank?sslmode=disable`)
  }))

it.live("when its scope closes, its connections are reset and its port is free", () =>
  Effect.gen(function*() {
    const server = yield* echoServer()
    const [port, client] = yield* Effect.scoped(Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(server)
      const client = endOf(net.connect(proxy.port, "127.0.0.1"))
      yield* client.send("a")
      yield* client.receives("a")
      return [proxy.port, client] as const
    }))
    assert.strictEqual(yield* client.ended, "reset")
    const error = yield* Effect.flip(connect(port))
    assert.strictEqual(error.code, "ECONNREFUSED")
  }))

// -----------------------------------------------------------------------------
// Modes
// -----------------------------------------------------------------------------

it.live("refuse: new connections get ECONNREFUSED, open ones live on, heal opens the same port", () =>
  Effect.gen(function*() {
    const { client, proxy } = yield* exchange
    yield* proxy.refuse
    const error = yield* Effect.flip(connect(proxy.port))
    assert.strictEqual(error.code, "ECONNREFUSED")
    assert.strictEqual(proxy.attempts(), 1)
    yield* client.send("b")
    yield* client.receives("ab")
    yield* proxy.heal
    const other = yield* connect(proxy.port)
    yield* other.send("c")
    yield* other.receives("c")
  }))

it.live("acceptAndClose: new connections are accepted, closed and counted, and never reach the server", () =>
  Effect.gen(function*() {
    const { client, proxy, server } = yield* exchange
    yield* proxy.acceptAndClose
    for (let i = 0; i < 3; i++) {
      const other = yield* connect(proxy.port)
      assert.strictEqual(yield* other.ended, "fin")
    }
    assert.strictEqual(proxy.attempts(), 4)
    assert.strictEqual(server.count(), 1)
    yield* client.send("b")
    yield* client.receives("ab")
  }))

it.live("blackhole: bytes and closes vanish in both directions, and new connections get no answer", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy, server } = yield* exchange
    yield* proxy.blackhole
    yield* client.send("b")
    yield* atServer.send("c")
    const other = yield* connect(proxy.port)
    yield* other.send("d")
    client.socket.end()
    yield* listenForAWhile
    assert.strictEqual(client.text(), "a")
    assert.strictEqual(atServer.text(), "a")
    assert.strictEqual(other.text(), "")
    assert.strictEqual(server.count(), 1)
    assert.isTrue(client.isOpen() && atServer.isOpen() && other.isOpen())
  }))

it.live("blackhole: after heal an untouched connection lives on, and one that lost bytes stays silent", () =>
  Effect.gen(function*() {
    const { client, proxy, server } = yield* exchange
    const untouched = yield* connect(proxy.port)
    yield* server.end(1)
    yield* proxy.blackhole
    yield* client.send("b")
    const born = yield* connect(proxy.port)
    // The swallowed bytes must have arrived at the proxy before it is healed.
    yield* listenForAWhile
    yield* proxy.heal
    yield* client.send("c")
    yield* born.send("c")
    yield* untouched.send("c")
    yield* untouched.receives("c")
    yield* listenForAWhile
    assert.strictEqual(client.text(), "a")
    assert.strictEqual(born.text(), "")
  }))

it.live("blackhole: the server learns of a client that left once the network is healed", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    yield* proxy.blackhole
    client.socket.resetAndDestroy()
    yield* proxy.until((proxy) => proxy.open() === 0)
    assert.isTrue(atServer.isOpen())
    yield* proxy.heal
    assert.strictEqual(yield* atServer.ended, "reset")
  }))

it.live("delay: every byte is late, in the direction that was asked for", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    yield* proxy.delay({ toClient: "200 millis" })
    const start = performance.now()
    yield* client.send("b")
    yield* atServer.receives("ab")
    const atServerAfter = performance.now() - start
    yield* client.receives("ab")
    const atClientAfter = performance.now() - start
    assert.isBelow(atServerAfter, 199)
    assert.isAtLeast(atClientAfter, 199)

    yield* proxy.delay("40 millis")
    const again = performance.now()
    yield* client.send("c")
    yield* client.send("d")
    yield* client.receives("abcd")
    assert.isAtLeast(performance.now() - again, 79)
  }))

it.live("delay: a shorter delay does not let later bytes overtake earlier ones", () =>
  Effect.gen(function*() {
    const { client, proxy } = yield* exchange
    yield* proxy.delay({ toServer: "80 millis" })
    yield* client.send("b")
    // The proxy must have it before the delay ends.
    yield* listenForAWhile
    yield* proxy.heal
    yield* client.send("c")
    yield* client.receives("abc")
  }))

it.live("cutAll: both sides of every open connection get a reset; new connections are served", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    assert.strictEqual(yield* proxy.cutAll, 1)
    assert.strictEqual(yield* client.ended, "reset")
    assert.strictEqual(yield* atServer.ended, "reset")
    assert.strictEqual(yield* proxy.cutAll, 0)
    const other = yield* connect(proxy.port)
    yield* other.send("b")
    yield* other.receives("b")
  }))

it.live("finAll: both sides of every open connection get a clean close", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    assert.strictEqual(yield* proxy.finAll, 1)
    assert.strictEqual(yield* client.ended, "fin")
    assert.strictEqual(yield* atServer.ended, "fin")
    yield* proxy.until((proxy) => proxy.open() === 0)
  }))

it.live("randomCuts: the same seed cuts each connection at the same chunk again, another seed elsewhere", () =>
  Effect.gen(function*() {
    const survived = (seed: number) =>
      Effect.scoped(Effect.gen(function*() {
        const proxy = yield* FaultProxy.make(yield* echoServer())
        yield* proxy.randomCuts({ seed, probability: 0.1 })
        const counts: Array<number> = []
        for (let n = 0; n < 8; n++) {
          const client = yield* connect(proxy.port)
          let rounds = 0
          const round = Effect.suspend(() => client.send("x")).pipe(
            Effect.andThen(Effect.suspend(() => client.receives("x".repeat(++rounds))))
          )
          yield* Effect.raceFirst(Effect.forever(round), client.ended)
          // What it has seen, not what it has tried: a reset may come between the two.
          counts.push(client.text().length)
        }
        return counts
      }))
    const first = yield* survived(1)
    assert.deepStrictEqual(yield* survived(1), first)
    assert.notDeepEqual(yield* survived(2), first)
    assert.isAbove(new Set(first).size, 1)
  }))

// -----------------------------------------------------------------------------
// Rules
// -----------------------------------------------------------------------------

it.live("before: the server never sees the request, and both sides get a reset", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    const rule = yield* proxy.when("COMMIT", "before")
    yield* client.send("COMMIT")
    assert.strictEqual(yield* client.ended, "reset")
    assert.strictEqual(yield* atServer.ended, "reset")
    yield* rule.fired
    assert.strictEqual(atServer.text(), "a")
    assert.strictEqual(client.text(), "a")
  }))

it.live("after: the server has the request, and the client a reset instead of the reply", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    yield* proxy.when("COMMIT", "after")
    yield* client.send("COMMIT")
    assert.strictEqual(yield* client.ended, "reset")
    assert.strictEqual(yield* atServer.ended, "reset")
    assert.strictEqual(atServer.text(), "aCOMMIT")
    assert.strictEqual(client.text(), "a")
  }))

it.live("afterFin: the server has the request, and the client a clean close instead of the reply", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    yield* proxy.when("COMMIT", "afterFin")
    yield* client.send("COMMIT")
    assert.strictEqual(yield* client.ended, "fin")
    assert.strictEqual(yield* atServer.ended, "fin")
    assert.strictEqual(atServer.text(), "aCOMMIT")
    assert.strictEqual(client.text(), "a")
  }))

it.live("middle: the client gets the first bytes of the reply and then a reset", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    yield* proxy.when("COMMIT", { middle: 3 })
    yield* client.send("COMMIT")
    assert.strictEqual(yield* client.ended, "reset")
    assert.strictEqual(atServer.text(), "aCOMMIT")
    assert.strictEqual(client.text(), "aCOM")
  }))

it.live("middle: a reply that comes in pieces is counted as one", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    yield* proxy.when("COMMIT", { middle: 8 })
    yield* client.send("COMMIT")
    yield* client.receives("aCOMMIT")
    yield* atServer.send("more")
    assert.strictEqual(yield* client.ended, "reset")
    assert.strictEqual(client.text(), "aCOMMITmo")
  }))

it.live("blackholeRequest: the request vanishes and both sides stay open", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    const rule = yield* proxy.when("COMMIT", "blackholeRequest")
    yield* client.send("COMMIT")
    yield* rule.fired
    yield* listenForAWhile
    assert.strictEqual(atServer.text(), "a")
    assert.isTrue(client.isOpen() && atServer.isOpen())
  }))

it.live("blackholeReply: the server has the request, the reply vanishes and both sides stay open", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    yield* proxy.when("COMMIT", "blackholeReply")
    yield* client.send("COMMIT")
    yield* atServer.receives("aCOMMIT")
    yield* listenForAWhile
    assert.strictEqual(client.text(), "a")
    assert.isTrue(client.isOpen() && atServer.isOpen())
  }))

it.live("hold: the request waits for its release", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    const rule = yield* proxy.when("COMMIT", "hold")
    yield* client.send("COMMIT")
    yield* rule.fired
    yield* client.send("b")
    yield* listenForAWhile
    assert.strictEqual(atServer.text(), "a")
    yield* rule.release
    yield* client.receives("aCOMMITb")
  }))

it.live("holdReply: the server has the request, and the reply waits for its release", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    const rule = yield* proxy.when("COMMIT", "holdReply")
    yield* client.send("COMMIT")
    yield* atServer.receives("aCOMMIT")
    yield* listenForAWhile
    assert.strictEqual(client.text(), "a")
    yield* rule.release
    yield* client.receives("aCOMMIT")
  }))

it.live("holdReply: released before the reply has come, nothing is held", () =>
  Effect.gen(function*() {
    const { client, proxy } = yield* exchange
    const rule = yield* proxy.when("COMMIT", "holdReply", { times: 2 })
    yield* proxy.delay("20 millis")
    yield* client.send("COMMIT")
    yield* rule.fired
    yield* rule.release
    yield* client.receives("aCOMMIT")
    // The next one is held again.
    yield* proxy.delay(0)
    yield* client.send("COMMIT")
    yield* proxy.until(() => rule.count() === 2)
    yield* listenForAWhile
    assert.strictEqual(client.text(), "aCOMMIT")
    yield* rule.release
    yield* client.receives("aCOMMITCOMMIT")
  }))

it.live("a rule strikes as often as it was told to, on any connection", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(yield* echoServer())
    const rule = yield* proxy.when("x", "before", { times: 2 })
    for (let n = 0; n < 2; n++) {
      const client = yield* connect(proxy.port)
      yield* client.send("x")
      assert.strictEqual(yield* client.ended, "reset")
    }
    const client = yield* connect(proxy.port)
    yield* client.send("x")
    yield* client.receives("x")
    assert.strictEqual(rule.count(), 2)
  }))

it.live("a rule finds its pattern when it arrives in two pieces", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    yield* proxy.when("COMMIT", "before")
    yield* client.send("COM")
    yield* client.receives("aCOM")
    yield* client.send("MIT")
    assert.strictEqual(yield* client.ended, "reset")
    assert.strictEqual(atServer.text(), "aCOM")
  }))

it.live("a rule can be a predicate, and can be removed", () =>
  Effect.gen(function*() {
    const { client, proxy } = yield* exchange
    const rule = yield* proxy.when((chunk) => chunk[0] === 0x62, "before")
    yield* client.send("x")
    yield* client.receives("ax")
    yield* rule.remove
    yield* client.send("b")
    yield* client.receives("axb")
    yield* proxy.when((chunk) => chunk[0] === 0x62, "before")
    yield* client.send("b")
    assert.strictEqual(yield* client.ended, "reset")
  }))

it.live("a rule with a reply pattern lets the answers to earlier requests pass", () =>
  Effect.gen(function*() {
    const { atServer, client, proxy } = yield* exchange
    const held = yield* proxy.when("SELECT", "hold")
    yield* client.send("SELECT")
    yield* held.fired
    yield* proxy.when("COMMIT", "after", { reply: "done" })
    yield* client.send("COMMIT")
    yield* held.release
    yield* client.receives("aSELECTCOMMIT")
    yield* atServer.send("done")
    assert.strictEqual(yield* client.ended, "reset")
    assert.strictEqual(client.text(), "aSELECTCOMMIT")
  }))

it.live("heal ends every rule, delay and chance", () =>
  Effect.gen(function*() {
    const { client, proxy } = yield* exchange
    yield* proxy.when("COMMIT", "before")
    yield* proxy.delay("10 seconds")
    yield* proxy.randomCuts({ seed: 1, probability: 1 })
    yield* proxy.heal
    yield* client.send("COMMIT")
    yield* client.receives("aCOMMIT")
    assert.strictEqual(proxy.mode(), "forward")
  }))

it.effect("it works under a TestClock that nobody moves", () =>
  Effect.gen(function*() {
    const { client, proxy } = yield* live(exchange)
    yield* proxy.when("COMMIT", "after")
    yield* client.send("COMMIT")
    assert.strictEqual(yield* live(client.ended), "reset")
    yield* proxy.until((proxy) => proxy.open() === 0)
  }))

it.live("until says what happened when what it waits for does not come", () =>
  Effect.gen(function*() {
    const { proxy } = yield* exchange
    const error = yield* Effect.flip(proxy.until(() => false, "50 millis"))
    assert.instanceOf(error, ServerError)
    assert.include(error.message, "\"type\":\"connected\"")
  }))
