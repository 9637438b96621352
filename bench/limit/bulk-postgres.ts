/** The limit for much data: binary COPY over a raw socket. */
import type { BulkRow, Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { connect, type Connection, message, text } from "./postgres.ts"

const signature = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1")
const end = Buffer.from([0xff, 0xff])
const size = 256 * 1024

/** Milliseconds from 1970 to 2000, where PostgreSQL begins to count. */
const epoch = 946_684_800_000

const copyIn = async (connection: Connection, rows: ReadonlyArray<BulkRow>): Promise<number> => {
  const { socket } = connection
  const done = connection.send(message("Q", text("copy bulk from stdin (format binary)")))
  let buffer = Buffer.allocUnsafe(size)
  // Behind the head of the message.
  let at = 5
  const write = async (): Promise<void> => {
    buffer[0] = 0x64
    buffer.writeInt32BE(at - 1, 1)
    if (!socket.write(buffer.subarray(0, at))) await new Promise((resolve) => socket.once("drain", resolve))
    buffer = Buffer.allocUnsafe(size)
    at = 5
  }
  at += signature.copy(buffer, at)
  for (const { at: time, data, id, name, price } of rows) {
    if (size - at < 2048) await write()
    at = buffer.writeInt16BE(5, at)
    at = buffer.writeInt32BE(4, at)
    at = buffer.writeInt32BE(id, at)
    const length = buffer.write(name, at + 4)
    buffer.writeInt32BE(length, at)
    at += 4 + length
    at = buffer.writeInt32BE(8, at)
    at = buffer.writeDoubleBE(price, at)
    at = buffer.writeInt32BE(8, at)
    // Microseconds in 64 bits; a double holds them exactly.
    const micros = (time.getTime() - epoch) * 1000
    const high = Math.floor(micros / 0x1_0000_0000)
    at = buffer.writeInt32BE(high, at)
    at = buffer.writeUInt32BE(micros - high * 0x1_0000_0000, at)
    const json = buffer.write(JSON.stringify(data), at + 5)
    buffer.writeInt32BE(json + 1, at)
    buffer[at + 4] = 1
    at += 5 + json
  }
  at += end.copy(buffer, at)
  await write()
  socket.write(message("c"))
  await done
  return rows.length
}

const copyOut = async (connection: Connection, count: number): Promise<number> => {
  let sum = 0
  let rows = 0
  connection.onCopyData = (chunk, start, stop) => {
    // The signature comes with the first row.
    let at = rows === 0 && chunk[start] === 0x50 ? start + 19 : start
    if (at >= stop || chunk.readInt16BE(at) !== 5) return
    const id = chunk.readInt32BE(at + 6)
    at += 10
    const nameLength = chunk.readInt32BE(at)
    const name = chunk.toString("utf8", at + 4, at + 4 + nameLength)
    at += 4 + nameLength
    const price = chunk.readDoubleBE(at + 4)
    at += 12
    const micros = chunk.readInt32BE(at + 4) * 0x1_0000_0000 + chunk.readUInt32BE(at + 8)
    at += 12
    const dataLength = chunk.readInt32BE(at)
    const data: unknown = JSON.parse(chunk.toString("utf8", at + 5, at + 4 + dataLength))
    const row = { id, name, price, at: new Date(micros / 1000 + epoch), data }
    sum += row.id
    rows++
  }
  await connection.send(message("Q", text(`copy (select * from bulk where id <= ${count}) to stdout (format binary)`)))
  return sum
}

export const open = async (target: Target): Promise<Subject<Promise<unknown>>> => {
  const connection = await connect(target, [])
  return {
    style: promises,
    close: async () => {
      connection.socket.destroy()
    },
    write: (rows) => copyIn(connection, rows),
    read: (count) => copyOut(connection, count)
  }
}
