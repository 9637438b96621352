/**
 * The evidence that a statement leaves behind whose result was lost on our side.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * The server has run a statement and said so, but its result cannot be given: running it again would do it twice.
 *
 * **Details**
 *
 * It is the `cause` of the `SqlError` that the statement fails with.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResultUnreadable extends Data.TaggedError("ResultUnreadable")<{ readonly cause?: unknown }> {
  override get message(): string {
    return "The statement was run, but its result cannot be read"
  }
}
