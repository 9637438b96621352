/** What `mysql2` answers, as the room of both drivers takes it. */
import type { FieldPacket } from "mysql2"
import { binaryCollation, type Column, Kind, kindOf, Type } from "../../mysql-family/driver/columns.ts"
import { type Receiver, type Result, Status } from "../../mysql-family/driver/Driver.ts"
import { type Ok, RowDecoder, toUnsigned } from "../../mysql-family/statement/results.ts"

/** What `mysql2` answers without rows. */
interface Header {
  readonly affectedRows: number
  readonly insertId: number | string
  readonly warningStatus: number
  readonly serverStatus: number
  readonly info: string
  readonly changedRows: number
  /** What the server says of the session, if that has changed. */
  readonly stateChanges?: {
    readonly systemVariables: Readonly<Record<string, string>>
    readonly schema: string | null
    readonly gtids: ReadonlyArray<string>
    readonly trackStateChange: string | null
  }
}

/** A column as `mysql2` describes it, and as its parser of rows takes it. */
type Field = Omit<FieldPacket, "name"> & {
  name: string
  columnType: number
  characterSet: number
  readonly flags: number
  readonly extendedFormat?: string | undefined
  readonly extendedTypeName?: string | undefined
}

/** How a result is read: kept with its columns. */
const decoders = new WeakMap<ReadonlyArray<Field>, RowDecoder>()

const setFlag = 2048

const columnOf = (field: Field): Column => ({
  name: field.name,
  kind: kindOf({
    type: field.columnType,
    collation: field.characterSet,
    typeName: field.extendedTypeName,
    isJson: field.extendedFormat === "json",
    isSet: (field.flags & setFlag) !== 0
  }),
  decimals: Number(field.decimals)
})

/** Names that the driver's parser of rows refuses, also where rows are arrays. */
const refusedName = /^__(?:proto|(?:define|lookup)[GS]etter)__$/

/**
 * Called with the columns of a result before the driver makes a parser of rows from them. The parser is to leave alone
 * what it would lose something of, and must not throw because of a name: that would end the connection.
 */
export const describe = (fields: ReadonlyArray<Field> | undefined, previous: RowDecoder | undefined): void => {
  if (fields === undefined) return
  const columns = fields.map(columnOf)
  decoders.set(fields, previous?.matches(columns) === true ? previous : new RowDecoder(columns))
  for (let index = 0; index < fields.length; index++) {
    const field = fields[index]!
    if (refusedName.test(field.name)) field.name = `column ${index}`
    const { kind } = columns[index]!
    if (kind === Kind.Geometry || kind === Kind.Vector) {
      field.columnType = Type.Blob
      field.characterSet = binaryCollation
    }
  }
}

export const decoderOf = (fields: unknown): RowDecoder =>
  decoders.get(fields as ReadonlyArray<Field>) ?? new RowDecoder([])

const okOf = (header: Header): Ok => ({
  affectedRows: Number(header.affectedRows),
  changedRows: header.changedRows,
  insertId: toUnsigned(header.insertId),
  warningStatus: header.warningStatus,
  info: header.info.trim()
})

/** Which transactions a statement has written. The server tells only where it is asked to, see `session_track_gtids`. */
export const writtenBy = (rows: unknown): string | undefined => {
  const gtids = Array.isArray(rows) ? undefined : (rows as Header | undefined)?.stateChanges?.gtids
  return gtids === undefined || gtids.length === 0 ? undefined : gtids.join()
}

/** The flags of an answer. What was written is no change of the session, though the server has no other flag for it. */
const statusOf = ({ serverStatus, stateChanges }: Header): number => {
  if (stateChanges === undefined || stateChanges.gtids.length === 0) return serverStatus
  const { schema, systemVariables, trackStateChange } = stateChanges
  const isOther = schema !== null || trackStateChange !== null || Object.keys(systemVariables).length > 0
  return isOther ? serverStatus : serverStatus & ~Status.SessionChanged
}

/** Passes an answer on. */
export const pass = (receiver: Receiver, error: unknown, rows: unknown, fields: unknown): void => {
  if (error !== null && error !== undefined) return receiver.onError(error, true)
  if (!Array.isArray(rows)) {
    const header = rows as Header
    return receiver.onOk(okOf(header), statusOf(header))
  }
  if (!Array.isArray(fields) || fields.length > 0 && fields[0] !== undefined && !Array.isArray(fields[0])) {
    return receiver.onRows(rows, decoderOf(fields), undefined)
  }
  let status: number | undefined
  const results = rows.map((result: unknown, index): Result => {
    if (Array.isArray(result)) return { rows: result, decoder: decoderOf(fields[index]) }
    status = statusOf(result as Header)
    return { ok: okOf(result as Header) }
  })
  receiver.onMany(results, status)
}
