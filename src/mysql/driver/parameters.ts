/** Parameters, as `mysql2` writes them. */
import mysql2 from "mysql2"
import type { Parameter } from "../../mysql-family/statement/parameters.ts"

/** Integers are sent as integers: arithmetic with a double would lose the digits of a decimal. */
export const encode = (params: ReadonlyArray<Parameter>): Array<any> => {
  const encoded = new Array<unknown>(params.length)
  for (let index = 0; index < params.length; index++) {
    const value = params[index]!
    encoded[index] = typeof value === "number"
      ? Number.isSafeInteger(value) ? integer(value) : value
      : typeof value === "bigint"
      ? TypedParameter.LONGLONG(value)
      : value
  }
  return encoded
}

const integer = (value: number): unknown =>
  value >= -0x8000_0000 && value <= 0x7fff_ffff ? TypedParameter.LONG(value) : TypedParameter.LONGLONG(value)

const { TypedParameter } = mysql2
