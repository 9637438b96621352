/**
 * How a transaction begins.
 *
 * `SET TRANSACTION ISOLATION LEVEL` is about the next transaction, whosever that is. MariaDB takes it together with
 * `START TRANSACTION` in one compound statement. For MySQL there are two, of which the second is sent in any case once
 * the first was; if that fails, the session is destroyed.
 */
import * as Result from "effect/Result"
import type { Begin, Isolation } from "../../transaction/TransactionSpec.ts"
import { profileOf, split } from "../statement/statements.ts"

/** What is sent, one after the other. */
export interface BeginPlan {
  readonly statements: ReadonlyArray<string>
  /** Several statements in one. */
  readonly compound: boolean
  /** Whether the transaction is asked not to write. */
  readonly isReadOnly: boolean
}

/**
 * How a transaction begins in the words of MySQL, as a value for Effect's `BeginTransaction`.
 *
 * @category models
 * @since 0.1.0
 */
export interface BeginOptions {
  readonly isolation?: Isolation | undefined
  readonly access?: "read write" | "read only" | undefined
  /** Take the snapshot now instead of at the first read. Only means something with `repeatable read`. */
  readonly consistentSnapshot?: boolean | undefined
}

/** The statements, separated by a semicolon. */
export const beginStatement = (options: BeginOptions): string => {
  const characteristics = [
    ...(options.consistentSnapshot === true ? ["WITH CONSISTENT SNAPSHOT"] : []),
    ...(options.access === undefined ? [] : [options.access.toUpperCase()])
  ].join(", ")
  const start = characteristics === "" ? "START TRANSACTION" : `START TRANSACTION ${characteristics}`
  return options.isolation === undefined
    ? start
    : `SET TRANSACTION ISOLATION LEVEL ${options.isolation.toUpperCase()}; ${start}`
}

const plans = new Map<string, Result.Result<BeginPlan, string>>()

/** Plans a BEGIN. Fails with what is wrong. */
export const planBegin = (how: Begin, isMariadb: boolean): Result.Result<BeginPlan, string> => {
  // Somebody may write values into a statement of their own, which would then stay for ever.
  if (how.statement !== undefined) return makePlan(how, isMariadb)
  const key = `${isMariadb} ${how.isolation} ${how.access}`
  let plan = plans.get(key)
  if (plan === undefined) plans.set(key, plan = makePlan(how, isMariadb))
  return plan
}

const makePlan = (how: Begin, isMariadb: boolean): Result.Result<BeginPlan, string> => {
  const statements = how.statement === undefined
    ? beginStatement(how).split("; ")
    : split(how.statement, false).map((piece) => piece.texts.join("?").trim())
  const last = statements.at(-1)
  const profile = last === undefined ? undefined : profileOf(last)
  if (profile === undefined || profile.words !== "START TRANSACTION" && !/^BEGIN(?: WORK)?$/.test(profile.words)) {
    return Result.fail("the statement given to begin a transaction must end with START TRANSACTION or BEGIN")
  }
  for (const statement of statements.slice(0, -1)) {
    if (profileOf(statement).words !== "SET TRANSACTION") {
      return Result.fail("only SET TRANSACTION may stand before the START TRANSACTION that begins a transaction")
    }
  }
  const compound = statements.length > 1 && isMariadb
  return Result.succeed({
    statements: compound ? [`BEGIN NOT ATOMIC ${statements.join("; ")}; END`] : statements,
    compound,
    isReadOnly: statements.some((statement) => /\bread\s+only\b/i.test(statement))
  })
}
