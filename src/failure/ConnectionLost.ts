/**
 * The evidence that a lost connection leaves behind.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * A connection ended while a statement was under way.
 *
 * **Details**
 *
 * It is the `cause` of the `ConnectionError` that the statement fails with. Whether the statement may be repeated
 * depends on `sent` and `undone`: an error code cannot tell a request that the server never saw from one whose answer
 * was lost.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionLost extends Data.TaggedError("ConnectionLost")<{
  /**
   * Whether the server may have run the statement: not if no byte of it was handed to the socket, nor if the server
   * ended the session in order before it began with it.
   */
  readonly sent: boolean
  /** Whether the server has proved that it has undone what it had run of the statement. Default: it has not. */
  readonly undone?: boolean
  /** The last thing that the server said before the connection ended, such as `57P01` of an administrator. */
  readonly serverError?: unknown
  /** What ended the connection. */
  readonly cause?: unknown
}> {
  override get message(): string {
    if (this.undone === true) return "The connection was lost under the statement, which the server has undone"
    return this.sent
      ? "The connection was lost after the statement was sent: the server may or may not have run it"
      : "The connection was lost before the server began with the statement: it has not run it"
  }
}
