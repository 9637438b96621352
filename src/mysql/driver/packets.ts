/** What arrives from the server, before `mysql2` reads it. */
import type { Duplex } from "node:stream"
import { brokenBy, goodbyeIn, ProtocolBroken, type Trouble } from "../../mysql-family/driver/boundary.ts"

/** What has to be known of the driver inside. */
export interface Inner {
  readonly stream: Duplex
  readonly sequenceId: number
  readonly _paused: boolean
  readonly _command: unknown
  handlePacket: (packet: Packet | undefined) => void
}

/** A part of a buffer. */
interface Packet {
  readonly buffer: Buffer
  readonly offset: number
  readonly end: number
  readonly sequenceId: number
}

/** How packets are read, as far as the driver trusts the server with it. */
interface PacketClass {
  readLengthCodedNumberExt: (this: unknown, tag: number, ...rest: ReadonlyArray<unknown>) => unknown
  parseInt: (this: unknown, length: number, ...rest: ReadonlyArray<unknown>) => unknown
  parseIntNoBigCheck: (this: unknown, length: number) => unknown
}

let isHardened = false

/** More digits than any number has. */
const mostDigits = 255

/**
 * A length that cannot be makes the driver print its stack on the program's console, and read the digits of a number for
 * years. Both are errors here.
 */
const harden = (packets: PacketClass): void => {
  isHardened = true
  const { parseInt, parseIntNoBigCheck, readLengthCodedNumberExt } = packets
  packets.readLengthCodedNumberExt = function(tag, ...rest) {
    if (tag >= 0xfb && tag <= 0xfe) return readLengthCodedNumberExt.call(this, tag, ...rest)
    throw new ProtocolBroken("the server sent a length that cannot be")
  }
  packets.parseInt = function(length, ...rest) {
    if (length > mostDigits) throw new ProtocolBroken("the server sent a number that cannot be")
    return parseInt.call(this, length, ...rest)
  }
  packets.parseIntNoBigCheck = function(length) {
    if (length > mostDigits) throw new ProtocolBroken("the server sent a number that cannot be")
    return parseIntNoBigCheck.call(this, length)
  }
}

/**
 * Puts the boundary around what arrives. The driver itself only prints that packets have numbers out of order, and
 * goes on with them.
 */
export const guardPackets = (inner: Inner, trouble: Trouble): void => {
  const handle = inner.handlePacket.bind(inner)
  const handleExpected = (packet: Packet | undefined): void => {
    if (packet === undefined || inner._paused) return handle(packet)
    if (!isHardened) harden(Object.getPrototypeOf(packet) as PacketClass)
    const isAwaited = inner._command !== null && inner._command !== undefined
    if (isAwaited && inner.sequenceId === packet.sequenceId) return handle(packet)
    trouble.report(
      packet.buffer[packet.offset] === 0xff && (!isAwaited || packet.sequenceId === 0)
        ? goodbyeIn(packet.buffer.subarray(packet.offset, packet.end))
        : new ProtocolBroken("the server sent a packet that is no answer, or not the next one")
    )
  }
  // For each row: without the arguments of `guarded`.
  inner.handlePacket = (packet) => {
    try {
      handleExpected(packet)
    } catch (cause) {
      trouble.report(brokenBy(cause))
    }
  }
}
