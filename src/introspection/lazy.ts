import * as Effect from "effect/Effect"
import type { Introspection } from "./Introspection.ts"

/** An `Introspection` that is loaded with its first question. */
export const lazyIntrospection = (loaded: Effect.Effect<Introspection>): Introspection => ({
  currentDatabase: Effect.flatMap(loaded, (one) => one.currentDatabase),
  databases: Effect.flatMap(loaded, (one) => one.databases),
  schemas: Effect.flatMap(loaded, (one) => one.schemas),
  tables: (filter) => Effect.flatMap(loaded, (one) => one.tables(filter)),
  columns: (filter) => Effect.flatMap(loaded, (one) => one.columns(filter)),
  columnTypes: (filter) => Effect.flatMap(loaded, (one) => one.columnTypes(filter)),
  types: Effect.flatMap(loaded, (one) => one.types),
  indexes: (filter) => Effect.flatMap(loaded, (one) => one.indexes(filter)),
  indexDefinitions: (filter) => Effect.flatMap(loaded, (one) => one.indexDefinitions(filter)),
  constraints: (filter) => Effect.flatMap(loaded, (one) => one.constraints(filter)),
  hasSchema: (schema) => Effect.flatMap(loaded, (one) => one.hasSchema(schema)),
  hasTable: (table, schema) => Effect.flatMap(loaded, (one) => one.hasTable(table, schema)),
  hasColumn: (table, column, schema) => Effect.flatMap(loaded, (one) => one.hasColumn(table, column, schema)),
  hasIndex: (table, index, schema) => Effect.flatMap(loaded, (one) => one.hasIndex(table, index, schema)),
  hasConstraint: (table, constraint, schema) =>
    Effect.flatMap(loaded, (one) => one.hasConstraint(table, constraint, schema))
})
