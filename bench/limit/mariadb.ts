/**
 * The limit for MariaDB: the least that a Node program can do. Commands are encoded once and copied, with the number put
 * in, and written before the ones ahead of them were answered. See `postgres.ts`.
 */
import { createHash } from "node:crypto"
import * as net from "node:net"
import type { Subject, Target } from "../harness/model.ts"
import { type Callback, callbacks } from "../harness/styles.ts"

type Done = (value: unknown, error?: unknown) => void
type Decode = (chunk: Buffer, start: number) => unknown

export interface Prepared {
  readonly bytes: Buffer
  readonly parameterAt: number
  readonly decode: Decode
}

// Without CLIENT_MYSQL, the lowest bit, the last four bytes of the filler are MariaDB's own capabilities.
const capabilities = 0x2 // FOUND_ROWS
  | 0x8 // CONNECT_WITH_DB
  | 0x80 // LOCAL_FILES
  | 0x200 // PROTOCOL_41
  | 0x2000 // TRANSACTIONS
  | 0x8000 // SECURE_CONNECTION
  | 0x80000 // PLUGIN_AUTH
  | 0x1000000 // DEPRECATE_EOF
/** The server describes the columns of a prepared statement only when they have changed. */
const cacheMetadata = 0x10

const packet = (sequence: number, body: Buffer): Buffer => {
  const head = Buffer.alloc(4)
  head.writeUIntLE(body.length, 0, 3)
  head[3] = sequence
  return Buffer.concat([head, body])
}

const sha1 = (...parts: ReadonlyArray<Buffer>): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha1")).digest()

const answer = (password: string, scramble: Buffer): Buffer => {
  const once = sha1(Buffer.from(password))
  const mask = sha1(scramble, sha1(once))
  return once.map((byte, index) => byte ^ mask[index]!) as Buffer
}

/** How a row begins: a byte for "row", then a bitmap of the nulls, one byte for up to six columns. */
const rowHead = 2

export const asInt: Decode = (chunk, start) => chunk.readInt32LE(start + rowHead)
export const asText: Decode = (chunk, start) =>
  chunk.toString("latin1", start + rowHead + 1, start + rowHead + 1 + chunk[start + rowHead]!)

interface Waiting {
  readonly decode: Decode
  readonly done: Done
  /** The reply to a PREPARE is unlike all others. */
  readonly prepare: boolean
  /** Supplies what a `LOAD DATA LOCAL` asks for. */
  readonly file?: ((socket: net.Socket) => void) | undefined
}

export class Connection {
  readonly socket: net.Socket
  load = 0
  private out = Buffer.allocUnsafe(64 * 1024)
  private used = 0
  private readonly waiting: Array<Waiting> = []
  private next = 0
  private rest: Buffer | undefined
  private value: unknown
  /** How many definitions are still to come; -1 before the first packet of a reply. */
  private definitions = -1
  private scheduled = false

  constructor(socket: net.Socket) {
    this.socket = socket
  }

  request({ bytes, decode, parameterAt }: Prepared, parameter: number, done: Done): void {
    if (this.used + bytes.length > this.out.length) this.flush()
    this.out.set(bytes, this.used)
    if (parameterAt >= 0) this.out.writeInt32LE(parameter, this.used + parameterAt)
    this.used += bytes.length
    this.load++
    this.waiting.push({ decode, done, prepare: false })
    if (!this.scheduled) {
      this.scheduled = true
      process.nextTick(this.flushScheduled)
    }
  }

  command(body: Buffer, options: Pick<Waiting, "prepare" | "file"> & { readonly decode?: Decode }): Promise<unknown> {
    this.socket.write(packet(0, body))
    return new Promise((resolve, reject) => {
      this.load++
      this.waiting.push({
        decode: options.decode ?? (() => undefined),
        done: (value, error) => error ? reject(error) : resolve(value),
        prepare: options.prepare,
        file: options.file
      })
    })
  }

  /** A statement in the text protocol. Its rows are shown to `decode`. */
  query(sql: string, file?: (socket: net.Socket) => void, decode?: Decode): Promise<unknown> {
    return this.command(Buffer.concat([Buffer.from([3]), Buffer.from(sql)]), {
      prepare: false,
      file,
      ...(decode === undefined ? {} : { decode })
    })
  }

  /** Prepares a statement whose parameters are integers, of which the first is put in at each call. */
  async prepare(sql: string, decode: Decode, ...parameters: ReadonlyArray<number>): Promise<Prepared> {
    const id = await this.command(Buffer.concat([Buffer.from([0x16]), Buffer.from(sql)]), {
      prepare: true,
      decode: (chunk, start) => chunk.readUInt32LE(start + 1)
    })
    const head = Buffer.alloc(10)
    head[0] = 0x17
    head.writeUInt32LE(Number(id), 1)
    head.writeUInt32LE(1, 6)
    const values = parameters.map((value) => {
      const bytes = Buffer.alloc(4)
      bytes.writeInt32LE(value)
      return bytes
    })
    const types = parameters.map(() => Buffer.from([3, 0]))
    const bitmap = parameters.length === 0 ? [] : [Buffer.alloc((parameters.length + 7) >> 3), Buffer.from([1])]
    const before = Buffer.concat([head, ...bitmap, ...types])
    return {
      bytes: packet(0, Buffer.concat([before, ...values])),
      parameterAt: parameters.length === 0 ? -1 : 4 + before.length,
      decode
    }
  }

  private readonly flushScheduled = (): void => {
    this.scheduled = false
    this.flush()
  }

  private flush(): void {
    if (this.used === 0) return
    this.socket.write(this.out.subarray(0, this.used))
    if (this.socket.writableLength > 0) this.out = Buffer.allocUnsafe(64 * 1024)
    this.used = 0
  }

  read(arrived: Buffer): void {
    const chunk = this.rest === undefined ? arrived : Buffer.concat([this.rest, arrived])
    let at = 0
    while (at + 4 <= chunk.length) {
      const length = chunk[at]! | (chunk[at + 1]! << 8) | (chunk[at + 2]! << 16)
      const start = at + 4
      at = start + length
      if (at > chunk.length) {
        at = start - 4
        break
      }
      this.packet(chunk, start, length)
    }
    this.rest = at === chunk.length ? undefined : chunk.subarray(at)
  }

  private packet(chunk: Buffer, start: number, length: number): void {
    const first = chunk[start]!
    const waiting = this.waiting[this.next]!
    if (first === 0xff) {
      this.definitions = -1
      return this.finish(new Error(chunk.toString("utf8", start + 9, start + length)))
    }
    if (this.definitions < 0) {
      if (waiting.prepare) {
        this.value = waiting.decode(chunk, start)
        this.definitions = chunk.readUInt16LE(start + 5) + chunk.readUInt16LE(start + 7)
        if (this.definitions === 0) this.finish(undefined)
      } else if (first === 0) {
        this.finish(undefined)
      } else if (first === 0xfb) {
        waiting.file!(this.socket)
      } else {
        this.definitions = length === 1 || chunk[start + 1] === 1 ? first : 0
      }
    } else if (this.definitions > 0) {
      this.definitions--
      if (this.definitions === 0 && waiting.prepare) this.finish(undefined)
    } else if (first === 0xfe && length < 0xffffff) {
      this.finish(undefined)
    } else {
      this.value = waiting.decode(chunk, start)
    }
  }

  private finish(error: Error | undefined): void {
    const { done } = this.waiting[this.next]!
    const { value } = this
    this.value = undefined
    this.definitions = -1
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

export const connect = (target: Pick<Target, "servers">): Promise<Connection> => {
  const { database, host, password, port, user } = target.servers.mariadb!
  const socket = net.connect({ host, port, noDelay: true })
  return new Promise((resolve, reject) => {
    socket.once("error", reject)
    socket.once("data", (hello) => {
      // Protocol version, the server's version, and then the connection's id.
      const rest = hello.subarray(hello.indexOf(0, 5) + 1)
      const scramble = Buffer.concat([rest.subarray(4, 12), rest.subarray(31, 43)])
      const head = Buffer.alloc(32)
      head.writeUInt32LE(capabilities, 0)
      head.writeUInt32LE(0x1000000, 4)
      head[8] = 45 // utf8mb4_general_ci
      head.writeUInt32LE(cacheMetadata, 28)
      const proof = answer(password ?? "", scramble)
      socket.write(packet(
        1,
        Buffer.concat([
          head,
          Buffer.from(user + "\0"),
          Buffer.from([proof.length]),
          proof,
          Buffer.from(database + "\0"),
          Buffer.from("mysql_native_password\0")
        ])
      ))
      socket.once("data", (reply) => {
        if (reply[4] !== 0) return reject(new Error(`Not let in: ${reply.toString("latin1", 7)}`))
        const connection = new Connection(socket)
        socket.on("data", (chunk) => connection.read(chunk))
        resolve(connection)
      })
    })
  })
}

export const open = async (target: Target): Promise<Subject<Callback>> => {
  const sessions = await Promise.all(Array.from({ length: target.connections }, async () => {
    const connection = await connect(target)
    return {
      connection,
      echo: await connection.prepare("select ?", asInt, 0),
      byKey: await connection.prepare("select label from item where id = ?", asText, 0),
      begin: await connection.prepare("start transaction", asInt),
      commit: await connection.prepare("commit", asInt),
      amount: await connection.prepare("select amount from item where id = ?", asInt, 0),
      change: await connection.prepare("update account set cents = cents + 1 where id = 1 + ? % 1000", asInt, 0),
      enter: await connection.prepare("insert into entry (account, cents) values (1 + ? % 1000, 1)", asInt, 0)
    }
  }))
  type Session = typeof sessions[number]

  const pick = (): Session => {
    let best = sessions[0]!
    for (let i = 1; i < sessions.length && best.connection.load > 0; i++) {
      if (sessions[i]!.connection.load < best.connection.load) best = sessions[i]!
    }
    return best
  }

  const idle = [...sessions]
  const queue: Array<(session: Session) => void> = []
  const alone = (use: (session: Session) => void): void => {
    const session = idle.pop()
    if (session === undefined) queue.push(use)
    else use(session)
  }
  const giveBack = (session: Session): void => {
    const use = queue.shift()
    if (use === undefined) idle.push(session)
    else use(session)
  }

  return {
    style: callbacks,
    close: async () => {
      for (const { connection } of sessions) connection.socket.destroy()
    },
    echo: (n) => (done) => {
      const session = pick()
      session.connection.request(session.echo, n, done)
    },
    byKey: (id) => (done) => {
      const session = pick()
      session.connection.request(session.byKey, id, done)
    },
    transaction: (key) => (done) =>
      alone((session) => {
        const { connection } = session
        connection.request(session.begin, 0, () => {})
        connection.request(session.amount, key, (value) => {
          connection.request(session.change, key, () => {
            connection.request(session.enter, key, () => {
              connection.request(session.commit, 0, (_, error) => {
                giveBack(session)
                done(value, error)
              })
            })
          })
        })
      })
  }
}
