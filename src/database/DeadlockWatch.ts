/**
 * Says which statements deadlock, once it is no accident.
 *
 * A server tells of a deadlock the statement that it ended. The one that went on is the loser of another time, because
 * nobody chooses who loses: so the statements that lost lately are both sides.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../failure/SqlFailure.ts"
import { fingerprint } from "./fingerprint.ts"

/** How many deadlocks of one statement are an accident, plus one. */
const enough = 3

/** How many statements are remembered. */
const kept = 100

export class DeadlockWatch {
  private readonly database: string
  /** How often a statement has lost, by its form; the one that lost last is the last. */
  private readonly losses = new Map<string, number>()

  constructor(database: string) {
    this.database = database
  }

  /** A transaction is repeated after a deadlock. */
  note(error: SqlError): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { sql } = SqlFailure.of(error)
      if (sql === undefined) return Effect.void
      const form = fingerprint(sql)
      const count = (this.losses.get(form) ?? 0) + 1
      this.losses.delete(form)
      if (this.losses.size >= kept) this.losses.delete(this.losses.keys().next().value!)
      this.losses.set(form, count)
      return count === enough ? Effect.logWarning(this.line(form)) : Effect.void
    })
  }

  private line(form: string): string {
    const other = Array.from(this.losses.keys()).at(-2)
    return `${this.database}: for the ${enough}rd time a deadlock has undone a transaction, here: ${form}\n` +
      `  against ${other === undefined ? "the same statement of another transaction" : `most likely: ${other}`}\n` +
      "  hint: they lock the same rows in different orders. Lock rows in one order, for example by id; " +
      "docs/transactions.md has a section about deadlocks"
  }
}
