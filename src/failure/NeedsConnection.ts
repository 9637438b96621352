import * as Data from "effect/Data"

/**
 * A statement was refused because what it does belongs to a connection that the next statement may not get: BEGIN, a
 * lock, a cursor. It was not sent.
 *
 * @category errors
 * @since 0.2.0
 */
export class NeedsConnection extends Data.TaggedError("NeedsConnection")<{
  /** The first words of the statement. */
  readonly statement: string
  /** What is to be used instead. */
  readonly instead: string
}> {
  override get message(): string {
    return `${this.statement} would be about a connection that the next statement may not get. Use ${this.instead}`
  }
}
