/** The limit for much data: LOAD DATA LOCAL over a raw socket, and the text protocol without looking at the values. */
import type * as net from "node:net"
import type { BulkRow, Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { connect } from "./mariadb.ts"

const size = 256 * 1024

/** Packets of tab separated lines, and an empty one at the end. */
const send = async (socket: net.Socket, rows: ReadonlyArray<BulkRow>): Promise<void> => {
  let sequence = 2
  const write = async (body: string): Promise<void> => {
    const bytes = Buffer.from(body)
    const head = Buffer.alloc(4)
    head.writeUIntLE(bytes.length, 0, 3)
    head[3] = sequence++ & 255
    socket.cork()
    socket.write(head)
    const more = socket.write(bytes)
    socket.uncork()
    if (!more) await new Promise((resolve) => socket.once("drain", resolve))
  }
  let text = ""
  for (const { at, data, id, name, price } of rows) {
    const time = at.toISOString()
    text += `${id}\t${name}\t${price}\t${time.slice(0, 10)} ${time.slice(11, 23)}\t${JSON.stringify(data)}\n`
    if (text.length > size) {
      await write(text)
      text = ""
    }
  }
  if (text !== "") await write(text)
  await write("")
}

export const open = async (target: Target): Promise<Subject<Promise<unknown>>> => {
  const connection = await connect(target)
  return {
    style: promises,
    close: async () => {
      connection.socket.destroy()
    },
    write: async (rows) => {
      await connection.query("load data local infile 'rows' into table bulk character set utf8mb4", (socket) => {
        void send(socket, rows)
      })
      return rows.length
    },
    read: async (count) => {
      let sum = 0
      await connection.query(`select * from bulk where id <= ${count}`, undefined, (chunk, start) => {
        const length = chunk[start]!
        sum += Number(chunk.toString("latin1", start + 1, start + 1 + length))
      })
      return sum
    }
  }
}
