/**
 * What is known of a statement's columns, and how its rows are read.
 *
 * PostgreSQL sends each column in the format that `Bind` asked for, so the columns must be known before `Bind`: a type
 * without a codec has to be asked for as text, for nobody could read its binary form. That is why a statement that is
 * new to the process is described before it runs (see `Session.ts`), and why a description is shared by all sessions
 * of an adapter.
 */
import type { Field, Row } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Result from "effect/Result"
import * as frames from "./frames.ts"
import { isReadableText, textReader } from "./textValues.ts"

type FieldReader = PgProtocol.FieldReader<unknown>
type RowBuilder = (values: ReadonlyArray<unknown>) => Row

/**
 * The first value that could not be decoded since this was last cleared.
 *
 * A reader that throws would end the parser and with it the session, so readers leave their failure here instead and
 * whoever receives the row picks it up. Rows are parsed and received synchronously, one at a time.
 */
export const decodeFailure: { column: number; cause: unknown } = { column: -1, cause: undefined }

/** Reads nothing: for the rows of a statement that nobody waits for any more. */
export const skipField: FieldReader = () => undefined

export class Description {
  readonly columns: ReadonlyArray<PgProtocol.FieldDescription>
  readonly fields: ReadonlyArray<Field>
  /** The result formats as they stand at the end of a `Bind`, or `undefined` for binary throughout. */
  readonly formats: Uint8Array | undefined
  readonly readField: FieldReader
  /** Why rows in this format cannot be read. */
  readonly problem: string | undefined

  private readonly binary: ReadonlyArray<boolean>
  private builder: RowBuilder
  private built = 0

  constructor(
    columns: ReadonlyArray<PgProtocol.FieldDescription>,
    binary: ReadonlyArray<boolean>,
    registry: PgTypes.Registry | undefined
  ) {
    this.columns = columns
    this.binary = binary
    this.fields = columns.map((column) => ({ name: column.name, dataTypeId: column.dataTypeOid }))
    this.formats = binary.includes(false) ? frames.resultFormats(binary) : undefined
    this.problem = findProblem(columns, binary, registry)
    this.readField = makeReader(columns, binary, registry)
    this.builder = genericBuilder(columns)
  }

  /** Makes an object of a row. */
  row(values: ReadonlyArray<unknown>): Row {
    // Compiling a constructor pays after a few rows only, and many statements never return more than one.
    if (this.built < compileAfter && ++this.built === compileAfter) this.builder = compiledBuilder(this.columns)
    return this.builder(values)
  }

  /** Whether the columns that the server announces are these. */
  matches(columns: ReadonlyArray<PgProtocol.FieldDescription>): boolean {
    if (columns.length !== this.columns.length) return false
    for (let index = 0; index < columns.length; index++) {
      const left = columns[index]!
      const right = this.columns[index]!
      if (
        left.dataTypeOid !== right.dataTypeOid || left.name !== right.name ||
        left.format !== (this.binary[index] === true ? 1 : 0)
      ) return false
    }
    return true
  }
}

/** Chooses the formats for a statement that has been described but not yet bound. */
export const describeStatement = (
  columns: ReadonlyArray<PgProtocol.FieldDescription>,
  registry: PgTypes.Registry | undefined
): Description => new Description(columns, columns.map((column) => hasCodec(column.dataTypeOid, registry)), registry)

/** Describes rows whose formats are already fixed. */
export const describeRows = (
  columns: ReadonlyArray<PgProtocol.FieldDescription>,
  registry: PgTypes.Registry | undefined
): Description => new Description(columns, columns.map((column) => column.format === 1), registry)

/**
 * Whether the registry can read a type. The driver has no question for this, but encoding anything tells: a missing
 * codec is reported before the value is looked at.
 */
const hasCodec = (oid: number, registry: PgTypes.Registry | undefined): boolean => {
  try {
    const encoded = PgTypes.encode(undefined, oid, registry)
    return Result.isSuccess(encoded) || !encoded.failure.message.startsWith("No codec registered for OID")
  } catch {
    // A codec of the user's own that threw on the probe exists, which is all that was asked.
    return true
  }
}

const findProblem = (
  columns: ReadonlyArray<PgProtocol.FieldDescription>,
  binary: ReadonlyArray<boolean>,
  registry: PgTypes.Registry | undefined
): string | undefined => {
  for (let index = 0; index < columns.length; index++) {
    const { dataTypeOid, name } = columns[index]!
    const known = hasCodec(dataTypeOid, registry)
    if (binary[index] === true ? !known : known && !isReadableText(dataTypeOid)) {
      return `the type of column "${name}" changed to one that was not asked for in a readable format`
    }
  }
  return undefined
}

const makeReader = (
  columns: ReadonlyArray<PgProtocol.FieldDescription>,
  binary: ReadonlyArray<boolean>,
  registry: PgTypes.Registry | undefined
): FieldReader => {
  // Text is read as the codec of `text` reads it, whatever the column's type; what it means is worked out after that.
  const reader = PgTypes.makeFieldReader(
    columns.map((column, index) => ({
      format: 1,
      dataTypeOid: binary[index] === true ? column.dataTypeOid : PgTypes.OID.text
    })),
    registry
  )
  // It fails for text formats only, and there are none left.
  const read = Result.getOrThrow(reader)
  const texts = columns.map((column, index) => binary[index] === true ? undefined : textReader(column.dataTypeOid))
  const convert: FieldReader = texts.every((text) => text === undefined) ? read : (bytes, offset, size, column) => {
    const value = read(bytes, offset, size, column)
    const text = texts[column]
    return text === undefined || value === null ? value : text(value as string)
  }
  return (bytes, offset, size, column) => {
    // The codec boundary: what a codec throws is a failure of this statement and must not reach the parser.
    try {
      return convert(bytes, offset, size, column)
    } catch (cause) {
      if (decodeFailure.cause === undefined) {
        decodeFailure.cause = cause ?? new Error("A codec failed without an error")
        decodeFailure.column = column
      }
      return undefined
    }
  }
}

const compileAfter = 16

const genericBuilder = (columns: ReadonlyArray<PgProtocol.FieldDescription>): RowBuilder => {
  const names = columns.map((column) => column.name)
  // Assigning `__proto__` would set the prototype. An object without the accessor takes it as any other name, but
  // would not look like the other rows, so such a result pays for `defineProperty`.
  if (names.includes("__proto__")) {
    return (values) => {
      const row: Record<string, unknown> = {}
      for (let index = 0; index < names.length; index++) {
        Object.defineProperty(row, names[index]!, {
          value: values[index],
          enumerable: true,
          configurable: true,
          writable: true
        })
      }
      return row
    }
  }
  return (values) => {
    const row: Record<string, unknown> = {}
    for (let index = 0; index < names.length; index++) row[names[index]!] = values[index]
    return row
  }
}

/**
 * A function whose body is one object literal: several times faster than assigning under computed names, and every
 * row has the same hidden class from the start. Environments that forbid generated code keep the loop.
 */
const compiledBuilder = (columns: ReadonlyArray<PgProtocol.FieldDescription>): RowBuilder => {
  if (columns.length > 128 || columns.some((column) => column.name === "__proto__")) return genericBuilder(columns)
  const entries = columns.map((column, index) => `${JSON.stringify(column.name)}: v[${index}]`)
  try {
    return new Function("v", `return { ${entries.join(", ")} }`) as RowBuilder
  } catch {
    return genericBuilder(columns)
  }
}

/** The description of a statement that returns no rows. */
export const noColumns: Description = new Description([], [], undefined)
