/** Who has ended a session, as far as what the driver and the socket report tells. */
import { Goodbye, ProtocolBroken } from "../driver/boundary.ts"
import { describe, type MysqlError, serverErrorOf } from "../errors/errors.ts"
import type { Ending } from "./Termination.ts"

/**
 * The connection failed. `lastWord` is an error that the server has answered before, after which it ends sessions.
 */
export const endingOf = (error: unknown, lastWord: MysqlError | undefined): Ending => {
  const serverError = serverErrorOf(error) ?? lastWord
  if (serverError !== undefined) {
    return {
      what: `the server ended the session: ${serverError.message} (${serverError.errno})`,
      endedBy: "Server",
      serverError,
      cause: error,
      hasBegunNothing: error instanceof Goodbye
    }
  }
  if (error === undefined) return { what: "the server closed the connection", endedBy: "Silence" }
  const { code } = error as { readonly code?: unknown }
  return {
    what: `the connection failed: ${describe(error)}`,
    endedBy: !(error instanceof ProtocolBroken) && isClose(code) ? "Silence" : "Network",
    cause: error
  }
}

/** How the drivers call it when the other side closes the connection without a word. */
const isClose = (code: unknown): boolean => code === "PROTOCOL_CONNECTION_LOST" || code === "ER_SOCKET_UNEXPECTED_CLOSE"
