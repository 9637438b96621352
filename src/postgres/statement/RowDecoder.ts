/**
 * What is known of a statement's columns, and how its rows are read.
 *
 * PostgreSQL sends each column in the format that `Bind` asked for, so the columns must be known before `Bind`: a type
 * whose binary form nobody could read has to be asked for as text. That is why a statement that is
 * new to the process is described before it runs (see `Session.ts`), and why a description is shared by all sessions
 * of an adapter.
 */
import type { Field, Row } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { compileAfter, compiledBuilder, genericBuilder, type RowBuilder } from "../../values/rowBuilder.ts"
import type { Codec } from "../types/Codec.ts"
import { readText } from "../types/scalars/primitives.ts"
import { onlyText } from "../types/scalars/text.ts"
import type { TypeStore } from "../types/TypeStore.ts"
import * as frames from "../wire/frames.ts"

type FieldReader = PgProtocol.FieldReader<unknown>

/** A value that could not be decoded. */
export interface DecodeFailure {
  readonly column: number
  readonly cause: unknown
}

/** Reads nothing: for the rows of a statement that nobody waits for any more. */
export const skipField: FieldReader = () => undefined

export class RowDecoder {
  readonly columns: ReadonlyArray<PgProtocol.FieldDescription>
  readonly fields: ReadonlyArray<Field>
  /** The result formats as they stand at the end of a `Bind`, or `undefined` for binary throughout. */
  readonly formats: Uint8Array | undefined
  readonly readField: FieldReader
  /**
   * The first value that could not be decoded since this was last taken.
   *
   * A reader that throws would end the parser and with it the session, so the reader leaves its failure here, and the
   * session that receives the row takes it. A row is parsed and received synchronously, one at a time.
   */
  private failure: DecodeFailure | undefined = undefined
  /** Why rows in this format cannot be read. */
  readonly problem: string | undefined

  private readonly binary: ReadonlyArray<boolean>
  private builder: RowBuilder
  private built = 0

  constructor(
    columns: ReadonlyArray<PgProtocol.FieldDescription>,
    binary: ReadonlyArray<boolean>,
    types: TypeStore | undefined
  ) {
    const codecs = columns.map((column) => types?.codec(column.dataTypeOid))
    this.columns = columns
    this.binary = binary
    this.fields = columns.map((column) => ({ name: column.name, dataTypeId: column.dataTypeOid }))
    this.formats = binary.includes(false) ? frames.resultFormats(binary) : undefined
    this.problem = findProblem(columns, binary, codecs)
    this.readField = makeReader(binary, codecs, (failure) => this.failure ??= failure)
    this.builder = genericBuilder(columns.map((column) => column.name))
  }

  /** Makes an object of a row. */
  row(values: ReadonlyArray<unknown>): Row {
    // Compiling a constructor pays after a few rows only, and many statements never return more than one.
    if (this.built < compileAfter && ++this.built === compileAfter) {
      this.builder = compiledBuilder(this.columns.map((column) => column.name))
    }
    return this.builder(values)
  }

  /** The value of the row just read that could not be decoded, if there was one. */
  takeFailure(): DecodeFailure | undefined {
    const { failure } = this
    if (failure !== undefined) this.failure = undefined
    return failure
  }

  /** Whether another one is for the same columns. */
  isLike(other: RowDecoder): boolean {
    return this.columns.length === other.columns.length &&
      this.columns.every(({ dataTypeOid, name }, index) => {
        const column = other.columns[index]!
        return column.dataTypeOid === dataTypeOid && column.name === name
      })
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
  types: TypeStore
): RowDecoder =>
  new RowDecoder(columns, columns.map((column) => types.codec(column.dataTypeOid)?.read !== undefined), types)

/** Describes rows whose formats are already fixed. */
export const describeRows = (
  columns: ReadonlyArray<PgProtocol.FieldDescription>,
  types: TypeStore
): RowDecoder => new RowDecoder(columns, columns.map((column) => column.format === 1), types)

const findProblem = (
  columns: ReadonlyArray<PgProtocol.FieldDescription>,
  binary: ReadonlyArray<boolean>,
  codecs: ReadonlyArray<Codec<any> | undefined>
): string | undefined => {
  for (let index = 0; index < columns.length; index++) {
    if (binary[index] === true && codecs[index]?.read === undefined) {
      return `the type of column "${columns[index]!.name}" changed to one that was not asked for in a readable format`
    }
  }
  return undefined
}

const unknownType = onlyText("unknown")

const makeReader = (
  binary: ReadonlyArray<boolean>,
  codecs: ReadonlyArray<Codec<any> | undefined>,
  onFailure: (failure: DecodeFailure) => void
): FieldReader => {
  const readers = codecs.map((codec = unknownType, index) =>
    binary[index] === true && codec.read !== undefined
      ? codec.read
      : (bytes: Uint8Array, offset: number, size: number) => codec.parse(readText(bytes, offset, size))
  )
  return (bytes, offset, size, column) => {
    if (size < 0) return null
    // The codec boundary: what a codec throws is a failure of this statement and must not reach the parser.
    try {
      return readers[column]!(bytes, offset, size)
    } catch (cause) {
      onFailure({ column, cause: cause ?? new Error("A codec failed without an error") })
      return undefined
    }
  }
}

/** The description of a statement that returns no rows. */
export const noColumns: RowDecoder = new RowDecoder([], [], undefined)
