/** What may be the key of a lock. */
import type { Key } from "./AdvisoryLock.ts"

/** A key that has been looked at: a text, a number of 64 bits, or two of 32 bits. */
export type CheckedKey =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Number"; readonly value: bigint }
  | { readonly _tag: "Pair"; readonly first: number; readonly second: number }

const isInt32 = (value: unknown): value is number => typeof value === "number" && (value | 0) === value

/** Keys come from callers that TypeScript may not have seen. `undefined` for what would be another key on the server. */
export const checkKey = (key: Key): CheckedKey | undefined => {
  if (typeof key === "string") return { _tag: "Text", text: key }
  if (typeof key === "bigint") {
    return BigInt.asIntN(64, key) === key ? { _tag: "Number", value: key } : undefined
  }
  if (typeof key === "number") {
    return Number.isSafeInteger(key) ? { _tag: "Number", value: BigInt(key) } : undefined
  }
  if (!Array.isArray(key) || key.length !== 2) return undefined
  const [first, second] = key as ReadonlyArray<unknown>
  return isInt32(first) && isInt32(second) ? { _tag: "Pair", first, second } : undefined
}
