/** A proxy that knows the packets of MySQL's protocol, and spoils one of those that the server sends. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

/** What is done to a packet. */
export const faults = ["drop", "double", "truncate", "replace", "cut"] as const
export type Fault = typeof faults[number]

export interface PacketProxy {
  readonly url: string
  /** From now on: spoils the server's packet with this number, counted from 0. */
  readonly spoil: (index: number, fault: Fault) => void
  /** Counts the server's packets from now on. */
  readonly count: () => void
  readonly counted: () => number
  /** Lets everything through again. */
  readonly heal: () => void
}

const spoiled = (packet: Buffer, fault: Fault): Buffer => {
  const sequence = packet[3]!
  const packetOf = (body: Buffer) => {
    const header = Buffer.alloc(4)
    header.writeUIntLE(body.length, 0, 3)
    header[3] = sequence
    return Buffer.concat([header, body])
  }
  switch (fault) {
    case "drop":
      return Buffer.alloc(0)
    case "double":
      return Buffer.concat([packet, packet])
    case "truncate":
      return packetOf(packet.subarray(4, 4 + ((packet.length - 4) >> 1)))
    case "replace":
      return packetOf(Buffer.from([0, 0xfe]))
    case "cut":
      return packet.subarray(0, packet.length - 1)
  }
}

/** Makes a proxy in front of a server without TLS. */
export const make = (target: string): Effect.Effect<PacketProxy, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly proxy: PacketProxy; readonly close: () => void }>((resume) => {
        const to = new URL(target)
        const sockets = new Set<net.Socket>()
        let seen = 0
        let next: { readonly index: number; readonly fault: Fault } | undefined
        const server = net.createServer((client) => {
          const upstream = net.connect(Number(to.port), to.hostname)
          let rest = Buffer.alloc(0)
          for (const socket of [client, upstream]) {
            sockets.add(socket)
            socket.on("error", () => {})
            socket.setNoDelay(true)
          }
          client.on("data", (chunk) => upstream.write(chunk))
          client.on("close", () => upstream.destroy())
          upstream.on("close", () => client.destroy())
          upstream.on("data", (chunk) => {
            rest = Buffer.concat([rest, chunk])
            while (rest.length >= 4) {
              const length = 4 + rest.readUIntLE(0, 3)
              if (rest.length < length) return
              const packet = rest.subarray(0, length)
              rest = rest.subarray(length)
              const fault = next?.index === seen ? next.fault : undefined
              seen++
              client.write(fault === undefined ? packet : spoiled(packet, fault))
              if (fault === "cut") return upstream.destroy()
            }
          })
        })
        const start = (after?: typeof next) => {
          seen = 0
          next = after
        }
        server.listen(0, "127.0.0.1", () => {
          const url = new URL(target)
          url.hostname = "127.0.0.1"
          url.port = String((server.address() as net.AddressInfo).port)
          resume(Effect.succeed({
            proxy: {
              url: url.href,
              spoil: (index, fault) => start({ index, fault }),
              count: () => start(),
              counted: () => seen,
              heal: () => start()
            },
            close: () => {
              server.close()
              for (const socket of sockets) socket.destroy()
            }
          }))
        })
      }),
      ({ close }) => Effect.sync(close)
    ),
    ({ proxy }) => proxy
  )
