/** What a proxy does with one direction of a connection: it looks for bytes, and carries them, late if it is told to. */
import type * as net from "node:net"

/**
 * Bytes to look for in a stream, also when they arrive in pieces; or a predicate on each chunk as it arrives.
 *
 * @category models
 * @since 0.2.0
 */
export type Pattern = string | Uint8Array | ((chunk: Buffer) => boolean)

/** Finds a pattern in a stream whose chunks may end anywhere. */
export class Finder {
  private tail = Buffer.alloc(0)
  private readonly pattern: Buffer | ((chunk: Buffer) => boolean)

  constructor(pattern: Pattern) {
    this.pattern = typeof pattern === "function" ? pattern : Buffer.from(pattern)
  }

  find(chunk: Buffer): boolean {
    if (typeof this.pattern === "function") {
      return this.pattern(chunk)
    }
    const text = Buffer.concat([this.tail, chunk])
    const found = text.includes(this.pattern)
    // After a find nothing of it may be found again.
    this.tail = found ? Buffer.alloc(0) : text.subarray(Math.max(0, text.length - this.pattern.length + 1))
    return found
  }
}

/** One direction of a connection: carries chunks, and at last the end, in order and possibly late. */
export class Pipe {
  private readonly queue: Array<{
    readonly due: number
    /** `undefined` is the end of the stream. */
    readonly chunk: Uint8Array | undefined
    readonly delivered: (() => void) | undefined
  }> = []
  private timer: NodeJS.Timeout | undefined
  private held = false
  private readonly source: net.Socket
  private readonly target: net.Socket
  private readonly delay: () => number
  private readonly onBytes: (count: number) => void

  constructor(source: net.Socket, target: net.Socket, delay: () => number, onBytes: (count: number) => void) {
    this.source = source
    this.target = target
    this.delay = delay
    this.onBytes = onBytes
    target.on("drain", () => source.resume())
  }

  push(chunk: Uint8Array, delivered?: () => void): void {
    this.enqueue(chunk, delivered)
  }

  end(): void {
    this.enqueue(undefined, undefined)
  }

  hold(): void {
    this.held = true
  }

  release(): void {
    this.held = false
    this.pump()
  }

  /** Throws away what has not been delivered. */
  clear(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.queue.length = 0
  }

  private enqueue(chunk: Uint8Array | undefined, delivered: (() => void) | undefined): void {
    const delay = this.delay()
    this.queue.push({ due: delay === 0 ? 0 : performance.now() + delay, chunk, delivered })
    this.pump()
  }

  private pump(): void {
    while (this.timer === undefined && !this.held && this.queue.length > 0) {
      const { due, chunk, delivered } = this.queue[0]!
      const wait = due - performance.now()
      if (wait > 0) {
        this.timer = setTimeout(() => {
          this.timer = undefined
          this.pump()
        }, Math.ceil(wait))
        return
      }
      this.queue.shift()
      if (this.target.destroyed || this.target.writableEnded) {
        delivered?.()
      } else if (chunk === undefined) {
        this.target.end()
      } else {
        this.onBytes(chunk.length)
        if (!this.target.write(chunk, delivered)) {
          this.source.pause()
        }
      }
    }
  }
}
