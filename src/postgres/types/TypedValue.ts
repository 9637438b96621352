import * as PgTypes from "@effect/sql-pg/PgTypes"

/** A parameter whose type was named. */
export class TypedValue {
  readonly [PgTypes.ParameterTypeId]: PgTypes.ParameterTypeId = PgTypes.ParameterTypeId
  readonly oid = 0
  readonly type: string
  readonly value: unknown

  constructor(type: string, value: unknown) {
    this.type = type
    this.value = value
  }
}
