import { TaggedError } from "../options/TaggedError.ts"

const messages = {
  NoFiber: "This Kysely builds queries and runs none: give the query to `run`, or take the Kysely that `use` gives",
  OneConnection:
    "A second statement on one connection outside of a transaction: `db.connection()` keeps no session here, use `sql.reserve`",
  Savepoint: "A savepoint by name is not supported: a transaction inside a transaction is one, see `Transaction.run`",
  Thrown: "The function that was given to `use` has failed"
} as const

/**
 * Kysely was used in a way that this library does not have, or a function that was given to `use` threw something.
 *
 * @category errors
 * @since 0.2.0
 */
export class KyselyError extends TaggedError("KyselyError")<{
  readonly reason: keyof typeof messages
  readonly cause?: unknown
}> {
  override get message(): string {
    const { cause, reason } = this
    return cause instanceof Error ? `${messages[reason]}: ${cause.message}` : messages[reason]
  }
}
