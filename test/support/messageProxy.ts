/** A proxy that knows where the messages of a protocol begin and end, and spoils one of those that the server sends. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

/** What is done to a message. */
export const faults = ["drop", "double", "truncate", "replace", "cut"] as const
export type Fault = typeof faults[number]

/** A protocol, as far as the proxy has to know it. */
export interface Framing {
  /** How many bytes say how long a message is. */
  readonly headerLength: number
  /** How long the message is that begins with this header. */
  readonly lengthOf: (header: Buffer) => number
  /** The message with half of its body. */
  readonly truncated: (message: Buffer) => Buffer
  /** Another message in its place. */
  readonly replaced: (message: Buffer) => Buffer
}

const packetOf = (sequence: number, body: Buffer): Buffer => {
  const header = Buffer.alloc(4)
  header.writeUIntLE(body.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, body])
}

/** The packets of MySQL and MariaDB. */
export const mysqlPackets: Framing = {
  headerLength: 4,
  lengthOf: (header) => 4 + header.readUIntLE(0, 3),
  truncated: (packet) => packetOf(packet[3]!, packet.subarray(4, 4 + ((packet.length - 4) >> 1))),
  replaced: (packet) => packetOf(packet[3]!, Buffer.from([0, 0xfe]))
}

const messageOf = (type: number, body: Buffer): Buffer => {
  const header = Buffer.alloc(5)
  header[0] = type
  header.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([header, body])
}

const readyForQuery = 0x5a
const parseComplete = 0x31

/** The messages of PostgreSQL, without TLS. */
export const postgresMessages: Framing = {
  headerLength: 5,
  lengthOf: (header) => 1 + header.readInt32BE(1),
  truncated: (message) => messageOf(message[0]!, message.subarray(5, 5 + ((message.length - 5) >> 1))),
  replaced: (message) =>
    message[0] === readyForQuery
      ? messageOf(parseComplete, Buffer.alloc(0))
      : messageOf(readyForQuery, Buffer.from("I"))
}

const spoiled = ({ replaced, truncated }: Framing, message: Buffer, fault: Fault): Buffer => {
  switch (fault) {
    case "drop":
      return Buffer.alloc(0)
    case "double":
      return Buffer.concat([message, message])
    case "truncate":
      return truncated(message)
    case "replace":
      return replaced(message)
    case "cut":
      return message.subarray(0, message.length - 1)
  }
}

export interface MessageProxy {
  readonly url: string
  /** From now on: spoils the server's messages with these numbers, counted from 0. */
  readonly spoil: (...which: ReadonlyArray<readonly [index: number, fault: Fault]>) => void
  /** Counts the server's messages from now on, and lets all of them through. */
  readonly heal: () => void
  readonly counted: () => number
}

/** Makes a proxy in front of a server without TLS. */
export const make = (framing: Framing, target: string): Effect.Effect<MessageProxy, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly proxy: MessageProxy; readonly close: () => void }>((resume) => {
        const to = new URL(target)
        const sockets = new Set<net.Socket>()
        let seen = 0
        let next = new Map<number, Fault>()
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
            while (rest.length >= framing.headerLength) {
              const length = framing.lengthOf(rest)
              if (rest.length < length) return
              const message = rest.subarray(0, length)
              rest = rest.subarray(length)
              const fault = next.get(seen++)
              client.write(fault === undefined ? message : spoiled(framing, message, fault))
              if (fault === "cut") return upstream.destroy()
            }
          })
        })
        const start = (which: typeof next): void => {
          seen = 0
          next = which
        }
        server.listen(0, "127.0.0.1", () => {
          const url = new URL(target)
          url.hostname = "127.0.0.1"
          url.port = String((server.address() as net.AddressInfo).port)
          resume(Effect.succeed({
            proxy: {
              url: url.href,
              spoil: (...which) => start(new Map(which)),
              heal: () => start(new Map()),
              counted: () => seen
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
