/**
 * How long a statement may take on the server, and what the server has been told about it.
 *
 * The limit is known from the options of the database. It changes in two ways:
 *
 * - One piece of work has its own limit, `StatementTimeout.Current`. The session sets it on the server ahead of a
 *   statement, and sets it back ahead of the next one that has none.
 * - The caller changes `statement_timeout` in SQL. The session asks the server for the value ahead of the next
 *   statement, in the same write, and follows it.
 */
import type { Result } from "@effect/sql-pg/PgConnection"

/** What has to be written ahead of a statement. */
export type Preparation =
  | { readonly _tag: "Ask" }
  | { readonly _tag: "Set"; readonly millis: number }

/** How long the server's own timeout has to be heard of before the session acts, in milliseconds. */
export const grace = 1_000

const ask: Preparation = { _tag: "Ask" }

export const limitQuestion = "SHOW statement_timeout"

/** The statement that sets the limit on the server, for the transaction if one is open. */
export const setLimit = (millis: number, inTransaction: boolean): string =>
  `SET ${inTransaction ? "LOCAL " : ""}statement_timeout = ${
    // The server counts in milliseconds of a signed 32-bit number, and takes 0 for no limit.
    millis > 2_147_483_647 ? 0 : Math.max(1, Math.ceil(millis))}`

export class StatementLimit {
  /** What holds for statements without a limit of their own, in milliseconds. */
  private base: number
  private readonly configured: number
  private readonly configuredLimit: number
  /** What the server has now; `undefined` if that is not known. */
  private actual: number | undefined
  /** What was set for a piece of work, as long as the server has it. */
  private ofPiece: number | undefined = undefined
  /** What the server goes back to at the end of the transaction. */
  private outside: number | undefined
  /** The caller has changed the setting, and the server has not been asked for it yet. */
  private isChanged = false
  /** The caller has changed it in the transaction that is open. */
  private hasChangedInside = false

  /** `configured` is what the server was told at the start, and `configuredLimit` when the session gives up then. */
  constructor(configured: number, configuredLimit: number) {
    this.configured = configured
    this.configuredLimit = configuredLimit
    this.base = configured
    this.actual = configured
    this.outside = configured
  }

  /** When the session gives statements up, given their own limit, in milliseconds after their turn has come. */
  limitFor(own: number | undefined, statements: number): number {
    if (own === undefined && this.base === this.configured) return this.configuredLimit * statements
    return (own ?? this.base) * statements + grace
  }

  /** What has to be written ahead of a statement. Nothing for most. */
  before(own: number | undefined): Preparation | undefined {
    if (this.isChanged) return ask
    const wanted = own ?? this.base
    return this.actual === wanted ? undefined : { _tag: "Set", millis: wanted }
  }

  /** The caller runs a statement that may change the setting. */
  onTouched(): void {
    this.isChanged = true
    this.hasChangedInside = true
  }

  /** The server is being asked. */
  onAsked(): void {
    this.isChanged = false
  }

  /** What the server has answered. */
  onAnswer(results: ReadonlyArray<Result>, inTransaction: boolean): void {
    const millis = parseMillis(Object.values(results[0]?.rows[0] ?? {})[0])
    // What was set for a piece of work is still there: the caller has not changed it after all.
    if (millis === undefined || millis === this.ofPiece) return
    this.base = millis
    this.onSet(millis, inTransaction)
  }

  /** A limit is being set on the server. */
  onSet(millis: number, inTransaction: boolean): void {
    if (!inTransaction) this.outside = millis
    this.actual = millis
    this.ofPiece = millis === this.base ? undefined : millis
  }

  /** The limit was not set, because the transaction had failed or is not there. */
  onRefused(): void {
    this.actual = undefined
  }

  /** What was set behind a savepoint is undone. */
  onRollbackToSavepoint(): void {
    if (this.hasChangedInside) this.isChanged = true
    this.actual = undefined
  }

  /** A transaction begins: what is set in it ends with it. */
  onBegin(): void {
    this.outside = this.actual
    this.hasChangedInside = false
  }

  /** The transaction has ended. */
  onIdle(): void {
    if (this.hasChangedInside) {
      // Whether the change was for the transaction only, and whether it has been undone, the server knows.
      this.isChanged = true
      this.hasChangedInside = false
      this.ofPiece = undefined
    }
    this.actual = this.outside
  }

  /** Every setting is as it was when the session began. */
  onReset(): void {
    this.base = this.configured
    this.actual = this.configured
    this.outside = this.configured
    this.isChanged = false
    this.hasChangedInside = false
  }
}

const units: Record<string, number> = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 }

/** Reads a setting as `SHOW` writes it: `0`, `500ms`, `5min`. */
export const parseMillis = (text: unknown): number | undefined => {
  const match = typeof text === "string" ? /^(\d+)(ms|s|min|h|d)?$/.exec(text) : null
  if (match === null) return undefined
  const millis = Number(match[1]) * (units[match[2] ?? "ms"] ?? 1)
  return millis === 0 ? Infinity : millis
}
