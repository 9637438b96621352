/**
 * Values as JSON, for columns of JSON: what `JSON.stringify` would lose without a word is refused.
 *
 * | in a document                                  | becomes                                   |
 * | ---------------------------------------------- | ----------------------------------------- |
 * | null, a string, a finite number, a boolean     | itself                                    |
 * | an array, an object: its own fields            | an array, an object                       |
 * | a field that is `undefined`                    | nothing, as `JSON.stringify` has it       |
 * | what has `toJSON`: a `Date`, a `URL`, a `DateTime` | what that returns                         |
 * | `NaN`, the infinities, `undefined` in an array | refused: they would be null               |
 * | a bigint                                       | refused: JSON has no number of that kind  |
 * | an instance of a class that has no fields to be seen | refused: it would be an empty object |
 * | a function, a symbol, `Map`, `Set`, `Promise`, bytes, `Option`, `Redacted` … | refused     |
 */
import * as DateTime from "effect/DateTime"
import { unfit } from "./UnfitValue.ts"
import { refusalOf } from "./Value.ts"

/** The text of a document. Throws an `UnfitValue`, and never shows what is in it. */
export const toJson = (value: unknown): string => {
  check(value, 0)
  // What is left to throw is a `toJSON` of the program, and it may quote a key.
  try {
    return JSON.stringify(value) ?? unfit("undefined has no JSON")
  } catch {
    return unfit("the value has no JSON")
  }
}

/** Deeper than this it goes round in circles, or no server takes it. */
const maxDepth = 2_000

const check = (value: unknown, depth: number): void => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return
    case "number":
      return Number.isFinite(value) ? undefined : unfit("JSON has neither NaN nor infinite numbers")
    case "bigint":
      return unfit("JSON has no bigint: pass a number or a text")
    case "undefined":
      return unfit("undefined has no JSON: pass null")
    case "function":
      return unfit("a function has no JSON")
    case "symbol":
      return unfit("a symbol has no JSON")
    case "object":
      return value === null ? undefined : checkObject(value, depth)
  }
}

const checkObject = (value: object, depth: number): void => {
  if (depth > maxDepth) return unfit("the value goes round in circles, or too deep")
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) check(value[index], depth + 1)
    return
  }
  const problem = problemOf(value)
  if (problem !== undefined) return unfit(problem)
  if (hasToJson(value)) return
  for (const key of Object.keys(value)) {
    const field = (value as Record<string, unknown>)[key]
    if (field !== undefined) check(field, depth + 1)
  }
}

const hasToJson = (value: object): boolean => typeof (value as { readonly toJSON?: unknown }).toJSON === "function"

/** An instance of a class is the fields that it has, but not if what it is made of is not in its fields. */
const problemOf = (value: object): string | undefined => {
  if (DateTime.isDateTime(value)) return undefined
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "the Date is invalid" : undefined
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return "bytes have no JSON: pass them as a text, or as an array of numbers"
  }
  const refusal = refusalOf(value)
  const isInstance = refusal?.startsWith("an instance of") === true || refusal?.startsWith("an object with") === true
  return isInstance && (Object.keys(value).length > 0 || hasToJson(value)) ? undefined : refusal
}
