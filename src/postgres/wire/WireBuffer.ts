/**
 * A buffer that grows, into which values are written in PostgreSQL's binary form.
 *
 * It is what the driver's writer is to a `Bind`, for data that comes by the thousand: whoever fills it takes the bytes
 * out before it has grown large, and can take back what a value has begun that turned out not to fit.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { Buffer } from "node:buffer"

const encoder = new TextEncoder()

/** Up to here a loop is faster than the encoder, which costs a while before it looks at the first character. */
const shortText = 48

export class WireBuffer implements PgProtocol.ValueSink {
  bytes: Buffer
  offset = 0
  /** Where data begins: what is in front of it is the head of a message. */
  readonly start: number
  private readonly size: number

  constructor(size: number, start: number) {
    this.start = start
    this.size = size
    this.offset = start
    this.bytes = Buffer.allocUnsafeSlow(size)
  }

  /** How many bytes of data there are. */
  get length(): number {
    return this.offset - this.start
  }

  /** Gives the bytes away and begins anew. */
  take(): Buffer {
    const taken = this.bytes.subarray(0, this.offset)
    // Not as large as it has become: one large row would make every message after it as large.
    this.bytes = Buffer.allocUnsafeSlow(this.size)
    this.offset = this.start
    return taken
  }

  /** Makes room. */
  reserve(size: number): void {
    const needed = this.offset + size
    if (needed <= this.bytes.length) return
    let capacity = this.bytes.length * 2
    while (capacity < needed) capacity *= 2
    const bytes = Buffer.allocUnsafeSlow(capacity)
    bytes.set(this.bytes.subarray(0, this.offset), 0)
    this.bytes = bytes
  }

  uint8(value: number): void {
    this.reserve(1)
    this.bytes[this.offset++] = value
  }

  int16(value: number): void {
    this.reserve(2)
    const { bytes, offset } = this
    bytes[offset] = value >>> 8
    bytes[offset + 1] = value
    this.offset = offset + 2
  }

  int32(value: number): void {
    this.reserve(4)
    this.setInt32(this.offset, value)
    this.offset += 4
  }

  private setInt32(offset: number, value: number): void {
    const { bytes } = this
    bytes[offset] = value >>> 24
    bytes[offset + 1] = value >>> 16
    bytes[offset + 2] = value >>> 8
    bytes[offset + 3] = value
  }

  float32(value: number): void {
    this.reserve(4)
    this.offset = this.bytes.writeFloatBE(value, this.offset)
  }

  float64(value: number): void {
    this.reserve(8)
    this.offset = this.bytes.writeDoubleBE(value, this.offset)
  }

  bigInt64(value: bigint): void {
    this.reserve(8)
    this.offset = this.bytes.writeBigInt64BE(value, this.offset)
  }

  raw(value: Uint8Array): void {
    this.reserve(value.length)
    this.bytes.set(value, this.offset)
    this.offset += value.length
  }

  utf8(value: string): void {
    const { length } = value
    if (length <= shortText) {
      this.reserve(length)
      const { bytes, offset } = this
      let index = 0
      for (; index < length; index++) {
        const code = value.charCodeAt(index)
        if (code > 0x7f) break
        bytes[offset + index] = code
      }
      if (index === length) {
        this.offset = offset + length
        return
      }
    }
    this.reserve(length * 3)
    this.offset += encoder.encodeInto(value, this.bytes.subarray(this.offset)).written
  }

  sqlNull(): void {
    throw new Error("A null is written in place of a value, not as one")
  }

  beginLength(): number {
    this.reserve(4)
    const token = this.offset
    this.offset = token + 4
    return token
  }

  endLength(token: number): void {
    this.setInt32(token, this.offset - token - 4)
  }
}
