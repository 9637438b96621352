import * as Effect from "effect/Effect"
import type { Bulk } from "./Bulk.ts"

/** A `Bulk` that is loaded with its first rows. */
export const lazyBulk = (bulk: Effect.Effect<Bulk>): Bulk => ({
  insert: (table, rows, options) => Effect.flatMap(bulk, (bulk) => bulk.insert(table, rows, options)),
  upsert: (table, rows, options) => Effect.flatMap(bulk, (bulk) => bulk.upsert(table, rows, options))
})
