/**
 * `Parse` and `Bind`. The driver's codec counts parameters in a signed number of two bytes and knows no result formats
 * but binary.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { unfit } from "../../values/UnfitValue.ts"
import * as frames from "../wire/frames.ts"
import { WireBuffer } from "../wire/WireBuffer.ts"
import { Form, type Parameters, type Slot } from "./parameters.ts"

/** Small messages are cut out of one piece of memory. */
const pieceSize = 16 * 1024
const roomForMost = 512

/** Messages that are written one after the other. */
class MessageWriter extends WireBuffer {
  private begun = 0

  constructor() {
    super(pieceSize, 0)
  }

  begin(type: number): void {
    if (this.bytes.length - this.offset < roomForMost || this.bytes.length > pieceSize) this.renew()
    this.begun = this.offset
    this.uint8(type)
    this.int32(0)
  }

  end(): Uint8Array {
    this.bytes.writeInt32BE(this.offset - this.begun - 1, this.begun + 1)
    return this.bytes.subarray(this.begun, this.offset)
  }

  private renew(): void {
    this.bytes = Buffer.allocUnsafeSlow(pieceSize)
    this.offset = 0
  }

  cString(value: string): void {
    this.utf8(value)
    this.uint8(0)
  }
}

const writer = new MessageWriter()

/** `Parse`. The types at the end that the server derives need not be named. */
export const encodeParse = (name: string, sql: string, types: ReadonlyArray<number>): Uint8Array => {
  if (sql.includes("\u0000")) return unfit("the text contains a NUL")
  let named = types.length
  while (named > 0 && types[named - 1] === 0) named--
  writer.begin(0x50)
  writer.cString(name)
  writer.cString(sql)
  writer.int16(named)
  for (let index = 0; index < named; index++) writer.int32(types[index]!)
  return writer.end()
}

const isBinary = ({ codec, form }: Slot): boolean =>
  form === Form.Bytes || form === Form.Coded && codec!.write !== undefined

const writeValue = (slot: Slot): void => {
  const token = writer.beginLength()
  switch (slot.form) {
    case Form.Text:
    case Form.Open:
      writer.utf8(slot.text)
      break
    case Form.Bytes:
      writer.raw(slot.value as Uint8Array)
      break
    case Form.Coded:
      writeCoded(slot)
      break
  }
  writer.endLength(token)
}

/** The codec boundary: a codec of the user's own may show the value in what it throws. */
const writeCoded = ({ codec, value }: Slot): void => {
  try {
    if (codec!.write === undefined) writer.utf8(codec!.format(value))
    else codec!.write(writer, value)
  } catch (cause) {
    const { message } = cause instanceof Error ? cause : new Error(String(cause))
    unfit(`${codec!.name}: ${message}`)
  }
}

/** `Bind`. Without formats all columns are asked for in binary. */
export const encodeBind = (
  portal: string,
  statement: string,
  slots: Parameters,
  formats: Uint8Array | undefined
): Uint8Array => {
  const count = slots.length
  let binary = 0
  for (let index = 0; index < count; index++) if (isBinary(slots[index]!)) binary++
  writer.begin(0x42)
  writer.cString(portal)
  writer.cString(statement)
  if (binary === 0) {
    writer.int16(0)
  } else {
    writer.int16(count)
    for (let index = 0; index < count; index++) writer.int16(isBinary(slots[index]!) ? 1 : 0)
  }
  writer.int16(count)
  for (let index = 0; index < count; index++) {
    if (slots[index]!.form === Form.Null) writer.int32(-1)
    else writeValue(slots[index]!)
  }
  if (formats === undefined) {
    writer.int16(1)
    writer.int16(1)
  } else {
    writer.raw(formats)
  }
  return writer.end()
}

const noSlots: Parameters = []

/** A statement that is run once, as a part of the cycle of another one. */
export const runWithin = (sql: string): Uint8Array =>
  frames.join(
    encodeParse("", sql, []),
    encodeBind("", "", noSlots, undefined),
    PgProtocol.encodeExecute({ portal: "", maxRows: 0 })
  )
