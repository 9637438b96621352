/**
 * How long statements may run: what the options say, what a fiber says, and what the session was told by a statement.
 *
 * The server has a limit of its own, which a statement can change; ours follows it, so that what is allowed to run for
 * long is not cut off by us. MySQL's limits reads only.
 */
import type { Profile } from "../statement/statements.ts"

/** How long the server's own limit has to be heard of before we stop the statement, in milliseconds. */
const grace = 1_000

const assignment =
  /(?:@@(?:(\w+)\s*\.\s*)?|\b(global|session|local|persist|persist_only)\s+|\b)max_(?:statement|execution)_time\s*:?=\s*([^\s,;]+)/gi

const hint = /\/\*\+[^]*?\bmax_execution_time\s*\(\s*(\d+)\s*\)/i

const reads = new Set(["SELECT", "WITH", "TABLE", "VALUES"])

export class StatementLimit {
  private readonly isMariadb: boolean
  /** What the session has when it is set up, in milliseconds. */
  private readonly usual: number
  /** What the server has now. */
  private current: number
  /** Whether a statement of a caller has set that. */
  private isTold = false

  constructor(isMariadb: boolean, usual: number) {
    this.isMariadb = isMariadb
    this.usual = usual
    this.current = usual
  }

  /** The limit that a statement has; `wanted` is what its fiber says. In milliseconds. */
  limitFor(wanted: number | undefined): number {
    return wanted ?? (this.isTold ? this.current : this.usual)
  }

  /** How the server is told of a limit that it does not have, if it is another one. */
  settingFor(limit: number): string | undefined {
    if (limit === this.current) return undefined
    const value = limit === Infinity ? 0 : this.isMariadb ? limit / 1_000 : Math.ceil(limit)
    return `SET SESSION ${this.isMariadb ? "max_statement_time" : "max_execution_time"} = ${value}`
  }

  /** The server has this limit now. */
  set(limit: number): void {
    this.current = limit
    this.isTold = false
  }

  /** When we stop a statement with this limit. The server's own comes first where it has one. */
  deadlineOf(limit: number, profile: Profile): number {
    return this.isMariadb || reads.has(profile.words.split(" ", 1)[0]!) ? limit + grace : limit
  }

  /** A statement of a caller goes out: it may change the limit, for itself or for the session. Answers its own, if any. */
  noteSent(sql: string, words: string): number | undefined {
    if (words.startsWith("SET")) {
      for (const [, scope = "", keyword = "", value] of sql.matchAll(assignment)) {
        const where = (scope || keyword).toLowerCase()
        if (where === "global" || where.startsWith("persist")) continue
        const limit = this.read(value!)
        if (words === "SET STATEMENT") return limit
        this.current = limit
        this.isTold = true
      }
      return undefined
    }
    if (this.isMariadb || !sql.includes("/*+")) return undefined
    const found = hint.exec(sql)
    return found === null ? undefined : this.read(found[1]!)
  }

  /** The session is as it was set up. */
  reset(): void {
    this.current = this.usual
    this.isTold = false
  }

  /** What is not a number is not known, and so is not limited by us. Zero is none. */
  private read(value: string): number {
    const number = Number(value)
    return number > 0 ? this.isMariadb ? number * 1_000 : number : Infinity
  }
}
