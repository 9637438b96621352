import type { Begin } from "../../core/TransactionSpec.ts"

/** The statement that begins a transaction: everything in one, so that nothing is left behind if it fails. */
export const beginStatement = (how: Begin): string => {
  if (how.statement !== undefined) return how.statement
  const modes: Array<string> = []
  if (how.isolation !== undefined) modes.push(`ISOLATION LEVEL ${how.isolation.toUpperCase()}`)
  if (how.access !== undefined) modes.push(how.access.toUpperCase())
  if (how.deferrable !== undefined) modes.push(how.deferrable ? "DEFERRABLE" : "NOT DEFERRABLE")
  return modes.length === 0 ? "BEGIN" : `BEGIN ${modes.join(" ")}`
}
