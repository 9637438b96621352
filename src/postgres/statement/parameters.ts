/**
 * Which PostgreSQL type a JavaScript value is sent as.
 *
 * The rules are the driver's own, so that a program behaves the same on both: integers go as `int4` or `int8`, other
 * numbers as `float8`, strings as untyped literals whose type the server derives from the statement.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Result from "effect/Result"
import type { Codec } from "../types/Codec.ts"
import { TypedValue } from "../types/TypedValue.ts"
import { type TypeStore, UnknownTypes } from "../types/TypeStore.ts"

const INT32_MIN = -2147483648
const INT32_MAX = 2147483647

/** A parameter that can be filled again, so that a statement does not allocate one for each of its values. */
interface Slot extends PgTypes.Parameter {
  oid: number
  value: unknown
  /** How the value is written, where the driver does not do it. */
  codec: Codec<any> | undefined
}

const makeSlot = (): Slot => ({
  [PgTypes.ParameterTypeId]: PgTypes.ParameterTypeId,
  oid: 0,
  value: null,
  codec: undefined
})

/**
 * Encoding is synchronous, so one set of slots per number of parameters serves every session. They are emptied by
 * `release`, for they would keep the last values alive.
 */
const reusable: Array<Array<Slot> | undefined> = []
const reusableUpTo = 64

export type Parameters = Array<PgTypes.Parameter>

const fail = (message: string): never => {
  throw new PgTypes.CodecError({ message })
}

const inferScalar = (slot: Slot, value: unknown, types: TypeStore): void => {
  slot.codec = undefined
  switch (typeof value) {
    case "string":
      slot.oid = 0
      slot.value = value
      return
    case "number":
      if (Number.isInteger(value)) {
        if (value >= INT32_MIN && value <= INT32_MAX) {
          slot.oid = PgTypes.OID.int4
          slot.value = value
          return
        }
        if (Number.isSafeInteger(value)) {
          slot.oid = PgTypes.OID.int8
          slot.value = BigInt(value)
          return
        }
      }
      slot.oid = PgTypes.OID.float8
      slot.value = value
      return
    case "boolean":
      slot.oid = PgTypes.OID.bool
      slot.value = value
      return
    case "bigint":
      slot.oid = PgTypes.OID.int8
      slot.value = value
      return
    case "undefined":
      slot.oid = 0
      slot.value = null
      return
  }
  if (value === null) {
    slot.oid = 0
    slot.value = null
  } else if (value instanceof TypedValue) {
    slot.oid = types.byName(value.type)
    slot.codec = types.codec(slot.oid)
    slot.value = value.value
  } else if (PgTypes.isParameter(value)) {
    slot.oid = value.oid
    slot.value = value.value
  } else if (value instanceof Date) {
    slot.oid = PgTypes.OID.timestamptz
    slot.value = value
  } else if (value instanceof Uint8Array) {
    slot.oid = PgTypes.OID.bytea
    slot.value = value
  } else if (value instanceof Int8Array) {
    slot.oid = PgTypes.OID.bytea
    slot.value = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  } else {
    fail(
      typeof value === "object"
        ? "an object has no PostgreSQL type of its own: pass sql.json(value) for a jsonb, or Types.value(type, value)"
        : `a ${typeof value} cannot be sent to PostgreSQL`
    )
  }
}

const inferArray = (
  slot: Slot,
  value: ReadonlyArray<unknown>,
  types: TypeStore
): void => {
  slot.codec = undefined
  if (value.length === 0) {
    // The server derives the array's type from the statement, as it does for a string.
    slot.oid = 0
    slot.value = "{}"
    return
  }
  let elementOid = 0
  let nested = false
  const convert = (element: unknown): unknown => {
    if (Array.isArray(element)) {
      nested = true
      return element.map(convert)
    }
    inferScalar(slot, element, types)
    if (slot.value === null) return null
    // A string by itself is untyped, but an array names the type of its elements.
    const oid = slot.oid === 0 ? PgTypes.OID.text : slot.oid
    if (elementOid === 0) elementOid = oid
    else if (elementOid !== oid) fail("the elements of an array must all be of one type")
    return slot.value
  }
  const values = value.map(convert)
  const { codec } = slot
  if (elementOid === 0) {
    fail("the type of an array that contains only nulls is not known: pass Types.value(type, value)")
  }
  const arrayOid = PgTypes.arrayOidFor(elementOid, types.registry) ?? types.arrayOf(elementOid)
  if (arrayOid === undefined) return fail(`no array type is known for elements of type ${elementOid}`)
  slot.oid = arrayOid
  slot.value = values
  // The driver's arrays have one dimension.
  slot.codec = nested || codec !== undefined ? types.codec(arrayOid) : undefined
}

/** Infers the parameters of a statement. Throws a `CodecError` for a value that has no type. */
export const infer = (values: ReadonlyArray<unknown>, types: TypeStore): Parameters => {
  const count = values.length
  let slots = count <= reusableUpTo ? reusable[count] : undefined
  if (slots === undefined) {
    slots = Array.from({ length: count }, makeSlot)
    if (count <= reusableUpTo) reusable[count] = slots
  }
  for (let index = 0; index < count; index++) {
    const value = values[index]
    if (Array.isArray(value)) {
      try {
        inferArray(slots[index]!, value, types)
      } catch (cause) {
        throw inParameter(index, cause)
      }
    } else {
      // Only an object can fail, and the common values should not pay for the handler.
      if (typeof value !== "object" && typeof value !== "function" && typeof value !== "symbol") {
        inferScalar(slots[index]!, value, types)
      } else {
        try {
          inferScalar(slots[index]!, value, types)
        } catch (cause) {
          throw inParameter(index, cause)
        }
      }
    }
  }
  return slots
}

const inParameter = (index: number, cause: unknown): Error =>
  cause instanceof UnknownTypes
    ? cause
    : new PgTypes.CodecError({ message: `parameter $${index + 1}: ${cause instanceof Error ? cause.message : cause}` })

/** Lets go of the values that were encoded. */
export const release = (parameters: Parameters): void => {
  for (let index = 0; index < parameters.length; index++) (parameters[index] as Slot).value = null
}

/** Encodes a `Bind`. Throws the codec's errors. */
export type BindEncoder = (portal: string, statement: string, parameters: Parameters) => Uint8Array

const hasCodec = (parameter: PgTypes.Parameter): boolean => (parameter as Slot).codec !== undefined

/** The driver's writer wants the failures of its own kind. */
const writeValue = (
  sink: PgProtocol.ValueSink,
  codec: Codec<any>,
  value: unknown
): Result.Result<void, PgTypes.CodecError> => {
  try {
    if (codec.write === undefined) sink.utf8(codec.format(value))
    else codec.write(sink, value)
    return Result.void
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause)
    return Result.fail(new PgTypes.CodecError({ message: `${codec.name}: ${what}` }))
  }
}

/** The encoder for a registry of types. The driver's own writer takes a faster path when no registry is given. */
export const makeBindEncoder = (registry: PgTypes.Registry | undefined): BindEncoder => {
  const encodeDriver = registry === undefined
    ? PgProtocol.makeBindEncoder(PgTypes.writeParameter, PgTypes.isTextFormat)
    : PgProtocol.makeBindEncoder(
      (sink: PgProtocol.ValueSink, parameter: PgTypes.Parameter) => PgTypes.writeParameter(sink, parameter, registry),
      PgTypes.isTextFormat
    )
  const encodeOwn = PgProtocol.makeBindEncoder((sink: PgProtocol.ValueSink, parameter: PgTypes.Parameter) => {
    const { codec, value } = parameter as Slot
    if (codec === undefined || value === null || value === undefined) {
      return PgTypes.writeParameter(sink, value === undefined ? { ...parameter, value: null } : parameter, registry)
    }
    return writeValue(sink, codec, value)
  }, (parameter) => {
    const { codec, oid } = parameter as Slot
    return codec === undefined ? oid === 0 : codec.write === undefined
  })
  return (portal, statement, parameters) => {
    const encode = parameters.some(hasCodec) ? encodeOwn : encodeDriver
    const result = encode({ portal, statement, parameters })
    if (Result.isFailure(result)) throw result.failure
    return result.success
  }
}
