/** Parameters, as the connector writes them. */
import type { Parameter } from "../../mysql-family/statement/parameters.ts"

/** An instant in UTC for a connector that only knows the process's own time zone. */
class UtcDate extends Date {
  override getFullYear(): number {
    return this.getUTCFullYear()
  }
  override getMonth(): number {
    return this.getUTCMonth()
  }
  override getDate(): number {
    return this.getUTCDate()
  }
  override getHours(): number {
    return this.getUTCHours()
  }
  override getMinutes(): number {
    return this.getUTCMinutes()
  }
  override getSeconds(): number {
    return this.getUTCSeconds()
  }
  override getMilliseconds(): number {
    return this.getUTCMilliseconds()
  }
}

/** Large integers are sent as integers: arithmetic with a double would lose the digits of a decimal. */
export const encode = (params: ReadonlyArray<Parameter>): ReadonlyArray<unknown> => {
  let encoded: Array<unknown> | undefined
  for (let index = 0; index < params.length; index++) {
    const value = params[index]!
    if (typeof value === "number") {
      if ((value | 0) !== value && Number.isSafeInteger(value)) (encoded ??= params.slice())[index] = BigInt(value)
    } else if (value instanceof Date) (encoded ??= params.slice())[index] = new UtcDate(value.getTime())
  }
  return encoded ?? params
}
