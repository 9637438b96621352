/**
 * What the kernel has taken of what was written to a socket, and what it refused.
 *
 * **Details**
 *
 * A server that ends a session in order says why first. When a write finds the connection closed, that last word may
 * still lie in the kernel's buffer, and Node throws away all that arrives after a write has failed. So Node learns of
 * the failure only after the event loop has read what is there.
 *
 * What the kernel has not taken the server has never seen, however the session ended. A write that is refused at once
 * was not taken at all. One that fails later was taken in part, but not to its end.
 */
import { Buffer } from "node:buffer"
import type { Duplex } from "node:stream"
import { afterReading } from "../timing/StallGuard.ts"

type Done = (error?: Error | null) => void

/** The two methods by which a stream writes, which those who make streams provide. */
interface Writing {
  _write?: (chunk: Uint8Array | string, encoding: BufferEncoding, done: Done) => void
  _writev?: ((chunks: Array<{ chunk: any; encoding: BufferEncoding }>, done: Done) => void) | null
}

/** The server reads nothing of a record of TLS that it has not whole. */
const largestRecord = 16_384

export class Writes {
  /** How many bytes the kernel has taken, or may have. */
  accepted = 0
  /** Whether no write was taken in part. */
  isWhole = true

  private readonly socket: Duplex
  private readonly encrypted: boolean
  /** How long the write is that is under way; a stream has one at a time. */
  private length = 0
  private isAtOnce = false
  private done: Done = () => {}

  constructor(socket: Duplex, encrypted: boolean) {
    this.socket = socket
    this.encrypted = encrypted
    const stream = socket as unknown as Writing
    const { _write: write, _writev: writev } = stream
    // A stream that writes in another way tells nothing.
    if (typeof write !== "function") {
      this.accepted = Infinity
      return
    }
    stream._write = (chunk, encoding, done) => {
      // Bun writes several chunks by writing one. That is the same write.
      if (done === this.onDone) return write.call(socket, chunk, encoding, done)
      this.begin(Buffer.byteLength(chunk, encoding), done)
      write.call(socket, chunk, encoding, this.onDone)
      this.isAtOnce = false
    }
    if (typeof writev !== "function") return
    stream._writev = (chunks, done) => {
      this.begin(chunks.reduce((sum, { chunk, encoding }) => sum + Buffer.byteLength(chunk, encoding), 0), done)
      writev.call(socket, chunks, this.onDone)
      this.isAtOnce = false
    }
  }

  /** Where what was given to the socket so far ends, counted as `accepted` is. */
  get given(): number {
    return this.accepted + this.socket.writableLength - this.length
  }

  private begin(length: number, done: Done): void {
    this.length = length
    this.accepted += length
    this.done = done
    this.isAtOnce = true
  }

  private readonly onDone: Done = (error) => {
    const { done, length } = this
    this.length = 0
    if (error === undefined || error === null) return done()
    const isRefused = this.isAtOnce || this.encrypted && length <= largestRecord
    this.accepted -= isRefused ? length : 1
    this.isWhole = isRefused
    afterReading(() => done(error))
  }
}
