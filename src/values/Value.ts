/**
 * What a JavaScript value is when it is given as a parameter, for every database.
 *
 * | given                                             | is                                            |
 * | ------------------------------------------------- | --------------------------------------------- |
 * | null, string, number, bigint, boolean, `Date`     | itself                                        |
 * | an array, a plain object                          | itself: the column says what it becomes       |
 * | `Uint8Array`, `Buffer`, `Int8Array`, `Uint8ClampedArray`, `ArrayBuffer`, `DataView` | bytes       |
 * | the other typed arrays                            | an array of their numbers                     |
 * | `DateTime` of Effect                              | the `Date` of its instant                     |
 * | `BigDecimal` of Effect                            | {@link Decimal}: all of its digits            |
 * | `URL`                                             | its text                                      |
 * | everything else                                   | refused, with a sentence that says what to do |
 *
 * A container is never opened: an `Option` and a `Redacted` are refused, because what is in them may be missing or
 * secret, and that is for the program to decide.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import { unfit } from "./UnfitValue.ts"

/** A number of any length, as the text of its digits. */
export class Decimal {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** What stands in the place of a value that was found to be none before it became a parameter. */
export class Refused {
  readonly problem: string
  constructor(problem: string) {
    this.problem = problem
  }
}

/** What is left after {@link valueOf}. */
export type Value =
  | null
  | string
  | number
  | bigint
  | boolean
  | Date
  | Uint8Array
  | Decimal
  | ReadonlyArray<unknown>
  | PlainObject

/** An object that is nothing but its fields. */
export type PlainObject = Readonly<Record<string, unknown>>

/** What to do about an `undefined`. */
export const undefinedHint = "undefined is no value: pass null, or set the option `undefined` to \"null\""

/**
 * What a value is. Throws an `UnfitValue` for what is none. `undefined` is refused here: whoever takes it for null has
 * to do so before.
 */
export const valueOf = (value: unknown): Value => {
  switch (typeof value) {
    case "string":
    case "number":
    case "bigint":
    case "boolean":
      return value
    case "undefined":
      return unfit(undefinedHint)
    case "object":
      return value === null ? null : objectOf(value)
    case "function":
      return unfit(refusalOf(value)!)
    case "symbol":
      return unfit("a symbol is no value")
  }
}

const objectOf = (value: object): Value => {
  if (Array.isArray(value)) return value
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? unfit("the Date is invalid") : value
  if (value instanceof Uint8Array || value instanceof Decimal) return value
  if (ArrayBuffer.isView(value)) return viewOf(value)
  if (value instanceof ArrayBuffer) return new Uint8Array(value)
  if (value instanceof URL) return value.href
  if (DateTime.isDateTime(value)) return DateTime.toDateUtc(value)
  if (BigDecimal.isBigDecimal(value)) return new Decimal(digitsOf(value))
  if (value instanceof Refused) return unfit(value.problem)
  const refusal = refusalOf(value)
  return refusal === undefined ? value as PlainObject : unfit(refusal)
}

/** By their names, for those of another realm are instances of other classes. */
const bytesViews = new Set(["Uint8Array", "Int8Array", "Uint8ClampedArray", "DataView"])

const viewOf = (view: ArrayBufferView): Value =>
  bytesViews.has((view as { readonly [Symbol.toStringTag]?: string })[Symbol.toStringTag] ?? "")
    ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    : Array.from(view as unknown as ArrayLike<number | bigint>)

/** All digits without an exponent, which not every server takes. */
const digitsOf = ({ scale, value }: BigDecimal.BigDecimal): string => {
  if (scale <= 0) return `${value}${value === 0n ? "" : "0".repeat(-scale)}`
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, "0")
  return `${value < 0n ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

/** Whether an object is nothing but its fields, also if it comes from another realm. */
export const isPlain = (value: object): boolean => {
  const prototype: object | null = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype ||
    Object.getPrototypeOf(prototype) === null && prototype.constructor?.name === "Object"
}

/** Why an object or a function is no value: by what it is, never by what is in it. `undefined` for plain objects. */
export const refusalOf = (value: object): string | undefined => {
  if (typeof value === "function") return "a function is no value: it was probably meant to be called"
  if (value instanceof Error) return "an Error is no value: pass its message"
  const effect = effectNameOf(value)
  if (effect !== undefined) return ofEffect[effect] ?? `${article(effect)} ${effect} is no value`
  for (const [type, sentence] of builtins) if (value instanceof type) return sentence
  if (typeof (value as PromiseLike<unknown>).then === "function") return promise
  if (isPlain(value)) return undefined
  const name = value.constructor?.name
  return typeof name === "string" && name !== "" && name !== "Object"
    ? `an instance of ${name} is no value: pass a plain object, or what is in it`
    : "an object with a prototype of its own is no value: pass a plain object"
}

const promise = "a Promise is no value: await it"
const unboxed = "a boxed primitive is no value: pass what is in it"

const builtins: ReadonlyArray<readonly [Function, string]> = [
  [Promise, promise],
  [Map, "a Map is no value: pass Object.fromEntries(map), or an array of its entries"],
  [Set, "a Set is no value: pass an array, [...set]"],
  [WeakMap, "a WeakMap is no value"],
  [WeakSet, "a WeakSet is no value"],
  [RegExp, "a RegExp is no value: pass its source"],
  [Number, unboxed],
  [String, unboxed],
  [Boolean, unboxed],
  [BigInt, unboxed],
  [Symbol, "a symbol is no value"]
]

const unyielded = "an Effect is no value: it was probably meant to be yielded"

const ofEffect: Record<string, string> = {
  Option: "an Option is no value: pass Option.getOrNull(option)",
  Redacted: "a Redacted is no value: pass Redacted.value(redacted)",
  Duration: "a Duration is no value: pass its milliseconds, or an interval",
  Chunk: "a Chunk is no value: pass Chunk.toReadonlyArray(chunk)",
  HashMap: "a HashMap is no value: pass a plain object",
  HashSet: "a HashSet is no value: pass an array, [...set]",
  Effect: unyielded,
  // What an effect has become that succeeds at once.
  Exit: unyielded,
  Fragment: "a fragment of SQL is no value: interpolate by itself what the client has made, as sql`…` or sql.literal"
}

/** Types of Effect are marked by a key. Some are effects besides, so what is more exact wins. */
const effectNameOf = (value: object): string | undefined => {
  let found: string | undefined
  for (let at: object | null = value; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const key of Object.getOwnPropertyNames(at)) {
      if (!key.startsWith("~")) continue
      const name = markOf.exec(key)?.[1]
      if (name !== undefined && (found === undefined || found === "Effect")) found = name
    }
  }
  return found
}

const markOf = /^~effect\/(?:sql\/Statement\/)?(?!Equal$|Hash$|Data$)([A-Z]\w*)$/

const article = (name: string): string => /^[AEIOU]/.test(name) ? "an" : "a"
