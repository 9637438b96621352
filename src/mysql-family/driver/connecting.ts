import type { Socket } from "node:net"
import type { Trouble } from "./boundary.ts"
import type { Driver } from "./Driver.ts"

type Done = Parameters<Driver["connect"]>[1]

/** Tells once what became of connecting. With any trouble before that it has failed, and the socket is given up. */
export const toldOnce = (socket: Socket, trouble: Trouble, done: Done): Done => {
  let isTold = false
  const tell: Done = (error, connection) => {
    if (isTold) return
    isTold = true
    done(error, connection)
  }
  trouble.listen((error) => {
    socket.destroy()
    tell(error, undefined)
  })
  return tell
}
