/** Counts the attempts to connect that a library makes, also those that are refused and reach nobody. */
import * as net from "node:net"

let count = 0

const { connect } = net.Socket.prototype

net.Socket.prototype.connect = function(this: net.Socket, ...args: Parameters<typeof connect>) {
  count++
  return connect.apply(this, args)
} as typeof connect

/** How many there were so far. The module must be loaded before the library is. */
export const connects = (): number => count
