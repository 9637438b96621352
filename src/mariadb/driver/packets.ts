/** What arrives from the server, before the connector reads it. */
import type { Socket } from "node:net"
import { goodbyeIn, type Trouble } from "../../mysql-family/driver/boundary.ts"
import type { Connection } from "./connector.ts"

/** What has to be known of the connection inside, on which the packets arrive. */
export interface Inner {
  /** Sends the next command. The connector schedules it by itself, also when its socket is gone. */
  nextSendCmd: () => void
  readonly socket: Socket | undefined
  /** The commands that wait for their answer. */
  readonly receiveQueue: { shift: () => unknown; readonly isEmpty: () => boolean; readonly peekBack: () => unknown }
  readonly streamIn: {
    readonly sequenceNo: number
    readonly unexpectedPacket: (packet: Packet | undefined) => void
    readonly currentCmd: () => { readonly sequenceNo: number } | null
    receivePacket: (packet: Packet) => void
    onData: (chunk: Buffer) => void
  }
}

/** A part of a buffer. */
interface Packet {
  readonly buf: Buffer
  readonly pos: number
  readonly end: number
}

/** The connection inside, which is what its listeners are called with. */
export const innerOf = (connection: Connection): Inner => {
  let inner: unknown
  connection.on("newListener", function(this: unknown) {
    // oxlint-disable-next-line typescript/no-this-alias
    inner = this
  })
  connection.on("error", () => {})
  return inner as Inner
}

/** Puts the boundary around what arrives, and hears of an end that comes unasked. */
export const guardPackets = (inner: Inner, trouble: Trouble): void => {
  const { streamIn } = inner
  const receive = streamIn.receivePacket.bind(streamIn)
  streamIn.receivePacket = (packet) => {
    if (streamIn.sequenceNo === 0 && packet.buf[packet.pos] === 0xff) {
      const command = streamIn.currentCmd()
      // Nothing that belongs to the answer of a command has come yet, and an answer would have another number.
      if (command === null || command.sequenceNo <= 0) {
        return trouble.report(goodbyeIn(packet.buf.subarray(packet.pos, packet.end)))
      }
    }
    receive(packet)
  }
}

/** The command that prepares a statement. */
interface PrepareCommand {
  skipPrepareParameterPacket?: (packet: Packet, ...rest: ReadonlyArray<unknown>) => unknown
}

/**
 * Reads what a server of MySQL says of the parameters of the statement whose preparing has been asked for last. The
 * connector itself passes over it.
 */
export const typesOfParameters = (inner: Inner): ReadonlyArray<number> => {
  const types: Array<number> = []
  const command = inner.receiveQueue.peekBack() as PrepareCommand | undefined
  const skip = command?.skipPrepareParameterPacket
  if (skip === undefined) return types
  command!.skipPrepareParameterPacket = function(packet, ...rest) {
    // Behind the type come two bytes of flags, one of decimals and two of nothing.
    types.push(packet.buf[packet.end - 6]!)
    return skip.call(this, packet, ...rest)
  }
  return types
}
