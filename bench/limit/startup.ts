/** The limit: a socket, one message, one number. */
import * as net from "node:net"

const { hostname, pathname, port, username } = new URL(process.env["BENCH_URL"]!)
const socket = net.connect({ host: hostname, port: Number(port) })
const parameters = Buffer.from(`\0\x03\0\0user\0${username}\0database\0${pathname.slice(1)}\0\0`, "latin1")
const startup = Buffer.alloc(4 + parameters.length)
startup.writeInt32BE(startup.length)
parameters.copy(startup, 4)
const sql = "select 1 as n\0"
const query = Buffer.alloc(5 + sql.length)
query.write("Q", "latin1")
query.writeInt32BE(query.length - 1, 1)
query.write(sql, 5, "latin1")
socket.write(Buffer.concat([startup, query]))
socket.on("data", (chunk) => {
  // A DataRow of one column: "D", the length, one column, one byte.
  const row = chunk.indexOf(Buffer.from([0x44, 0, 0, 0, 11, 0, 1, 0, 0, 0, 1]))
  if (row < 0) return
  process.stdout.write(`${chunk.toString("latin1", row + 11, row + 12)}\n`)
  socket.destroy()
})
