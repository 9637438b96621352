/** Opens a TCP connection to a name: each of its addresses is tried, and none of them takes the time of the others. */
import { lookup as systemLookup } from "node:dns"
import * as Net from "node:net"

/** How a name becomes addresses. */
export interface Resolving {
  /** Asked for the addresses of a name, in place of the system. */
  readonly lookup: Net.LookupFunction | undefined
  /** Only addresses of this kind. */
  readonly family: 4 | 6 | undefined
  /** How long all of it may take, in milliseconds. Whoever calls keeps to it. */
  readonly connectTimeout: number
}

/** The first attempts of TCP go out after 0 and 1 s: who has not answered within it is probably not there. */
const longestShare = 1_000

/** The shortest share that `net` knows. */
const shortestShare = 10

/** A socket that connects. What goes wrong, asking for the addresses too, comes as its `error`. */
export const dial = (
  host: string,
  port: number,
  resolving: Resolving,
  options: Net.SocketConstructorOpts
): Net.Socket => {
  const socket = new Net.Socket(options)
  if (Net.isIP(host) !== 0) return socket.connect({ host, port })
  const { connectTimeout, family, lookup = systemLookup as Net.LookupFunction } = resolving
  const onAddresses = (addresses: ReadonlyArray<Address>): void => {
    if (addresses.length === 1) return void socket.connect({ host: addresses[0]!.address, port })
    // By itself `net` gives up an address after a quarter of a second, which is less than a far one needs.
    const share = Math.max(shortestShare, Math.min(longestShare, connectTimeout / addresses.length))
    socket.connect({
      host,
      port,
      lookup: (_host, _options, callback) => callback(null, [...addresses]),
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: Math.floor(share)
    })
  }
  const ask = (): void =>
    lookup(host, { all: true, family: family ?? 0 }, (error, found, kind) => {
      if (socket.destroyed) return
      if (error !== null && error !== undefined) return void socket.destroy(error)
      // A function of the user's own may know of one address only.
      const all: ReadonlyArray<Address> = Array.isArray(found)
        ? found
        : [{ address: found, family: kind ?? Net.isIP(found) }]
      const addresses = family === undefined ? all : all.filter(({ address }) => Net.isIP(address) === family)
      if (addresses.length === 0) {
        return void socket.destroy(new Error(`${host} has no address${family === undefined ? "" : ` of IPv${family}`}`))
      }
      onAddresses(addresses)
    })
  // A function of the user's own may throw, and nobody listens to the socket yet.
  try {
    ask()
  } catch (cause) {
    process.nextTick(() => socket.destroy(cause instanceof Error ? cause : new Error("`lookup` threw", { cause })))
  }
  return socket
}

interface Address {
  readonly address: string
  readonly family: number
}
