/**
 * The one record that a `SqlError` of this library carries: evidence, verdict, attempts. Each module owns its fields.
 */
import type { SqlError } from "effect/sql/SqlError"

const key = "~watertight/failure"

type Record = { [field: string]: unknown }

/** A field of the record. It is not enumerable on the error, so that logs and snapshots stay short. */
export const field = <A>(name: string): {
  readonly get: (error: SqlError) => A | undefined
  readonly set: (error: SqlError, value: A) => void
} => ({
  get: (error) => (error as unknown as { readonly [key]?: Record })[key]?.[name] as A | undefined,
  set: (error, value) => {
    const record = (error as unknown as { readonly [key]?: Record })[key]
    if (record !== undefined) record[name] = value
    else Object.defineProperty(error, key, { value: { [name]: value } })
  }
})
