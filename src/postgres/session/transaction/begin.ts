import type { TransactionSettings } from "../../../transaction/TransactionSettings.ts"
import type { Begin } from "../../../transaction/TransactionSpec.ts"
import * as frames from "../../wire/frames.ts"

/** The statement that begins a transaction: everything in one, so that nothing is left behind if it fails. */
export const beginStatement = (how: Begin): string => {
  if (how.statement !== undefined) return how.statement
  const modes: Array<string> = []
  if (how.isolation !== undefined) modes.push(`ISOLATION LEVEL ${how.isolation.toUpperCase()}`)
  if (how.access !== undefined) modes.push(how.access.toUpperCase())
  if (how.deferrable !== undefined) modes.push(how.deferrable ? "DEFERRABLE" : "NOT DEFERRABLE")
  return modes.length === 0 ? "BEGIN" : `BEGIN ${modes.join(" ")}`
}

const openings = new Map<string, Uint8Array>()

/**
 * The same as the head of a cycle that goes on with a statement. The server skips everything up to the end of the cycle
 * if BEGIN fails, so the statement cannot run outside of the transaction.
 */
export const openingOf = (statement: string): Uint8Array => {
  let opening = openings.get(statement)
  if (opening === undefined) {
    opening = frames.execution(statement, [])
    openings.set(statement, opening)
  }
  return opening
}

/** Sets settings for the transaction, without a row as the answer. Names and values are parameters. */
export const settingOf = ({ values }: TransactionSettings): Uint8Array =>
  frames.execution(
    `SELECT 1 WHERE ${
      values.map((_, index) => `pg_catalog.set_config($${2 * index + 1}, $${2 * index + 2}, true) IS NULL`).join(" OR ")
    }`,
    values.flat()
  )
