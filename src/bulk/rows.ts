/** What is said about rows that do not fit, whatever they are encoded for. */
import { unfit, UnfitValue } from "../values/UnfitValue.ts"
import type { BadRow } from "./Bulk.ts"

class ExtraKey extends Error {
  readonly key: string
  constructor(key: string) {
    super("a column that the first row does not have, or that was not named in `columns`")
    this.key = key
  }
}

/** Throws if a row has something for a column that is not given. */
export const checkKeys = (row: object, names: ReadonlySet<string>): void => {
  let keys = 0
  for (const _ in row) keys++
  if (keys <= names.size) return
  for (const [key, value] of Object.entries(row)) {
    if (value !== undefined && !names.has(key)) throw new ExtraKey(key)
  }
}

export const refuseNull = (): never => unfit("the column takes no null")

/** Refuses a text that has more characters than its column. Spaces at the end are forgiven, as the servers do. */
export const checkLength = (value: string, maxLength: number): void => {
  if (value.length <= maxLength) return
  let length = 0
  for (const _ of value.trimEnd()) length++
  if (length > maxLength) unfit(`the text is longer than ${maxLength} characters`)
}

/** The bad row that a failed encoding is about. `column` is the one that was being written. */
export const badRowOf = (
  cause: unknown,
  row: any,
  index: number,
  column: { readonly name: string; readonly type: string } | undefined
): BadRow => {
  const known = typeof row === "object" && row !== null ? column : undefined
  return {
    row: index,
    column: cause instanceof ExtraKey ? cause.key : known?.name,
    expected: known?.type ?? "a row of the given columns",
    actual: typeName(known === undefined ? row : row[known.name]),
    problem: problemOf(cause)
  }
}

/** A codec of the user's own may show the value in what it throws. */
const problemOf = (cause: unknown): string =>
  cause instanceof UnfitValue || cause instanceof ExtraKey
    ? cause.message
    : cause instanceof TypeError
    ? "this is no row"
    : "its codec refused it"

/** What errors say of a value: its type, and nothing of itself. A proxy may throw whatever it is asked. */
export const typeName = (value: unknown): string => {
  try {
    return nameOfType(value)
  } catch {
    return "object"
  }
}

const nameOfType = (value: unknown): string => {
  if (value === null) return "null"
  if (typeof value !== "object") return typeof value
  if (Array.isArray(value)) return "array"
  const prototype: unknown = Object.getPrototypeOf(value)
  const name = (prototype as { readonly constructor?: { readonly name?: unknown } } | null)?.constructor?.name
  return typeof name === "string" && name !== "" && name !== "Object" ? name : "object"
}
