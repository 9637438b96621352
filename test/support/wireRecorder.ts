/**
 * A proxy that writes down what a client and a server say to each other, one line for each time that the speaker
 * changes: how often one waits for the other can be read off it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

/** A protocol, as far as it is written down. */
export interface Wording {
  /** How many bytes say how long a message is. */
  readonly headerLength: number
  readonly lengthOf: (header: Buffer) => number
  /** What a message says, or `undefined` if that is no matter. */
  readonly client: (message: Buffer) => string | undefined
  readonly server: (message: Buffer) => string | undefined
}

const textAt = (message: Buffer, start: number): string => message.toString("utf8", start, message.indexOf(0, start))
const short = (sql: string): string => JSON.stringify(sql.replaceAll(/\s+/g, " "))

const numbered = (name: string): string => name === "" ? "" : " named"

/** Of PostgreSQL, without TLS and after the start-up. */
export const postgresWording: Wording = {
  headerLength: 5,
  lengthOf: (header) => 1 + header.readInt32BE(1),
  client: (message) => {
    switch (String.fromCharCode(message[0]!)) {
      case "P": {
        const name = textAt(message, 5)
        return `Parse${numbered(name)} ${short(textAt(message, 5 + Buffer.byteLength(name) + 1))}`
      }
      case "B":
        return "Bind"
      case "D":
        return `Describe ${message[5] === 0x53 ? "statement" : "portal"}`
      case "E":
        return `Execute ${message.readInt32BE(message.length - 4) || "all"}`
      case "S":
        return "Sync"
      case "H":
        return "Flush"
      case "C":
        return `Close ${message[5] === 0x53 ? "statement" : "portal"}`
      case "Q":
        return `Query ${short(textAt(message, 5))}`
      case "d":
        return "CopyData"
      case "c":
        return "CopyDone"
      case "X":
        return "Terminate"
      default:
        return String.fromCharCode(message[0]!)
    }
  },
  server: (message) => {
    switch (String.fromCharCode(message[0]!)) {
      case "1":
        return "parsed"
      case "2":
        return "bound"
      case "3":
        return "closed"
      case "t":
        return "parameters"
      case "T":
        return "columns"
      case "n":
        return "no columns"
      case "D":
        return "row"
      case "d":
        return "data"
      case "C":
        return textAt(message, 5)
      case "s":
        return "suspended"
      case "E":
        return `error ${/C(\w{5})\0/.exec(message.toString("latin1"))?.[1]}`
      case "Z":
        return `ready ${String.fromCharCode(message[5]!)}`
      case "S":
        return undefined
      default:
        return String.fromCharCode(message[0]!)
    }
  }
}

const commands: Readonly<Record<number, string>> = {
  0x01: "quit",
  0x0e: "ping",
  0x17: "execute",
  0x1f: "reset connection",
  0xfa: "execute many"
}

/** Of MySQL and MariaDB, without TLS and after the handshake. */
export const mysqlWording: Wording = {
  headerLength: 4,
  lengthOf: (header) => 4 + header.readUIntLE(0, 3),
  client: (packet) => {
    if (packet[3] !== 0) return packet.length > 4 ? "data" : "end of data"
    const command = packet[4]!
    // A client that could send attributes says first that there are none.
    const text = () => short(packet.toString("utf8", packet[5] === 0 && packet[6] === 1 ? 7 : 5))
    // Nobody waits for the end of a statement, so it is said at any time.
    if (command === 0x19) return undefined
    if (command === 0x03) return `query ${text()}`
    if (command === 0x16) return `prepare ${text()}`
    return commands[command] ?? `command ${command}`
  },
  server: (packet) => {
    if (packet[4] === 0xff) return `error ${packet.readUInt16LE(5)}`
    if (packet[4] === 0x00 && packet.length >= 11) return "ok"
    return "packet"
  }
}

export interface WireRecorder {
  readonly url: string
  /** Forgets what was said. */
  readonly start: () => void
  /** What was said since then. */
  readonly lines: () => ReadonlyArray<string>
}

/** Joins what was said in one go, and counts what is said several times. */
const joined = (words: ReadonlyArray<string>): string => {
  const parts: Array<{ readonly word: string; count: number }> = []
  for (const word of words) {
    if (parts.at(-1)?.word === word) parts.at(-1)!.count++
    else parts.push({ word, count: 1 })
  }
  return parts.map(({ count, word }) => count === 1 ? word : `${count} × ${word}`).join(", ")
}

class Recorder {
  private readonly wording: Wording
  private turns: Array<{ readonly by: string; readonly words: Array<string> }> = []

  constructor(wording: Wording) {
    this.wording = wording
  }

  readonly start = (): void => {
    this.turns = []
  }

  readonly lines = (): ReadonlyArray<string> => this.turns.map(({ by, words }) => `${by} ${joined(words)}`)

  /** Takes the bytes of one side of a connection. */
  side(by: ">" | "<"): (chunk: Buffer) => void {
    const { headerLength, lengthOf } = this.wording
    const say = by === ">" ? this.wording.client : this.wording.server
    let rest = Buffer.alloc(0)
    // The client of PostgreSQL begins with messages that have no type.
    let isFirst = by === ">" && headerLength === 5
    return (chunk) => {
      rest = Buffer.concat([rest, chunk])
      while (rest.length >= headerLength) {
        const length = isFirst ? rest.readInt32BE(0) : lengthOf(rest)
        if (rest.length < length) return
        const message = rest.subarray(0, length)
        rest = rest.subarray(length)
        // A request for TLS or GSS is answered with one letter, and none of them is made here.
        if (!isFirst) this.note(by, say(message))
        isFirst = false
      }
    }
  }

  private note(by: string, word: string | undefined): void {
    if (word === undefined) return
    if (this.turns.at(-1)?.by === by) this.turns.at(-1)!.words.push(word)
    else this.turns.push({ by, words: [word] })
  }
}

/** How long an answer is on its way, in milliseconds. */
const answerDelay = 8

/** Makes a proxy in front of a server without TLS. */
export const make = (wording: Wording, target: string): Effect.Effect<WireRecorder, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly recorder: WireRecorder; readonly close: () => void }>((resume) => {
        const to = new URL(target)
        const sockets = new Set<net.Socket>()
        const recorder = new Recorder(wording)
        const server = net.createServer((client) => {
          const upstream = net.connect(Number(to.port), to.hostname)
          const sides = [[client, upstream, recorder.side(">")], [upstream, client, recorder.side("<")]] as const
          for (const [from, other, take] of sides) {
            sockets.add(from)
            from.setNoDelay(true)
            from.on("error", () => {})
            from.on("close", () => setTimeout(() => other.destroy(), answerDelay))
            from.on("data", (chunk) => {
              take(chunk)
              // What a client writes at once has all come before the first answer to it goes on.
              if (from === client) other.write(chunk)
              else setTimeout(() => other.write(chunk), answerDelay)
            })
          }
        })
        server.listen(0, "127.0.0.1", () => {
          const url = new URL(target)
          url.hostname = "127.0.0.1"
          url.port = String((server.address() as net.AddressInfo).port)
          resume(Effect.succeed({
            recorder: { url: url.href, start: recorder.start, lines: recorder.lines },
            close: () => {
              server.close()
              for (const socket of sockets) socket.destroy()
            }
          }))
        })
      }),
      ({ close }) => Effect.sync(close)
    ),
    ({ recorder }) => recorder
  )
