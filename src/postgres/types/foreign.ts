/**
 * Values of Effect and of the platform as what the codecs take: a `DateTime` is a `Date`, a `BigDecimal` its digits, a
 * `URL` its text, any view of bytes a `Uint8Array`. So a value is the same, whichever way it goes.
 */
import { unfit } from "../../values/UnfitValue.ts"
import { Decimal, isPlain, refusalOf, valueOf } from "../../values/Value.ts"
import { isJson, Oid } from "../statement/fit.ts"
import type { Codec } from "./Codec.ts"
import type { TypeStore } from "./TypeStore.ts"

/** A value as the codec of a type takes it. Codecs that the program has chosen get what they are given. */
export const forCodec = (types: TypeStore, oid: number, value: unknown): unknown => {
  if (typeof value !== "object" || value === null || value instanceof Date || value instanceof Uint8Array) return value
  const base = types.baseOf(oid)
  if (isJson(base) || types.isChosen(oid)) return value
  if (Array.isArray(value)) return ofArray(types, base, value)
  // What a codec knows are plain objects: a range, a composite, an interval. A class may have the same fields.
  if (isPlain(value) || isInstance(value)) return value
  const known = valueOf(value)
  if (known instanceof Decimal) return ofDecimal(base, known)
  return Array.isArray(known) ? ofArray(types, base, known) : known
}

const isInstance = (value: object): boolean =>
  Object.keys(value).length > 0 && refusalOf(value)?.startsWith("an instance of") === true

const ofArray = (types: TypeStore, base: number, values: ReadonlyArray<unknown>): ReadonlyArray<unknown> => {
  const element = types.elementOf(base)?.element
  if (element === undefined) return values
  let changed: Array<unknown> | undefined
  for (let index = 0; index < values.length; index++) {
    const value = values[index]
    const known = Array.isArray(value) && types.elementOf(types.baseOf(element)) === undefined
      ? ofArray(types, base, value)
      : forCodec(types, element, value)
    if (known !== value) (changed ??= Array.from(values))[index] = known
  }
  return changed ?? values
}

const ofDecimal = (base: number, { text }: Decimal): unknown => {
  switch (base) {
    case Oid.float4:
    case Oid.float8:
      return Number(text)
    case Oid.numeric:
    case Oid.text:
    case Oid.varchar:
      return text
    case Oid.int2:
    case Oid.int4:
    case Oid.int8:
      return /^-?\d+$/.test(text) ? BigInt(text) : unfit("expected an integer")
    default:
      return unfit("a BigDecimal is a number")
  }
}

/** The codec of a type, for values of any kind. */
export const codecForAll = (types: TypeStore, oid: number): Codec<any> => {
  const codec = types.codec(oid)!
  const { format, write } = codec
  if (isJson(types.baseOf(oid)) || types.isChosen(oid)) return codec
  return {
    ...codec,
    format: (value) => format(forCodec(types, oid, value)),
    write: write === undefined
      ? undefined
      : (sink, value: unknown) => write(sink, typeof value === "object" ? forCodec(types, oid, value) : value)
  }
}
