/**
 * The limit for PostgreSQL: the least that a Node program can do. Messages are encoded once and copied, with the number
 * put in; many go in one write; of the replies only what is asked for is looked at. There is no pool, no error handling
 * worth the name, no types, no transactions: no library can be like this, but each can be compared with it.
 */
import * as net from "node:net"
import type { Subject, Target } from "../harness/model.ts"
import { type Callback, callbacks } from "../harness/styles.ts"

type Done = (value: unknown, error?: unknown) => void

/** What is made of the first column of a row, found at `start`. */
type Decode = (chunk: Buffer, start: number, length: number) => unknown

/** Bind, Execute and Sync of a prepared statement, encoded, and where in them the parameter stands. */
export interface Prepared {
  readonly bytes: Buffer
  readonly parameterAt: number
  readonly decode: Decode
}

export const message = (type: string, ...parts: ReadonlyArray<Buffer>): Buffer => {
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(5)
  head.write(type, 0, "latin1")
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
export const text = (value: string): Buffer => Buffer.from(value + "\0")
const int16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255])
const int32 = (value: number): Buffer =>
  Buffer.from([value >> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255])

const sync = message("S")
const execute = message("E", text(""), int32(0))

export const parse = (name: string, sql: string): Buffer => message("P", text(name), text(sql), int16(0))

/** A statement with `parameters` binary integers, of which the first is put in at each call, and a binary result. */
export const prepared = (name: string, decode: Decode, ...parameters: ReadonlyArray<number>): Prepared => {
  const head = [text(""), text(name), int16(1), int16(1), int16(parameters.length)]
  const values = parameters.map((value) => Buffer.concat([int32(4), int32(value)]))
  const bind = message("B", ...head, ...values, int16(1), int16(1))
  return {
    bytes: Buffer.concat([bind, execute, sync]),
    parameterAt: parameters.length === 0 ? -1 : 5 + Buffer.concat(head).length + 4,
    decode
  }
}

export const asInt: Decode = (chunk, start) => chunk.readInt32BE(start)
export const asText: Decode = (chunk, start, length) => chunk.toString("latin1", start, start + length)

export class Connection {
  readonly socket: net.Socket
  /** How many requests have not been answered. */
  load = 0
  private out = Buffer.allocUnsafe(64 * 1024)
  private used = 0
  private readonly waiting: Array<{ readonly decode: Decode; readonly done: Done }> = []
  private next = 0
  private rest: Buffer | undefined
  private value: unknown
  private error: Error | undefined
  private scheduled = false
  /** Is told where in a chunk a piece of a COPY lies. */
  onCopyData: (chunk: Buffer, start: number, end: number) => void = () => {}

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.on("data", (chunk) => this.read(chunk))
    // A request behind which nobody stands any more.
    socket.on("error", () => {})
  }

  request({ bytes, decode, parameterAt }: Prepared, parameter: number, done: Done): void {
    if (this.used + bytes.length > this.out.length) this.flush()
    this.out.set(bytes, this.used)
    if (parameterAt >= 0) this.out.writeInt32BE(parameter, this.used + parameterAt)
    this.used += bytes.length
    this.expect(decode, done)
    if (!this.scheduled) {
      this.scheduled = true
      process.nextTick(this.flushScheduled)
    }
  }

  /** Writes bytes that end with a Sync. */
  send(bytes: Buffer): Promise<unknown> {
    this.flush()
    this.socket.write(bytes)
    return new Promise((resolve, reject) => {
      this.expect(() => undefined, (value, error) => error ? reject(error) : resolve(value))
    })
  }

  private expect(decode: Decode, done: Done): void {
    this.load++
    this.waiting.push({ decode, done })
  }

  private readonly flushScheduled = (): void => {
    this.scheduled = false
    this.flush()
  }

  private flush(): void {
    if (this.used === 0) return
    this.socket.write(this.out.subarray(0, this.used))
    // The socket may keep what it could not send at once.
    if (this.socket.writableLength > 0) this.out = Buffer.allocUnsafe(64 * 1024)
    this.used = 0
  }

  private read(arrived: Buffer): void {
    const chunk = this.rest === undefined ? arrived : Buffer.concat([this.rest, arrived])
    let at = 0
    while (at + 5 <= chunk.length) {
      const end = at + 1 + chunk.readInt32BE(at + 1)
      if (end > chunk.length) break
      switch (chunk[at]) {
        case 0x44: { // DataRow
          const length = chunk.readInt32BE(at + 7)
          this.value = this.waiting[this.next]!.decode(chunk, at + 11, length)
          break
        }
        case 0x64: // CopyData
          this.onCopyData(chunk, at + 5, end)
          break
        case 0x45: // ErrorResponse
          this.error = new Error(chunk.toString("utf8", at + 5, end).replaceAll("\0", " "))
          break
        case 0x5a: { // ReadyForQuery
          const { done } = this.waiting[this.next]!
          const { error, value } = this
          this.value = this.error = undefined
          this.load--
          if (++this.next === this.waiting.length) {
            this.waiting.length = 0
            this.next = 0
          } else if (this.next === 1024) {
            this.waiting.splice(0, 1024)
            this.next = 0
          }
          done(value, error)
        }
      }
      at = end
    }
    this.rest = at === chunk.length ? undefined : chunk.subarray(at)
  }
}

/** Connects without a password and prepares statements. */
export const connect = async (
  target: Pick<Target, "servers">,
  statements: ReadonlyArray<Buffer>
): Promise<Connection> => {
  const { database, host, port, user } = target.servers.postgres!
  const socket = net.connect({ host, port, noDelay: true })
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject))
  const parameters = Buffer.concat([int32(0x30000), ...["user", user, "database", database, ""].map(text)])
  const connection = new Connection(socket)
  await connection.send(Buffer.concat([int32(parameters.length + 4), parameters]))
  if (statements.length > 0) await connection.send(Buffer.concat([...statements, sync]))
  return connection
}

const echo = prepared("echo", asInt, 0)
const byKey = prepared("key", asText, 0)
const begin = prepared("begin", asInt)
const commit = prepared("commit", asInt)
const amount = prepared("amount", asInt, 0)
const change = prepared("change", asInt, 0)
const enter = prepared("enter", asInt, 0)

const statements = [
  parse("echo", "select $1::int"),
  parse("key", "select label from item where id = $1::int"),
  parse("begin", "begin"),
  parse("commit", "commit"),
  parse("amount", "select amount from item where id = $1::int"),
  parse("change", "update account set cents = cents + 1 where id = 1 + $1::int % 1000"),
  parse("enter", "insert into entry (account, cents) values (1 + $1::int % 1000, 1)")
]

export const open = async (target: Target): Promise<Subject<Callback>> => {
  const connections = await Promise.all(
    Array.from({ length: target.connections }, () => connect(target, statements))
  )
  const strategy = target.options["spread"] ?? "least"
  const depth = Number(target.options["depth"] ?? 16)

  /** The connection with the fewest requests under way; of several the first, so that writes carry many messages. */
  const least = (): Connection => {
    let best = connections[0]!
    for (let i = 1; i < connections.length && best.load > 0; i++) {
      if (connections[i]!.load < best.load) best = connections[i]!
    }
    return best
  }
  /** The first connection with room. */
  const fill = (): Connection => connections.find(({ load }) => load < depth) ?? least()
  let turn = 0
  const pick = strategy === "fill"
    ? fill
    : strategy === "robin"
    ? () => connections[turn++ % connections.length]!
    : least

  const idle = [...connections]
  const queue: Array<(connection: Connection) => void> = []
  const alone = (use: (connection: Connection) => void): void => {
    const connection = idle.pop()
    if (connection === undefined) queue.push(use)
    else use(connection)
  }
  const giveBack = (connection: Connection): void => {
    const use = queue.shift()
    if (use === undefined) idle.push(connection)
    else use(connection)
  }

  return {
    style: callbacks,
    close: async () => {
      for (const { socket } of connections) socket.destroy()
    },
    echo: (n) => (done) => pick().request(echo, n, done),
    byKey: (id) => (done) => pick().request(byKey, id, done),
    // BEGIN travels with the first statement; every other statement waits for the one before it, as a program does
    // that looks at results.
    transaction: (key) => (done) =>
      alone((connection) => {
        connection.request(begin, 0, () => {})
        connection.request(amount, key, (value) => {
          connection.request(change, key, () => {
            connection.request(enter, key, () => {
              connection.request(commit, 0, (_, error) => {
                giveBack(connection)
                done(value, error)
              })
            })
          })
        })
      })
  }
}
