/**
 * The first packet of a connection. The server speaks first, and says whether it offers TLS. The drivers decide about
 * TLS before they have heard it, so it is read here, and given back to the socket for the driver to read again.
 */
import type { Socket } from "node:net"

/** What the server says first. */
export interface Greeting {
  /** `false` also where it refuses the connection instead of greeting. */
  readonly offersTls: boolean
}

/** Larger than any greeting. */
const maxGreeting = 64 * 1024

const clientSsl = 0x0800

/** Waits for the greeting. Calls back once; the socket is paused then, and resumes with the driver. */
export const readGreeting = (socket: Socket, done: (error: Error | undefined, greeting: Greeting) => void): void => {
  let bytes: Buffer = Buffer.alloc(0)
  const end = (error: Error | undefined, greeting: Greeting = { offersTls: false }) => {
    socket.off("data", onData)
    socket.off("error", onError)
    socket.off("close", onClose)
    socket.pause()
    done(error, greeting)
  }
  const onError = (error: Error) => end(error)
  const onClose = () => end(new Error("the server closed the connection without a word"))
  const onData = (chunk: Buffer) => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
    if (bytes.length < 5) return
    const size = bytes.readUIntLE(0, 3)
    const kind = bytes[4]!
    // The version of the protocol, or an error instead of it.
    if (size > maxGreeting || kind !== 10 && kind !== 255) {
      return end(new Error("what answers there is no server of MySQL or MariaDB"))
    }
    if (bytes.length < size + 4) return
    socket.off("data", onData)
    socket.pause()
    socket.unshift(bytes)
    end(undefined, { offersTls: kind === 10 && offersTls(bytes.subarray(4, size + 4)) })
  }
  socket.on("data", onData)
  socket.on("error", onError)
  socket.on("close", onClose)
}

/** The flags stand behind the version's text, the number of the connection, and the first part of the scramble. */
const offersTls = (greeting: Buffer): boolean => {
  const at = greeting.indexOf(0, 1) + 1 + 4 + 8 + 1
  return at > 1 && at + 2 <= greeting.length && (greeting.readUInt16LE(at) & clientSsl) !== 0
}
