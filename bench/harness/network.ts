/** A network between a candidate and its server that is slow to connect, or gone for a while. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import * as FaultProxy from "../../src/testing/FaultProxy.ts"
import type { Endpoint, NetworkCommand, ServerName, Servers } from "./model.ts"

export interface Network {
  /** The servers, as they are reached through it. */
  readonly servers: Servers
  readonly command: (command: NetworkCommand) => Promise<void>
}

export const open = Effect.fnUntraced(function*(
  servers: Servers,
  { slowConnect = 0 }: { readonly slowConnect?: number | undefined }
): Effect.fn.Return<Network, FaultProxy.FaultProxyError, Scope.Scope> {
  const proxies: Array<FaultProxy.FaultProxy> = []
  const reached: Partial<Record<ServerName, Endpoint>> = {}
  for (const [name, endpoint] of Object.entries(servers) as Array<[ServerName, Endpoint | undefined]>) {
    if (endpoint === undefined) continue
    const proxy = yield* FaultProxy.make(slowConnect === 0 ? endpoint : yield* slowly(endpoint, slowConnect))
    const url = new URL(endpoint.url)
    url.hostname = proxy.host
    url.port = String(proxy.port)
    proxies.push(proxy)
    reached[name] = { ...endpoint, host: proxy.host, port: proxy.port, url: url.href }
  }
  const apply = (
    proxy: FaultProxy.FaultProxy,
    command: NetworkCommand
  ): Effect.Effect<unknown, FaultProxy.FaultProxyError> => {
    switch (command) {
      case "heal":
        return proxy.heal
      case "refuse":
        return Effect.andThen(proxy.refuse, proxy.cutAll)
      case "acceptAndClose":
        return Effect.andThen(proxy.acceptAndClose, proxy.cutAll)
    }
  }
  return {
    servers: reached,
    command: (command) =>
      Effect.runPromise(Effect.forEach(proxies, (proxy) => apply(proxy, command), { discard: true }))
  }
})

/** A server that takes its time before it lets anybody in. */
const slowly = (endpoint: Endpoint, millis: number): Effect.Effect<Endpoint, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: net.Server; readonly sockets: Set<net.Socket> }>((resume) => {
      const sockets = new Set<net.Socket>()
      const server = net.createServer({ pauseOnConnect: true }, (client) => {
        sockets.add(client)
        client.on("close", () => sockets.delete(client))
        client.on("error", () => {})
        setTimeout(() => {
          if (client.destroyed) return
          const upstream = net.connect({ host: endpoint.host, port: endpoint.port, noDelay: true })
          upstream.on("error", () => client.destroy())
          client.setNoDelay(true)
          client.on("close", () => upstream.destroy())
          upstream.on("close", () => client.destroy())
          client.pipe(upstream)
          upstream.pipe(client)
        }, millis)
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
    }),
    ({ server, sockets }) =>
      Effect.sync(() => {
        server.close()
        for (const socket of sockets) socket.destroy()
      })
  ).pipe(Effect.map(({ server }) => ({
    ...endpoint,
    host: "127.0.0.1",
    port: (server.address() as net.AddressInfo).port
  })))
