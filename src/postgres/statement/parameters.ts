/**
 * The parameters of one execution: what each is, and in which form it goes.
 *
 * | a parameter                                        | its type                                                |
 * | -------------------------------------------------- | ------------------------------------------------------- |
 * | a string, null                                     | the server derives it from the statement                |
 * | a number, bigint, `Date`, `BigDecimal`, an array, an object | so too; what is sent is checked against what the server derived |
 * | the same where the server derives nothing          | that of the value itself: `int4`, `timestamptz`, `int4[]` |
 * | a boolean, bytes                                   | `bool`, `bytea`                                         |
 * | `Types.value("uuid[]", …)`, a parameter of the driver | the one that is named                                 |
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { checkText, isWellFormed } from "../../values/text.ts"
import { unfit, UnfitValue } from "../../values/UnfitValue.ts"
import { isPlain, undefinedHint, type Value, valueOf } from "../../values/Value.ts"
import type { Codec } from "../types/Codec.ts"
import { codecForAll, forCodec } from "../types/foreign.ts"
import { toServerJson } from "../types/scalars/json.ts"
import { isTypeName, Sent, TypedValue } from "../types/TypedValue.ts"
import { type TypeStore, UnknownTypes } from "../types/TypeStore.ts"
import { Fit, isJson, isText, lossOf, Oid, textFit } from "./fit.ts"
import { arrayText, fitText, type NullCheck, ownElementType, ownType, scalarText } from "./parameterText.ts"

/** The protocol counts them in two bytes. */
export const maxParameters = 65_535

export const Form = {
  Null: 0,
  /** A text, of a type that is named or that the server derives. */
  Text: 1,
  /** A value whose text depends on the type that the server derives. */
  Open: 2,
  /** A value of a type that is named, as its codec writes it. */
  Coded: 3,
  /** Bytes as they are. */
  Bytes: 4
} as const
export type Form = typeof Form[keyof typeof Form]

/** A parameter that can be filled again, so that a statement does not allocate one for each of its values. */
export interface Slot {
  form: Form
  /** The type that is named, or 0. */
  oid: number
  value: Value | unknown
  /** What is written, for `Text`. */
  text: string
  codec: Codec<any> | undefined
}

export type Parameters = ReadonlyArray<Slot>

/** What all statements of an adapter have in common. */
export interface ParameterOptions {
  readonly types: TypeStore
  /** Whether `undefined` is taken for null. */
  readonly undefinedAsNull: boolean
}

const makeSlot = (): Slot => ({ form: Form.Null, oid: 0, value: null, text: "", codec: undefined })

/**
 * Encoding is synchronous, so one set of slots per number of parameters serves every session. They are emptied by
 * `release`, for they would keep the last values alive.
 */
const reusable: Array<Array<Slot> | undefined> = []
const reusableUpTo = 64

const isNull: NullCheck = (value) => value === null
const isNullish: NullCheck = (value) => value === null || value === undefined

/** What stands for null in arrays. */
export const nullCheck = (options: ParameterOptions): NullCheck => options.undefinedAsNull ? isNullish : isNull

/** Finds out what the parameters are. Throws an `UnfitValue` for what is no value. */
export const classify = (values: ReadonlyArray<unknown>, options: ParameterOptions): Parameters => {
  const count = values.length
  if (count > maxParameters) return refuseCount(count)
  let slots = count <= reusableUpTo ? reusable[count] : undefined
  if (slots === undefined) {
    slots = Array.from({ length: count }, makeSlot)
    if (count <= reusableUpTo) reusable[count] = slots
  }
  for (let index = 0; index < count; index++) {
    const slot = slots[index]!
    const value = values[index]
    slot.oid = 0
    slot.codec = undefined
    switch (typeof value) {
      case "number":
      case "bigint":
        slot.form = Form.Open
        slot.value = value
        break
      case "boolean":
        slot.form = Form.Text
        slot.oid = Oid.bool
        slot.text = value ? "t" : "f"
        break
      default:
        if (value === null || value === undefined && options.undefinedAsNull) {
          slot.form = Form.Null
        } else {
          // Only these can fail, and the common values should not pay for the handler.
          try {
            classifyOther(slot, value, options)
          } catch (cause) {
            throw inParameter(index, cause)
          }
        }
    }
  }
  return slots
}

const classifyOther = (slot: Slot, given: unknown, options: ParameterOptions): void => {
  if (given instanceof TypedValue) return classifyTyped(slot, given, options)
  if (PgTypes.isParameter(given)) return classifyDriver(slot, given, options)
  const value = valueOf(given)
  if (typeof value === "string") {
    slot.form = Form.Text
    slot.text = checkText(value)
  } else {
    slot.form = Form.Open
    slot.value = value
  }
}

/** A name that users have made means what the `search_path` of the moment says, so the server is asked first. */
const classifyTyped = (slot: Slot, typed: TypedValue, { types, undefinedAsNull }: ParameterOptions): void => {
  if (!isWellFormed(typed.type) || !isTypeName(typed.type)) return unfit("what is given as a type is no name of one")
  const builtin = types.builtinNamed(typed.type)
  if (typed.sent === Sent.Texts) return sendTexts(slot, typed, builtin ?? types.byName(typed.type), types)
  if (typed.value === undefined && !undefinedAsNull) return unfit(undefinedHint)
  if (typed.value === null || typed.value === undefined) {
    slot.oid = builtin ?? types.byName(typed.type)
    slot.form = Form.Null
    return
  }
  if (builtin !== undefined) return code(slot, builtin, typed, types)
  slot.form = Form.Open
  slot.value = typed
}

const textArray = 1009

const sendTexts = (slot: Slot, { value }: TypedValue, oid: number, types: TypeStore): void => {
  const { format } = codecForAll(types, oid)
  slot.oid = textArray
  slot.form = Form.Text
  slot.text = arrayText(
    (value as ReadonlyArray<unknown>).map((one) =>
      one === null ? null : one === undefined ? unfit(undefinedHint) : format(one)
    ),
    ",",
    true,
    isNull,
    scalarText
  )
}

const code = (slot: Slot, oid: number, { sent, value }: TypedValue, types: TypeStore): void => {
  if (sent === Sent.Elements) refuseInnerArrays(oid, value, types)
  slot.oid = oid
  slot.form = Form.Coded
  slot.codec = types.codec(oid)
  slot.value = forCodec(types, oid, value)
}

const isList = (value: unknown): boolean =>
  Array.isArray(value) || ArrayBuffer.isView(value) && Array.isArray(valueOf(value))

/** An array of a domain over arrays is one, but `unnest` and `any` go to the elements of the elements. */
const refuseInnerArrays = (oid: number, values: unknown, types: TypeStore): void => {
  const element = types.elementOf(types.baseOf(oid))?.element
  // As a further dimension it would be several values, or the only one in it.
  if (element !== undefined && types.codec(element)?.shape === undefined && Array.isArray(values)) {
    if (values.some(isList)) unfit("an array among the values is no value of their type")
  }
  if (element !== undefined && types.elementOf(types.baseOf(element)) !== undefined) {
    unfit(
      "the values are arrays to the server: name the type of the array itself, as \"int4[]\", instead of the domain"
    )
  }
}

const classifyDriver = (
  slot: Slot,
  given: PgTypes.Parameter,
  { types, undefinedAsNull }: ParameterOptions
): void => {
  const { oid, value } = given
  slot.oid = oid
  if (value === undefined && !undefinedAsNull) return unfit(undefinedHint)
  if (value === null || value === undefined) {
    slot.form = Form.Null
  } else if (isJson(oid)) {
    // A codec that someone has chosen for documents is for columns; what is meant here is the value.
    slot.form = Form.Text
    slot.text = toServerJson(value)
  } else if (oid === 0) {
    slot.form = Form.Text
    slot.text = scalarText(valueOf(value))
  } else {
    slot.form = Form.Coded
    slot.codec = types.driverCodec(oid)
    slot.value = value
  }
}

/**
 * Brings the open parameters into the form of the types that the server has derived. Answers `Unfit` if a value is none
 * of its type: its slot has a type of its own then, with which the statement is another one.
 */
export const settle = (
  slots: Parameters,
  types: ReadonlyArray<number>,
  writes: boolean,
  options: ParameterOptions
): Fit => {
  let worst: Fit = Fit.Exact
  for (let index = 0; index < slots.length; index++) {
    const slot = slots[index]!
    let fit: Fit = Fit.Exact
    if (slot.form === Form.Open) {
      try {
        fit = settleOpen(slot, types[index]!, writes, options)
      } catch (cause) {
        throw inParameter(index, cause)
      }
    } else if (slot.form === Form.Text && slot.oid === 0) {
      fit = textFit(options.types.baseOf(types[index]!), slot.text)
    }
    if (fit > worst) worst = fit
  }
  return worst
}

const settleOpen = (slot: Slot, oid: number, writes: boolean, options: ParameterOptions): Fit => {
  const { types } = options
  const { value } = slot
  // The most common of all: the key of a row.
  if (typeof value === "number" && oid === Oid.int4 && (value | 0) === value) {
    slot.text = String(value)
    return Fit.Exact
  }
  if (types.codec(oid) === undefined) throw new UnknownTypes([], [oid])
  if (value instanceof TypedValue) {
    if (!types.isCalled(oid, value.type)) {
      code(slot, types.byName(value.type), value, types)
      return Fit.Unfit
    }
    if (value.sent === Sent.Elements) refuseInnerArrays(oid, value.value, types)
    slot.text = codecForAll(types, oid).format(value.value)
    return Fit.Exact
  }
  if (value instanceof Uint8Array) {
    if (writes) refuseLoss(types, oid, value)
    beItself(slot, options)
    return Fit.Unfit
  }
  const { fit, text } = fitText(types, oid, value as Value, nullCheck(options))
  if (fit !== Fit.Unfit) {
    slot.text = text
    return fit
  }
  if (writes && value instanceof Date && isText(types.baseOf(oid))) {
    // As its text, which is the same in every session.
    slot.text = scalarText(value)
    return Fit.Exact
  }
  if (writes) refuseLoss(types, oid, value as Value)
  if (Array.isArray(value) && ownElementType(value, nullCheck(options)) === 0) refuseUntyped(value)
  beItself(slot, options)
  return Fit.Unfit
}

/** Refuses what a column of a type would change without an error. */
const refuseLoss = (types: TypeStore, oid: number, value: Value): void => {
  const base = types.baseOf(oid)
  const elements = types.elementOf(base)
  const loss = lossOf(base, value)
  if (loss !== undefined) return unfit(`${types.codec(oid)!.name}: ${loss}`)
  if (elements === undefined || !Array.isArray(value)) return
  for (const element of value) {
    if (element === null || element === undefined) continue
    const inner = valueOf(element)
    if (inner instanceof Date && isText(types.baseOf(elements.element))) unfit("a Date in an array is no text")
    refuseLoss(types, Array.isArray(inner) ? base : elements.element, inner)
  }
}

const refuseUntyped = (values: ReadonlyArray<unknown>): never =>
  unfit(
    values.length === 0
      ? "an empty array has no type of its own: pass Types.value(type, [])"
      : "the type of an array that contains only nulls is not known: pass Types.value(type, value)"
  )

/** The server cannot derive the types of this statement: each value is of its own. */
export const settleAlone = (slots: Parameters, options: ParameterOptions): void => {
  for (let index = 0; index < slots.length; index++) {
    const slot = slots[index]!
    if (slot.form !== Form.Open) continue
    try {
      if (slot.value instanceof TypedValue) {
        code(slot, options.types.byName(slot.value.type), slot.value, options.types)
      } else beItself(slot, options)
    } catch (cause) {
      throw inParameter(index, cause)
    }
  }
}

/** No description can be had: each value goes as a text, and the server has to derive its type. */
export const settleBlindly = (slots: Parameters, options: ParameterOptions): void => {
  const isNothing = nullCheck(options)
  for (let index = 0; index < slots.length; index++) {
    const slot = slots[index]!
    if (slot.form !== Form.Open) continue
    try {
      const { value } = slot
      if (value instanceof TypedValue) {
        code(slot, options.types.byName(value.type), value, options.types)
        continue
      }
      slot.form = Form.Text
      slot.text = Array.isArray(value)
        ? arrayText(value, ",", false, isNothing, scalarText)
        : isRecord(value)
        ? toServerJson(value)
        : scalarText(value as Value)
    } catch (cause) {
      throw inParameter(index, cause)
    }
  }
}

const isRecord = (value: unknown): boolean => typeof value === "object" && value !== null && isPlain(value)

const beItself = (slot: Slot, options: ParameterOptions): void => {
  const value = slot.value as Value
  slot.form = value instanceof Uint8Array ? Form.Bytes : Form.Text
  if (value instanceof Uint8Array) {
    slot.oid = Oid.bytea
    return
  }
  if (!Array.isArray(value)) {
    slot.oid = ownType(value)
    slot.text = scalarText(value)
    return
  }
  const isNothing = nullCheck(options)
  const element = ownElementType(value, isNothing)
  if (element === 0) {
    if (value.length > 0) return refuseUntyped(value)
    // The server has the last word on what an empty array is.
    slot.oid = 0
    slot.text = "{}"
    return
  }
  const array = options.types.arrayOf(element)
  if (array === undefined) return unfit(`no array type is known for elements of type ${element}`)
  slot.oid = array
  slot.text = arrayText(value, ",", false, isNothing, scalarText)
}

/** Whether there is a value whose form depends on what the server derives. */
export const isOpen = (slots: Parameters): boolean => {
  for (let index = 0; index < slots.length; index++) if (slots[index]!.form === Form.Open) return true
  return false
}

/** Whether the type that is derived for a value has to be known. */
export const needsType = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !PgTypes.isParameter(value) || value instanceof TypedValue ||
  typeof value === "number" || typeof value === "bigint"

const inParameter = (index: number, cause: unknown): Error =>
  cause instanceof UnknownTypes
    ? cause
    : new UnfitValue({
      message: `parameter $${index + 1}: ${
        cause instanceof UnfitValue || cause instanceof PgTypes.CodecError ? cause.message : "its codec refused it"
      }`
    })

const refuseCount = (count: number): never =>
  unfit(
    `a statement has at most ${maxParameters} parameters, not ${count}: ` +
      "use Bulk.insert, or Arrays.unnest, which takes one for each column"
  )

/** Compares how many there are with how many the text asks for. */
export const checkCount = (wanted: number, given: number): void => {
  if (wanted !== given) unfit(`it has ${wanted} placeholders, but there are ${given} parameters`)
}

/** Lets go of the values that were encoded. */
export const release = (slots: Parameters): void => {
  for (let index = 0; index < slots.length; index++) {
    slots[index]!.value = null
    slots[index]!.text = ""
  }
}
