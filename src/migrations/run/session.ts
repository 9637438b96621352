/** One connection on which migrations work, and what is told of its failures. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../../Adapter.ts"
import * as Outcome from "../../failure/Outcome.ts"
import type { Begin } from "../../transaction/TransactionSpec.ts"
import type { Query } from "./journal.ts"

/** A connection and the way in which its failures are judged. */
export class Session {
  readonly connection: Connection
  readonly adapter: Adapter

  constructor(connection: Connection, adapter: Adapter) {
    this.connection = connection
    this.adapter = adapter
  }

  private judged<A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.mapError(
      effect,
      (error) =>
        Outcome.attach(error, this.connection.inTransaction ? "InTransaction" : "Statement", this.adapter.ruleOf)
    )
  }

  /** Rows as arrays. */
  values({ params, text }: Query): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.judged(this.connection.executeValues(text, params))
  }

  /** Runs a statement without preparing it. */
  run(text: string): Effect.Effect<void, SqlError> {
    return Effect.asVoid(this.judged(this.connection.executeUnprepared(text, [], undefined)))
  }

  /** Changes rows, and answers how many. */
  change({ params, text }: Query): Effect.Effect<number, SqlError> {
    return Effect.map(this.judged(this.connection.executeRaw(text, params)), (result) => {
      const { affectedRows, rowCount } = result as { readonly rowCount?: number; readonly affectedRows?: number }
      return rowCount ?? affectedRows ?? 0
    })
  }

  /** Runs something in a transaction of this connection. */
  transaction<A, E, R>(body: Effect.Effect<A, E, R>, begin: Begin = {}): Effect.Effect<A, E | SqlError, R> {
    const { connection } = this
    const commit = Effect.mapError(connection.commit, (error) => Outcome.attach(error, "Commit", this.adapter.ruleOf))
    return this.judged(connection.begin(begin)).pipe(
      Effect.andThen(body),
      Effect.onError(() =>
        Effect.suspend(() => connection.inTransaction ? Effect.ignore(connection.rollback) : Effect.void)
      ),
      Effect.tap(() => Effect.uninterruptible(commit))
    )
  }

  /** Whether the server is still there, so that what failed was refused by it and has left nothing behind. */
  get isAlive(): boolean {
    return !this.connection.isClosed
  }
}

/** Whether what failed was rolled back, and may succeed when others have passed: a lock, a deadlock, a conflict. */
export const isPassing = (error: SqlError): boolean => {
  const verdict = Outcome.of(error)
  return verdict !== undefined && verdict.outcome === "NotApplied" && verdict.ladder !== "Overload" &&
    (verdict.scope === "Statement" || verdict.scope === "Transaction")
}
