import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as TransactionError from "./TransactionError.ts"

type Reason = TransactionError.TransactionErrorReason
type ReasonOf<Tag extends Reason["_tag"]> = Extract<Reason, { readonly _tag: Tag }>

/**
 * Handles one reason why a transaction did not do what was asked for.
 *
 * **Details**
 *
 * The reason is found inside of the `SqlError` that a transaction fails with. The handler gets the reason with its fields,
 * and the `SqlError`. Every other failure goes on.
 *
 * **Example** (A request that was handled before)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Transaction } from "watertight"
 *
 * const once = (requestId: string) =>
 *   Effect.succeed("booked").pipe(
 *     Transaction.run({ idempotencyKey: requestId }),
 *     Transaction.catchReason("AlreadyApplied", () => Effect.succeed("booked before")),
 *     Transaction.catchReason("CommitUnknown", (reason) => Effect.fail(`ask later: ${reason.database}`))
 *   )
 * ```
 *
 * @category error handling
 * @since 0.2.0
 */
export const catchReason: {
  <const Tag extends Reason["_tag"], A2, E2, R2>(
    tag: Tag,
    handler: (reason: ReasonOf<Tag>, error: SqlError) => Effect.Effect<A2, E2, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | A2, E | E2, R | R2>
  <A, E, R, const Tag extends Reason["_tag"], A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    tag: Tag,
    handler: (reason: ReasonOf<Tag>, error: SqlError) => Effect.Effect<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2>
} = dual(
  3,
  <A, E, R, const Tag extends Reason["_tag"], A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    tag: Tag,
    handler: (reason: ReasonOf<Tag>, error: SqlError) => Effect.Effect<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2> =>
    Effect.catch(self, (error): Effect.Effect<A2, E | E2, R2> => {
      const reason = isSqlError(error) ? TransactionError.fromSqlError(error)?.reason : undefined
      return reason?._tag === tag ? handler(reason as ReasonOf<Tag>, error as unknown as SqlError) : Effect.fail(error)
    })
)
