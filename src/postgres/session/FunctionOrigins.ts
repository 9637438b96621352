/**
 * Which functions are the server's own, for all sessions of an adapter.
 *
 * What a function of the database does to its session, no text tells: it may set a setting, or take a lock. So a function
 * that is not known to be the server's own counts as one that does. The server is asked about a name together with the
 * reset that follows its first call.
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import { quoteText } from "../statement/identifiers.ts"

/** More names than that are made up by the program. */
const maxNames = 10_000

export class FunctionOrigins {
  private readonly own = new Set<string>()
  private readonly foreign = new Set<string>()
  private wanted = new Set<string>()

  /** Whether one of these functions may leave something behind. What is not known is to be asked for. */
  leaves(calls: ReadonlyArray<string>): boolean {
    let leaves = false
    for (const name of calls) {
      if (this.own.has(name)) continue
      leaves = true
      if (!this.foreign.has(name) && this.wanted.size < 1_000) this.wanted.add(name)
    }
    return leaves
  }

  /** The question that is to be asked, and what its answer is to be given to. */
  take(): { readonly sql: string; readonly learn: (answer: Result | undefined) => void } | undefined {
    const { wanted } = this
    if (wanted.size === 0) return undefined
    this.wanted = new Set()
    return {
      sql:
        "SELECT p.proname, pg_catalog.bool_and(p.pronamespace = 11 OR l.lanname IN ('internal', 'c'))::text AS own " +
        "FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang " +
        `WHERE p.proname IN (${Array.from(wanted, quoteText).join(", ")}) GROUP BY p.proname`,
      learn: (answer) => {
        if (this.own.size + this.foreign.size > maxNames) {
          this.own.clear()
          this.foreign.clear()
        }
        for (const row of answer?.rows ?? []) {
          const { own, proname } = row as { readonly own: string; readonly proname: string }
          ;(own === "true" ? this.own : this.foreign).add(proname)
        }
      }
    }
  }

  /** A function of the program's has been made: what was learned may be wrong. */
  forget(): void {
    this.own.clear()
    this.foreign.clear()
  }
}
