/**
 * What a server reports of itself, in bounds: it may report what it likes, as often as it likes, to a session that has
 * asked for nothing.
 */

/** How many parameters a server may report. PostgreSQL 18 reports 15. */
const maxParameters = 512

/** How long a name or a value may be, in characters. */
const maxLength = 16 * 1024

/** Notes a parameter. Returns whether a server can have meant it. */
export const takeParameter = (parameters: Map<string, string>, name: string, value: string): boolean => {
  if (name.length > maxLength || value.length > maxLength) return false
  if (parameters.size >= maxParameters && !parameters.has(name)) return false
  parameters.set(name, value)
  return true
}
