/**
 * What a server reports of itself, in bounds: it may report what it likes, as often as it likes, to a session that has
 * asked for nothing.
 */

/** How many parameters a server may report. PostgreSQL 18 reports 15. */
const maxParameters = 512

/** How long a name or a value may be, in characters. */
const maxLength = 16 * 1024

/** The parameters of a session. They are not changed, but replaced, so that sessions can share them. */
export type Parameters = ReadonlyMap<string, string>

/** Notes a parameter. Returns whether a server can have meant it. */
export const takeParameter = (parameters: Map<string, string>, name: string, value: string): boolean => {
  if (name.length > maxLength || value.length > maxLength) return false
  if (parameters.size >= maxParameters && !parameters.has(name)) return false
  parameters.set(name, value)
  return true
}

/** The parameters with another value of one of them; `undefined` if a server cannot have meant it. */
export const withParameter = (parameters: Parameters, name: string, value: string): Parameters | undefined => {
  const changed = new Map(parameters)
  return takeParameter(changed, name, value) ? changed : undefined
}

/** How many sets are kept that sessions have begun with, and of how many parameters and characters. */
const maxShared = 16
const maxSharedSize = 64
const maxSharedLength = 256

const shared: Array<Parameters> = []

const isEqual = (left: Parameters, right: Parameters): boolean => {
  if (left.size !== right.size) return false
  for (const [name, value] of left) if (right.get(name) !== value) return false
  return true
}

/** The sessions of a server begin with the same parameters, of which one copy is enough for all of them. */
export const share = (parameters: Parameters): Parameters => {
  const found = shared.find((other) => isEqual(other, parameters))
  if (found !== undefined) return found
  if (parameters.size > maxSharedSize) return parameters
  for (const [name, value] of parameters) if (name.length + value.length > maxSharedLength) return parameters
  if (shared.length >= maxShared) shared.shift()
  shared.push(parameters)
  return parameters
}
