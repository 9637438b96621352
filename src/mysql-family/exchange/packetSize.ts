/** How large the packets of a statement are. */
import type { Parameter } from "../statement/parameters.ts"

/** The bytes of a parameter that is neither text nor bytes, at most. */
const fixedSize = 16

/** The bytes that stand ahead of a text or bytes: their number. */
const lengthSize = 9

/** No character has more bytes in UTF-8 than this for each unit of a string. */
const widest = 3

/**
 * The bytes of the largest packet of a statement, or a bound above it that is at most `enough`: most statements are so
 * small that nothing has to be counted.
 */
export const packetSize = (sql: string, params: ReadonlyArray<Parameter>, enough: number): number => {
  let bound = 1 + sql.length * widest
  for (let index = 0; index < params.length; index++) {
    const value = params[index]
    bound += typeof value === "string"
      ? lengthSize + value.length * widest
      : Buffer.isBuffer(value)
      ? lengthSize + value.length
      : fixedSize
  }
  return bound <= enough ? bound : Math.max(1 + Buffer.byteLength(sql), sizeOf(params))
}

/** A prepared statement is sent without its text. */
const sizeOf = (params: ReadonlyArray<Parameter>): number =>
  params.reduce<number>((sum, value) =>
    sum + (typeof value === "string"
      ? lengthSize + Buffer.byteLength(value)
      : Buffer.isBuffer(value)
      ? lengthSize + value.length
      : fixedSize), 0)
