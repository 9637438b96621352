/**
 * The boundary around the code that runs in callbacks of sockets and drivers.
 *
 * An exception there would end the process. Here it is the loss of one connection: bytes that are no answer say nothing
 * about any other one.
 */
import type { EventEmitter } from "node:events"

/** What the server sent could not be read. The message shows none of it. */
export class ProtocolBroken extends Error {
  /** As the drivers mark errors after which the connection cannot be used. */
  readonly fatal = true

  constructor(problem: string, options?: { readonly cause: unknown }) {
    super(problem, options)
    this.name = "ProtocolBroken"
  }
}

/**
 * The server has ended the session without being asked anything: what was written meanwhile it has not begun with.
 *
 * An answer continues the numbers of the packets of its question; this one begins anew.
 */
export class Goodbye extends Error {
  readonly fatal = true
  readonly errno: number
  readonly sqlState: string | undefined
  readonly sqlMessage: string

  constructor(errno: number, sqlState: string | undefined, message: string) {
    super(message)
    this.name = "Goodbye"
    this.errno = errno
    this.sqlState = sqlState
    this.sqlMessage = message
  }
}

/** Reads the packet of an error, which begins with its mark, 0xff. */
export const goodbyeIn = (packet: Buffer): Goodbye => {
  const hasState = packet[3] === 0x23
  return new Goodbye(
    packet.readUInt16LE(1),
    hasState ? packet.toString("latin1", 4, 9) : undefined,
    packet.toString("utf8", hasState ? 9 : 3)
  )
}

/** The function without its exceptions: they are reported to `fail`. */
export const guarded = <Args extends ReadonlyArray<any>>(
  f: (...args: Args) => void,
  fail: (error: ProtocolBroken) => void
) =>
(...args: Args): void => {
  try {
    f(...args)
  } catch (cause) {
    fail(brokenBy(cause))
  }
}

/** An exception in the code that reads. Its message may show what was read. */
export const brokenBy = (cause: unknown): ProtocolBroken =>
  cause instanceof ProtocolBroken ? cause : new ProtocolBroken(
    `what the server sent could not be read (${cause instanceof Error ? cause.name : typeof cause})`,
    { cause }
  )

/** Puts the boundary around what listens to a socket. */
export const guardData = (socket: EventEmitter, fail: (error: ProtocolBroken) => void): void => {
  for (const listener of socket.listeners("data")) {
    socket.off("data", listener as (chunk: Buffer) => void)
    socket.on("data", guarded((chunk: Buffer) => listener.call(socket, chunk), fail))
  }
}

/** What goes wrong with a connection outside of any statement. A listener that comes late hears of it too. */
export class Trouble {
  private first: { readonly error: unknown } | undefined = undefined
  private readonly listeners: Array<(error: unknown) => void> = []

  readonly report = (error: unknown): void => {
    if (this.first !== undefined) return
    this.first = { error }
    for (const listener of this.listeners.splice(0)) listener(error)
  }

  listen(listener: (error: unknown) => void): void {
    if (this.first !== undefined) listener(this.first.error)
    else this.listeners.push(listener)
  }
}
