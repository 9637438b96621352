/**
 * A time limit for the statements of one piece of work, instead of the `statementTimeout` of the database.
 *
 * **When to use**
 *
 * Give a database a short `statementTimeout`, as every program that serves people should, and a longer one to what needs
 * it: reports, migrations, bulk loads, streams. Or a shorter one to what must be quick.
 *
 * **Details**
 *
 * It holds for each statement of the effect, in a transaction and outside of one, and for both sides: the session sets
 * the limit of the server and its own together. Inside another limit the inner one holds. `Transaction.run` takes the
 * same as its option `statementTimeout`.
 *
 * A session that runs a statement reads `Current` from the fiber.
 *
 * **Gotchas**
 *
 * It does not limit BEGIN, COMMIT and what the library asks for itself: `controlTimeout` does.
 *
 * **Example** (A report in a program of short statements)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { StatementTimeout } from "watertight"
 *
 * const report = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`select customer, sum(cents) from orders group by customer`
 * }).pipe(StatementTimeout.within("5 minutes"))
 * ```
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"

/**
 * The limit for each statement of the fiber, in milliseconds. `undefined`: that of the database. `Infinity`: none.
 *
 * @category references
 * @since 0.2.0
 */
export const Current = Context.Reference<number | undefined>("watertight/StatementTimeout/Current", {
  defaultValue: () => undefined
})

/**
 * Runs an effect whose statements may take this long each. `Duration.infinity` means that there is no limit.
 *
 * @category combinators
 * @since 0.2.0
 */
export const within: {
  (limit: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, limit: Duration.Input): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, limit: Duration.Input): Effect.Effect<A, E, R> =>
    Effect.provideService(self, Current, Math.max(1, Duration.toMillis(Duration.fromInputUnsafe(limit))))
)
