/**
 * Which kinds of values a prepared statement has been run with.
 *
 * MySQL decides what a parameter is when it prepares the statement and when it meets the first value of it, and keeps to
 * that, also when it prepares the statement anew because a table has changed:
 *
 * - after a number the text `007` is the number 7, and after an instant a text is none of what it was;
 * - a text for a column of numbers is a number still when that has become a column of texts.
 *
 * What is of another kind than before, or than the server has described, has to go in the text of the statement. MariaDB
 * decides anew each time.
 */
import { Decimal } from "../../values/Value.ts"
import type { Parameter } from "../statement/parameters.ts"
import { Type } from "./columns.ts"

const Kind = { Nothing: 0, Number: 1, Wide: 2, Text: 3, Instant: 4, Bytes: 5 } as const
type Kind = typeof Kind[keyof typeof Kind]

const kindOf = (value: Parameter): Kind => {
  switch (typeof value) {
    case "number":
    case "boolean":
      return Kind.Number
    case "bigint":
      // Where a double came first, these would lose their last digits.
      return value >= -9007199254740991n && value <= 9007199254740991n ? Kind.Number : Kind.Wide
    case "string":
      return Kind.Text
  }
  return value === null
    ? Kind.Nothing
    : value instanceof Date
    ? Kind.Instant
    : value instanceof Decimal
    ? Kind.Wide
    : Kind.Bytes
}

const numberTypes: ReadonlySet<number> = new Set([
  Type.Tiny,
  Type.Short,
  Type.Int24,
  Type.Long,
  Type.LongLong,
  Type.Decimal,
  Type.NewDecimal,
  Type.Float,
  Type.Double
])

const isNumber = (kind: Kind): boolean => kind === Kind.Number || kind === Kind.Wide

export class ParameterKinds {
  private readonly kinds: Array<Kind> = []
  private numbers: ReadonlyArray<boolean> = []

  /** The server has prepared the statement, and says of what types its parameters are. */
  described(types: ReadonlyArray<number>): void {
    this.numbers = types.map((type) => numberTypes.has(type))
  }

  /** Whether the statement takes these values for what they are. */
  accepts(params: ReadonlyArray<Parameter>): boolean {
    const { kinds, numbers } = this
    for (let index = 0; index < params.length; index++) {
      const known = kinds[index] ?? Kind.Nothing
      const mustBeNumber = numbers[index] === true
      if (known === Kind.Nothing && !mustBeNumber) continue
      const kind = kindOf(params[index]!)
      if (kind === Kind.Nothing) continue
      if (known !== Kind.Nothing && kind !== known || mustBeNumber && !isNumber(kind)) return false
    }
    return true
  }

  /** The statement is run with these values. */
  note(params: ReadonlyArray<Parameter>): void {
    const { kinds } = this
    for (let index = 0; index < params.length; index++) {
      if ((kinds[index] ?? Kind.Nothing) === Kind.Nothing) kinds[index] = kindOf(params[index]!)
    }
  }
}
