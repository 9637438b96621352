/** A balancer that knows nothing of the servers behind it, but whether they take connections. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

/** Listens on a port and passes connections on to others in turn. */
export const balance = (ports: ReadonlyArray<number>): Effect.Effect<number, never, Scope.Scope> => {
  let turn = 0
  const sockets = new Set<net.Socket>()
  const pass = (client: net.Socket, left: number): void => {
    const port = ports[turn++ % ports.length]!
    const target = net.connect({ host: "127.0.0.1", port, noDelay: true })
    sockets.add(target)
    target.on("close", () => sockets.delete(target))
    const onRefused = () => left > 1 ? pass(client, left - 1) : client.destroy()
    target.once("error", onRefused)
    target.once("connect", () => {
      target.off("error", onRefused)
      target.on("error", () => client.destroy())
      client.on("error", () => target.destroy())
      client.on("close", () => target.destroy())
      target.on("close", () => client.destroy())
      client.pipe(target).pipe(client)
    })
  }
  return Effect.map(
    Effect.acquireRelease(
      Effect.callback<net.Server>((resume) => {
        const server = net.createServer({ noDelay: true }, (client) => {
          sockets.add(client)
          client.on("close", () => sockets.delete(client))
          client.on("error", () => client.destroy())
          pass(client, ports.length)
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.close()
          for (const socket of sockets) socket.destroy()
        })
    ),
    (server) => (server.address() as net.AddressInfo).port
  )
}
