/**
 * A server that speaks PostgreSQL's protocol from a script, message by message, so that each message of its answers can
 * be dropped, doubled, truncated or replaced.
 *
 * It understands as little as an exchange needs: it begins and ends transactions, answers `select` with one row of one
 * number, describes, suspends portals, and takes and gives the data of COPY.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Buffer } from "node:buffer"
import * as Net from "node:net"

/** What is done to one message of the server. */
export type Fault = "drop" | "double" | "truncate" | "replace"

export const faults: ReadonlyArray<Fault> = ["drop", "double", "truncate", "replace"]

export interface ScriptedServer {
  readonly port: number
  /** How many messages the server has sent, or would have. */
  readonly sent: () => number
  /** The types of these messages, one letter each. */
  readonly letters: () => string
  /** Has a fault happen to the message of that number. */
  readonly arm: (at: number, fault: Fault) => void
  /** From now on COMMIT fails and leaves the transaction open, which no server does that is in its senses. */
  readonly refuseCommit: () => void
}

const message = (type: string, ...parts: ReadonlyArray<Buffer | string | number>): Buffer => {
  const body = Buffer.concat(
    parts.map((part) =>
      typeof part === "string" ? Buffer.from(`${part}\0`) : typeof part === "number" ? int32(part) : part
    )
  )
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body])
}
const int16 = (value: number): Buffer => Buffer.from([value >> 8 & 255, value & 255])
const int32 = (value: number): Buffer => Buffer.from([value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255])

const int4 = 23
const columns = (format: number): Buffer => message("T", int16(1), "n", 0, int16(0), int4, int16(4), -1, int16(format))
const row = (format: number): Buffer => {
  const value = format === 1 ? int32(1) : Buffer.from("1")
  return message("D", int16(1), value.length, value)
}
const error = (code: string, severity = "ERROR"): Buffer =>
  message("E", Buffer.from(`S${severity}\0V${severity}\0C${code}\0Mscripted\0\0`))

const isBegin = /^\s*(?:begin|start)/i
const isEnd = /^\s*(?:commit|rollback)(?!\s+to)/i
const isQuery = /^\s*(?:select|show|with|values)/i

/** One session of the server: its state, and the answer to each message of the client. */
class ServerSession {
  private buffer = Buffer.alloc(0)
  private started = false
  private status = "I"
  private failed = false
  private readonly statements = new Map<string, string>()
  private readonly portals = new Map<string, { sql: string; left: number; format: number }>()
  private readonly say: (bytes: Buffer) => void
  private readonly refusesCommit: () => boolean

  constructor(say: (bytes: Buffer) => void, refusesCommit: () => boolean) {
    this.say = say
    this.refusesCommit = refusesCommit
  }

  onData(chunk: Buffer): void {
    this.buffer = Buffer.concat([this.buffer, chunk])
    for (;;) {
      const head = this.started ? 1 : 0
      if (this.buffer.length < head + 4) return
      const end = head + this.buffer.readInt32BE(head)
      if (end < head + 4 || this.buffer.length < end) return
      const type = head === 0 ? "" : String.fromCharCode(this.buffer[0]!)
      const body = this.buffer.subarray(head + 4, end)
      this.buffer = this.buffer.subarray(end)
      this.onMessage(type, body)
    }
  }

  private onMessage(type: string, body: Buffer): void {
    const texts = (): Array<string> => body.toString("utf8").split("\0")
    if (type === "") {
      // A cancel request is answered by the end of the connection alone, and TLS is not spoken.
      const code = body.readInt32BE(0)
      if (code === 80877103) return this.say(Buffer.from("N"))
      if (code === 80877102) return
      this.started = true
      this.say(message("R", 0))
      for (const [name, value] of [["server_version", "15.0"], ["client_encoding", "UTF8"]]) {
        this.say(message("S", name!, value!))
      }
      this.say(message("K", 7, 7))
      return this.ready()
    }
    if (type === "Q") return this.query(texts()[0]!)
    if (type === "S") {
      this.failed = false
      return this.ready()
    }
    if (this.failed) return
    const [name = "", second = ""] = texts()
    switch (type) {
      case "P":
        this.statements.set(name, second)
        return this.say(message("1"))
      case "B": {
        const format = body.readInt16BE(body.length - 2) === 1 ? 1 : 0
        this.portals.set(name, { sql: this.statements.get(second) ?? "", left: 3, format })
        return this.say(message("2"))
      }
      case "D": {
        const kind = name.slice(0, 1)
        const portal = this.portals.get(name.slice(1))
        const sql = kind === "S" ? this.statements.get(name.slice(1)) ?? "" : portal?.sql ?? ""
        if (kind === "S") this.say(message("t", int16(0)))
        return this.say(isQuery.test(sql) ? columns(kind === "S" ? 0 : portal?.format ?? 0) : message("n"))
      }
      case "E": {
        const portal = this.portals.get(name)
        return this.execute(portal ?? { sql: "", left: 1, format: 0 }, body.readInt32BE(body.indexOf(0) + 1))
      }
      case "C":
        return this.say(message("3"))
      case "c":
        this.say(message("C", "COPY 1"))
        return this.ready()
      case "f":
        this.say(error("57014"))
        return this.ready()
    }
  }

  private execute(portal: { sql: string; left: number; format: number }, max: number): void {
    const { format, sql } = portal
    if (!isQuery.test(sql)) return this.command(sql)
    if (/stream/.test(sql)) {
      const rows = Math.min(portal.left, max === 0 ? portal.left : Math.max(1, Math.min(max, 1)))
      for (let index = 0; index < rows; index++) this.say(row(format))
      portal.left -= rows
      return this.say(portal.left > 0 ? message("s") : message("C", `SELECT ${rows}`))
    }
    this.say(row(format))
    this.say(message("C", "SELECT 1"))
  }

  private command(sql: string): void {
    if (sql.trim() === "") return this.say(message("I"))
    const [word = ""] = sql.trim().toUpperCase().split(/\s+/)
    if (word === "COMMIT" && this.refusesCommit()) return this.say(error("40001"))
    if (isBegin.test(sql)) this.status = "T"
    else if (isEnd.test(sql)) this.status = "I"
    this.say(message("C", word === "INSERT" ? "INSERT 0 1" : word))
  }

  private query(sql: string): void {
    if (/^\s*copy.*from stdin/i.test(sql)) {
      return this.say(message("G", Buffer.from([0]), int16(1), int16(0)))
    }
    for (const one of sql.split(";")) {
      if (/^\s*copy.*to stdout/i.test(one)) {
        this.say(message("H", Buffer.from([0]), int16(1), int16(0)))
        this.say(message("d", Buffer.from("1\n")))
        this.say(message("c"))
        this.say(message("C", "COPY 1"))
      } else if (isQuery.test(one)) {
        this.say(columns(0))
        this.say(row(0))
        this.say(message("C", "SELECT 1"))
      } else {
        this.command(one)
      }
    }
    this.ready()
  }

  private ready(): void {
    this.say(message("Z", Buffer.from(this.status)))
  }
}

/** Does to a message what the fault says. */
const distort = (bytes: Buffer, fault: Fault): Buffer => {
  switch (fault) {
    case "drop":
      return Buffer.alloc(0)
    case "double":
      return Buffer.concat([bytes, bytes])
    case "truncate":
      // The head promises more than comes: what follows is taken for the rest.
      return bytes.length > 6 ? bytes.subarray(0, bytes.length - 2) : bytes.subarray(0, 3)
    case "replace":
      return bytes[0] === 0x5a ? message("1") : message("Z", Buffer.from("I"))
  }
}

export const scriptedServer: Effect.Effect<ScriptedServer, never, Scope.Scope> = Effect.acquireRelease(
  Effect.callback<{ readonly api: ScriptedServer; readonly close: () => void }>((resume) => {
    let sent = 0
    let letters = ""
    const armed = new Map<number, Fault>()
    let refusesCommit = false
    const sockets = new Set<Net.Socket>()
    const server = Net.createServer((socket) => {
      sockets.add(socket)
      socket.on("close", () => sockets.delete(socket))
      socket.on("error", () => {})
      const session = new ServerSession((bytes) => {
        letters += String.fromCharCode(bytes[0]!)
        const fault = armed.get(sent++)
        if (!socket.destroyed) socket.write(fault === undefined ? bytes : distort(bytes, fault))
      }, () => refusesCommit)
      socket.on("data", (chunk) => session.onData(chunk))
    })
    server.listen(0, "127.0.0.1", () => {
      resume(Effect.succeed({
        api: {
          port: (server.address() as Net.AddressInfo).port,
          sent: () => sent,
          letters: () => letters,
          arm: (at, fault) => void armed.set(at, fault),
          refuseCommit: () => {
            refusesCommit = true
          }
        },
        close: () => {
          for (const socket of sockets) socket.destroy()
          server.close()
        }
      }))
    })
  }),
  ({ close }) => Effect.sync(close)
).pipe(Effect.map(({ api }) => api))
