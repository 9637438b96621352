/**
 * A socket whose other end is an embedded PostgreSQL in this process.
 *
 * PGlite speaks the wire protocol itself, startup included, so bytes go in and come out as they are. It runs each
 * message to its end before anything else in this process runs. So it cannot wait for the data of a COPY: that is held
 * back here until its end is there, and then goes in with the statement, in one piece.
 */
import type { PGlite } from "@electric-sql/pglite"
import { Buffer } from "node:buffer"
import { Duplex } from "node:stream"
import { copyFail, simpleQuery } from "../postgres/wire/frames.ts"
import type { Channels } from "./Channels.ts"

const Type = {
  CopyData: 0x64,
  CopyFail: 0x66,
  CopyInResponse: 0x47,
  Query: 0x51,
  ReadyForQuery: 0x5a,
  Sync: 0x53,
  /** An embedded server must not be ended with a session. */
  Terminate: 0x58
} as const

/** Text, and no columns: whoever sends the data knows its format. */
const copyInResponse = Buffer.from([Type.CopyInResponse, 0, 0, 0, 7, 0, 0, 0])

/** The command tags of what ends all listening. */
const stops = ["UNLISTEN\0", "DISCARD ALL\0"]

export class ProtocolStream extends Duplex {
  private readonly database: PGlite
  private readonly channels: Channels
  private started = false
  /** The COPY that is held back, and its data so far. */
  private copy: Array<Uint8Array> | undefined = undefined
  /** The status with which the last answer ended, or `undefined` if that was no end. */
  private status: string | undefined = undefined

  constructor(database: PGlite, channels: Channels) {
    super({ allowHalfOpen: false })
    this.database = database
    this.channels = channels
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (!this.started) {
      this.started = true
      return finish(this.execute(chunk, this.answer), done)
    }
    if (chunk[0] === Type.Terminate) return done()
    const { copy } = this
    if (copy !== undefined) {
      copy.push(chunk)
      if (chunk[0] === Type.CopyData) return done()
      this.copy = undefined
      const messages = chunk[0] === Type.CopyFail ? [copy[0]!, chunk] : copy
      // Should the text have a second COPY, it must not wait for data either.
      messages.push(copyFail)
      const answer: Array<Buffer> = []
      return finish(
        this.run(Buffer.concat(messages), (bytes) => void answer.push(bytes)).then(() => {
          this.push(withoutCopyInResponse(Buffer.concat(answer)))
        }),
        done
      )
    }
    if (takesData(chunk)) {
      this.copy = [chunk]
      this.push(copyInResponse)
      return done()
    }
    // Whatever ends the listening may have what notifies behind it.
    const cycles = this.channels.isEmpty ? [chunk] : cyclesOf(chunk)
    finish(cycles.reduce((before, cycle) => before.then(() => this.run(cycle, this.answer)), Promise.resolve()), done)
  }

  private readonly answer = (bytes: Buffer): void => void this.push(bytes)

  private run(message: Uint8Array, onData: (bytes: Buffer) => void): Promise<void> {
    const listen = this.channels.due(this.status)
    const send = (): Promise<void> => this.execute(message, onData)
    return listen === undefined ? send() : this.execute(simpleQuery(listen), () => {}).then(send)
  }

  private execute(message: Uint8Array, onData: (bytes: Buffer) => void): Promise<void> {
    let end = Buffer.alloc(0)
    let stopsListening = false
    const executed = this.database.execProtocolRawStream(message, {
      onRawData: (raw) => {
        // The bytes lie in the memory of the database, which uses it for the next ones.
        const bytes = Buffer.from(raw)
        const seen = Buffer.concat([end, bytes])
        stopsListening ||= stops.some((tag) => seen.includes(tag))
        end = seen.subarray(-endSize)
        onData(bytes)
      }
    })
    return executed.then(() => {
      if (stopsListening) this.channels.forget()
      const ready = end.subarray(-readySize)
      this.status = ready[0] === Type.ReadyForQuery && ready.readInt32BE(1) === readySize - 1
        ? String.fromCharCode(ready[5]!)
        : undefined
    })
  }

  override _final(done: (error?: Error | null) => void): void {
    this.push(null)
    done()
  }
}

/** How large a `ReadyForQuery` is. */
const readySize = 6

/** What the end of an answer is looked for in, or of a part of it: no tag that matters is longer. */
const endSize = 16

const finish = (written: Promise<void>, done: (error?: Error | null) => void): void => {
  written.then(() => done(), done)
}

/** The messages in a buffer: their types, and where they begin and end. */
const messagesOf = function*(bytes: Buffer): Generator<readonly [type: number, start: number, end: number]> {
  for (let start = 0; start + 5 <= bytes.length;) {
    const end = start + 1 + bytes.readInt32BE(start + 1)
    yield [bytes[start]!, start, end]
    start = end
  }
}

/** The parts of a buffer that end with a message after which the server says that it is ready, and the rest. */
const cyclesOf = (bytes: Buffer): Array<Buffer> => {
  const cycles: Array<Buffer> = []
  let begin = 0
  for (const [type, , end] of messagesOf(bytes)) {
    if (type !== Type.Query && type !== Type.Sync && end < bytes.length) continue
    cycles.push(bytes.subarray(begin, end))
    begin = end
  }
  return cycles
}

/** Whether a simple query asks for data. One that only seems to is told that there is none, and does not mind. */
const takesData = (bytes: Buffer): boolean => {
  for (const [type, start, end] of messagesOf(bytes)) {
    if (type === Type.Query && /\bfrom\s+stdin\b/i.test(bytes.toString("utf8", start + 5, end))) return true
  }
  return false
}

/** The answer without what was said already. */
const withoutCopyInResponse = (answer: Buffer): Buffer =>
  Buffer.concat(
    Array.from(
      messagesOf(answer),
      ([type, start, end]) => type === Type.CopyInResponse ? Buffer.alloc(0) : answer.subarray(start, end)
    )
  )
