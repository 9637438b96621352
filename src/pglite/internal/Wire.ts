/**
 * A socket whose other end is an embedded PostgreSQL in this process.
 *
 * PGlite speaks the wire protocol itself, startup included, so bytes go in and come out as they are. It runs each
 * message to its end before anything else in this process runs.
 */
import type { PGlite } from "@electric-sql/pglite"
import { Buffer } from "node:buffer"
import { Duplex } from "node:stream"

/** `Terminate`: an embedded server must not be ended with a session. */
const terminate = 0x58

export class Wire extends Duplex {
  private readonly database: PGlite
  private started = false

  constructor(database: PGlite) {
    super({ allowHalfOpen: false })
    this.database = database
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.started && chunk[0] === terminate) return done()
    this.started = true
    this.database.execProtocolRawStream(chunk, {
      // The bytes lie in the memory of the database, which uses it for the next ones.
      onRawData: (bytes) => void this.push(Buffer.from(bytes))
    }).then(() => done(), done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.push(null)
    done()
  }
}
