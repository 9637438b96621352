/** How statements of PostgreSQL are run. Nearly all of them can be in a transaction. */
import { Cursor } from "./cursor.ts"
import type { Statement } from "./split.ts"
import * as Way from "./way.ts"

/** Tells how a statement is run. */
export const postgresWay = (statement: Statement): Way.Way => {
  const cursor = cursorOf(statement)
  const first = cursor.identifier()?.toUpperCase()
  switch (first) {
    case "BEGIN":
    case "START":
    case "COMMIT":
    case "END":
    case "ABORT":
    case "ROLLBACK":
      return first === "ROLLBACK" &&
          (cursor.take("TO") || cursor.take("WORK", "TO") || cursor.take("TRANSACTION", "TO"))
        ? Way.inTransaction
        : control
    case "PREPARE":
      return cursor.take("TRANSACTION") ? control : Way.inTransaction
    case "SELECT":
    case "SHOW":
    case "TABLE":
    case "VALUES":
    case "EXPLAIN":
      return Way.reading
    case "CREATE":
      return create(cursor)
    case "DROP":
      return drop(cursor)
    case "REINDEX":
      return reindex(cursor, statement)
    case "VACUUM":
      return Way.repeatable
    case "CLUSTER":
      return cursor.isAtEnd || cursor.take("VERBOSE") && cursor.isAtEnd ? Way.repeatable : Way.inTransaction
    case "ALTER":
      return alter(cursor, statement)
    case "CALL":
      // Whether a procedure commits is not to be seen.
      return Way.opaque
    default:
      return Way.inTransaction
  }
}

/** A cursor at the beginning of a statement. */
export const cursorOf = (statement: Statement): Cursor => new Cursor(statement, true)

const control = Way.refused(
  "begins or ends a transaction, which is not for a migration to do: without it the migration is one transaction, and " +
    "`-- watertight: no-transaction` runs each statement by itself"
)

const create = (cursor: Cursor): Way.Way => {
  if (cursor.take("DATABASE")) return named("database", cursor, true)
  if (cursor.take("TABLESPACE") || cursor.take("SUBSCRIPTION")) return Way.opaque
  cursor.take("UNIQUE")
  if (!cursor.take("INDEX", "CONCURRENTLY")) return Way.inTransaction
  cursor.takeIf()
  if (cursor.take("ON")) {
    return Way.refused(
      "builds an index without a name, which could not be found again after a crash: give it a name"
    )
  }
  const index = cursor.identifier()
  if (index === undefined || !cursor.take("ON")) return Way.opaque
  cursor.take("ONLY")
  const table = cursor.name()
  if (table === undefined) return Way.opaque
  return {
    _tag: "Alone",
    repeatable: false,
    probe: { subjects: [{ kind: "index", of: table, name: index }], done: "1" },
    builds: { table, index }
  }
}

const drop = (cursor: Cursor): Way.Way => {
  if (cursor.take("DATABASE")) return named("database", cursor, false)
  if (cursor.take("TABLESPACE") || cursor.take("SUBSCRIPTION")) return Way.opaque
  if (!cursor.take("INDEX", "CONCURRENTLY")) return Way.inTransaction
  cursor.takeIf()
  const index = cursor.name()
  return index === undefined ? Way.opaque : Way.probed([
    {
      kind: "index",
      // The schema is all that is known of its table.
      of: index.schema === undefined ? undefined : { schema: index.schema, name: "" },
      name: index.name
    },
    false
  ])
}

const reindex = (cursor: Cursor, statement: Statement): Way.Way =>
  statement.tokens.some((token) => token.kind === "word" && token.text === "CONCURRENTLY") ||
    cursor.takeAny("SCHEMA", "DATABASE", "SYSTEM") !== undefined || cursor.takeSign("(")
    ? Way.repeatable
    : Way.inTransaction

const alter = (cursor: Cursor, statement: Statement): Way.Way => {
  if (cursor.take("SYSTEM")) return Way.repeatable
  if (cursor.take("DATABASE")) return cursor.seek("TABLESPACE") ? Way.repeatable : Way.inTransaction
  return statement.tokens.some((token, index) =>
      token.kind === "word" && token.text === "CONCURRENTLY" && statement.tokens[index - 1]?.kind !== "sign" &&
      index === statement.tokens.length - 1
    )
    ? Way.opaque
    : Way.inTransaction
}

const named = (kind: "database", cursor: Cursor, present: boolean): Way.Way => {
  cursor.takeIf()
  const name = cursor.identifier()
  return name === undefined ? Way.opaque : Way.probed([{ kind, of: undefined, name }, present])
}
