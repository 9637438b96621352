/**
 * Values as PostgreSQL's text, in the one form that every type which takes the value reads as the same: an instant has
 * its zone, a number all of its digits. So a value whose type the server is to find out needs no guess.
 */
import { checkText } from "../../values/text.ts"
import { unfit } from "../../values/UnfitValue.ts"
import { Decimal, type Value, valueOf } from "../../values/Value.ts"
import { quoteElement } from "../types/containers/arrays.ts"
import { toServerJson } from "../types/scalars/json.ts"
import { formatFloat } from "../types/scalars/number.ts"
import { formatInstant } from "../types/scalars/time.ts"
import type { TypeStore } from "../types/TypeStore.ts"
import { Fit, isJson, isText, Oid, scalarFit } from "./fit.ts"

/** The text of a value that is neither an array nor an object. */
export const scalarText = (value: Value): string => {
  switch (typeof value) {
    case "number":
      // JavaScript writes zeros for the last digits of large integers.
      return Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21
        ? BigInt(value).toString()
        : formatFloat(value)
    case "string":
      return checkText(value)
    case "bigint":
      return value.toString()
    case "boolean":
      return value ? "t" : "f"
  }
  return value instanceof Date
    ? formatInstant(value)
    : value instanceof Decimal
    ? value.text
    : value instanceof Uint8Array
    ? `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}`
    : unfit("the value has no type of its own")
}

/** A value in the form of a type, and how well it fits. */
export interface Fitted {
  fit: Fit
  text: string
}

/** Encodings do not overlap, so one result serves all of them. */
const fitted: Fitted = { fit: Fit.Exact, text: "" }

const put = (fit: Fit, text: string): Fitted => {
  fitted.fit = fit
  fitted.text = text
  return fitted
}

const isObject = (value: Value): value is Exclude<Value, null | string | number | bigint | boolean> =>
  typeof value === "object" && value !== null && !(value instanceof Date) && !(value instanceof Uint8Array) &&
  !(value instanceof Decimal)

/** Writes a value as one of a type that is known. Throws for what has no form of that type. */
export const fitText = (types: TypeStore, oid: number, value: Value, nullable: NullCheck): Fitted => {
  const base = types.baseOf(oid)
  if (!isObject(value)) {
    const fit = scalarFit(base, value)
    if (fit !== Fit.Unfit) return put(fit, scalarText(value))
    return isReadAs(types, oid, base, value) ? put(Fit.Exact, types.codec(oid)!.format(value)) : put(fit, "")
  }
  if (isJson(base)) return put(Fit.Exact, toServerJson(value))
  if (!Array.isArray(value)) return isText(base) ? put(Fit.Unfit, "") : put(Fit.Exact, types.codec(oid)!.format(value))
  const array = types.elementOf(base)
  if (array !== undefined) return fitArray(types, array, value, nullable)
  return types.codec(oid)?.shape === "array"
    ? put(Fit.Exact, types.codec(oid)!.format(value))
    : fitForeign(types, oid, value)
}

/** Times that are read as numbers: what is read can be written. A number that is an instant has to be meant as one. */
const isReadAs = (types: TypeStore, oid: number, base: number, value: Value): boolean => {
  if (base === Oid.time) return typeof value === "bigint"
  if (base !== Oid.timestamp && base !== Oid.timestamptz) return false
  const isInfinite = value === Infinity || value === -Infinity
  return isInfinite || typeof value === "bigint" && types.isChosen(oid)
}

/** A codec of the user's own may take arrays for what is none to the server. */
const fitForeign = (types: TypeStore, oid: number, value: ReadonlyArray<unknown>): Fitted =>
  types.isChosen(oid) ? put(Fit.Exact, types.codec(oid)!.format(value)) : put(Fit.Unfit, "")

/** What stands for null: `undefined` only where it is told to. */
export type NullCheck = (value: unknown) => boolean

/** An array in the form of an array type. */
const fitArray = (
  types: TypeStore,
  { delimiter, element }: { readonly element: number; readonly delimiter: string },
  values: ReadonlyArray<unknown>,
  nullable: NullCheck
): Fitted => {
  const base = types.baseOf(element)
  const elementsAreArrays = isJson(base) || types.elementOf(base) !== undefined ||
    types.codec(element)?.shape === "array"
  let worst: Fit = Fit.Exact
  const text = arrayText(values, delimiter, elementsAreArrays, nullable, (value) => {
    // The values of JSON in an array are documents: only a parameter by itself may be the text of one.
    if (isJson(base)) return toServerJson(value)
    const { fit, text } = fitText(types, element, value, nullable)
    if (fit > worst) worst = fit
    return text
  })
  return put(worst, text)
}

/** The text of an array. Arrays in it are further dimensions, unless they are its elements. */
export const arrayText = (
  values: ReadonlyArray<unknown>,
  delimiter: string,
  elementsAreArrays: boolean,
  nullable: NullCheck,
  elementText: (value: Value) => string
): string => {
  const lengths: Array<number> = []
  const print = (values: ReadonlyArray<unknown>, depth: number): string => {
    if (depth === lengths.length) lengths.push(values.length)
    else if (lengths[depth] !== values.length) unfit("the arrays inside an array must all have the same length")
    if (depth === 6) unfit("an array has at most 6 dimensions")
    let nested = 0
    const texts = values.map((element) => {
      if (nullable(element)) return "NULL"
      const value = valueOf(element)
      if (!elementsAreArrays && Array.isArray(value)) {
        nested++
        return print(value, depth + 1)
      }
      return quoteElement(elementText(value))
    })
    if (nested !== 0 && nested !== values.length) unfit("the arrays inside an array must all have the same length")
    return `{${texts.join(delimiter)}}`
  }
  const text = print(values, 0)
  return lengths.includes(0) ? "{}" : text
}

/** The type that a value is of where nothing says what it is meant to be. Throws for what has none. */
export const ownType = (value: Value): number => {
  switch (typeof value) {
    case "number":
      return Number.isInteger(value) && !Object.is(value, -0)
        ? value >= -2147483648 && value <= 2147483647
          ? Oid.int4
          : Number.isSafeInteger(value)
          ? Oid.int8
          : Oid.float8
        : Oid.float8
    case "bigint":
      return value >= -(2n ** 63n) && value < 2n ** 63n ? Oid.int8 : Oid.numeric
    case "boolean":
      return Oid.bool
    case "string":
      return Oid.text
  }
  if (value instanceof Date) return Oid.timestamptz
  if (value instanceof Uint8Array) return Oid.bytea
  if (value instanceof Decimal) return Oid.numeric
  return unfit(
    "an object has no PostgreSQL type of its own: pass sql.json(value) for a jsonb, or Types.value(type, value)"
  )
}

const widths: ReadonlyArray<number> = [Oid.int4, Oid.int8, Oid.float8, Oid.numeric]

/** The type that holds the numbers of both. */
const widen = (left: number, right: number): number => {
  if (left === right || left === 0) return right
  const [one, other] = [widths.indexOf(left), widths.indexOf(right)]
  return one < 0 || other < 0
    ? unfit("the elements of an array must all be of one type")
    : widths[Math.max(one, other)]!
}

/** The type of an array's elements where nothing says what they are meant to be; 0 if there are none. */
export const ownElementType = (values: ReadonlyArray<unknown>, nullable: NullCheck): number => {
  let type = 0
  let hasLarge = false
  for (const element of values) {
    if (nullable(element)) continue
    const value = valueOf(element)
    const next = Array.isArray(value) ? ownElementType(value, nullable) : ownType(value)
    hasLarge ||= typeof value === "bigint" && BigInt(Number(value)) !== value
    if (next !== 0) type = widen(type, next)
  }
  // A float would round it.
  return hasLarge && type === Oid.float8 ? Oid.numeric : type
}
