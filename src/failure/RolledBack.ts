/**
 * What a COMMIT can be answered with besides success and failure.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * The server answered COMMIT by rolling back, because the transaction had failed before.
 *
 * **Details**
 *
 * It is the `cause` of the `SqlError` that an adapter's `commit` fails with then.
 *
 * @category errors
 * @since 0.1.0
 */
export class RolledBack extends Data.TaggedError("RolledBack")<{}> {
  override get message(): string {
    return "The server answered COMMIT by rolling the transaction back"
  }
}
