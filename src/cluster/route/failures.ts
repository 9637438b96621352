/** What a failure on a node says of the node. */
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Evidence from "../../failure/Evidence.ts"
import * as Outcome from "../../failure/Outcome.ts"
import * as PoolError from "../../pool/PoolError.ts"
import type { Member } from "../Member.ts"

/** The failure, judged. */
export const judge = (
  cause: Cause.Cause<unknown>,
  phase: "Statement" | "Acquire",
  { adapter }: Member
): SqlError | undefined => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  return isSqlError(error) ? Outcome.attach(error, phase, adapter.ruleOf) : undefined
}

/** Whether the pool of the node has been shut while the caller waited there. */
export const wasSentAway = (error: SqlError | undefined, member: Member): boolean => {
  const reason = error === undefined ? undefined : PoolError.fromSqlError(error)?.reason
  return reason?._tag === "Suspended" && reason.database === member.adapter.name
}

/** Whether a read failed because of the node, and not because of what it asked for. */
export const isAboutNode = (error: SqlError): boolean => {
  const verdict = Outcome.of(error)
  const { endedBy } = Evidence.of(error)
  if (endedBy !== undefined) return Evidence.consequences[endedBy].mayRepeat
  if (PoolError.fromSqlError(error) !== undefined) return false
  return verdict?.phase === "Connect" || error.reason._tag === "ConnectionError"
}
