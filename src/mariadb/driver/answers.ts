/** What the connector answers, as the room of both drivers takes it. */
import { type Column, kindOf } from "../../mysql-family/driver/columns.ts"
import { type Ok, RowDecoder, toUnsigned } from "../../mysql-family/statement/results.ts"

/** What the connector answers without rows. */
export interface OkPacket {
  readonly affectedRows: number
  readonly insertId: bigint
  readonly warningStatus: number
}

/** A column as the connector describes it. */
export interface Field {
  readonly columnType: number
  readonly scale: number
  readonly dataTypeName: string | undefined
  readonly collation: { readonly index: number }
  readonly name: () => string
  readonly isSet: () => boolean
  readonly isDataTypeFormatJson: () => boolean
}

const columnOf = (field: Field): Column => ({
  name: field.name(),
  kind: kindOf({
    type: field.columnType,
    collation: field.collation.index,
    typeName: field.dataTypeName,
    isJson: field.isDataTypeFormatJson(),
    isSet: field.isSet()
  }),
  decimals: field.scale
})

/** The fields of a prepared statement are the same every time. */
export const decoderOf = (fields: ReadonlyArray<Field>): RowDecoder => {
  let decoder = decoders.get(fields)
  if (decoder === undefined) decoders.set(fields, decoder = new RowDecoder(fields.map(columnOf)))
  return decoder
}

const decoders = new WeakMap<ReadonlyArray<Field>, RowDecoder>()

// The connector reads neither the number of changed rows nor the words of the server.
export const okOf = (packet: OkPacket): Ok => ({
  affectedRows: Number(packet.affectedRows),
  changedRows: undefined,
  insertId: toUnsigned(packet.insertId),
  warningStatus: packet.warningStatus,
  info: ""
})

export const isField = (value: unknown): boolean => typeof value === "object" && value !== null && "columnType" in value
