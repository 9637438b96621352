/** How statements of MySQL and MariaDB are run. Definitions commit, so each of them stands by itself. */
import { Cursor, type Name } from "./cursor.ts"
import type { Statement } from "./split.ts"
import * as Way from "./way.ts"

/** Tells how a statement is run. */
export const mysqlWay = (statement: Statement): Way.Way => {
  const cursor = cursorOf(statement)
  const first = cursor.identifier()?.toUpperCase() ?? ""
  if (reads.has(first)) return Way.reading
  if (repeatables.has(first)) return Way.repeatable
  switch (first) {
    case "INSERT":
    case "UPDATE":
    case "DELETE":
    case "REPLACE":
    case "WITH":
    case "DO":
    case "LOAD":
      return Way.inTransaction
    case "SET":
      return set(cursor, statement)
    case "CREATE":
      return create(cursor)
    case "DROP":
      return drop(cursor)
    case "ALTER":
      return alter(cursor)
    case "RENAME":
      return cursor.takeAny("TABLE", "TABLES") === undefined ? Way.opaque : rename(cursor)
    case "BEGIN":
      return cursor.take("NOT") ? Way.opaque : control
    case "START":
      return cursor.take("TRANSACTION") ? control : Way.opaque
    case "COMMIT":
    case "ROLLBACK":
    case "SAVEPOINT":
    case "RELEASE":
    case "XA":
      return control
    case "USE":
      return Way.refused(
        "changes to another database, and the journal stays in this one: name the database in the statements"
      )
    case "LOCK":
    case "UNLOCK":
      return Way.refused("locks tables, which would keep out the journal: the migration has a lock of its own")
    default:
      // TRUNCATE, CALL, GRANT with a password, compound statements and what is not known.
      return Way.opaque
  }
}

/** A cursor at the beginning of a statement. */
export const cursorOf = (statement: Statement): Cursor => new Cursor(statement, false)

const reads = new Set(["SELECT", "SHOW", "EXPLAIN", "DESC", "DESCRIBE", "VALUES", "TABLE", "HELP", "CHECKSUM"])

/** What does the same if it is run again. */
const repeatables = new Set(["ANALYZE", "OPTIMIZE", "CHECK", "REPAIR", "FLUSH", "GRANT", "RESET", "CACHE"])

const control = Way.refused(
  "begins or ends a transaction, which is not for a migration to do: each statement is journaled, and what can be rolled " +
    "back is in a transaction with its entry"
)

const set = (cursor: Cursor, statement: Statement): Way.Way => {
  if (cursor.takeAny("GLOBAL", "PERSIST", "PERSIST_ONLY", "PASSWORD", "DEFAULT") !== undefined) return Way.repeatable
  return statement.tokens.some((token) => token.kind === "word" && token.text === "AUTOCOMMIT")
    ? control
    : Way.session
}

const table = (name: Name): Way.Subject => ({ kind: "table", of: name, name: name.name })

/** What a statement creates, if it is looked for. */
const create = (cursor: Cursor): Way.Way => {
  if (cursor.take("OR", "REPLACE")) return Way.repeatable
  // Where a temporary table would be after a crash: nowhere.
  if (cursor.take("TEMPORARY")) return temporary
  return object(cursor, true)
}

const temporary = Way.refused(
  "uses a temporary table, which would be gone after a crash in the middle: use a table, and drop it at the end"
)

const drop = (cursor: Cursor): Way.Way => cursor.take("TEMPORARY") ? temporary : object(cursor, false)

const object = (cursor: Cursor, present: boolean): Way.Way => {
  const kind = kindOf(cursor)
  switch (kind) {
    case "TABLE":
    case "TABLES":
    case "VIEW":
    case "SEQUENCE": {
      cursor.takeIf()
      const names = present ? [cursor.name()] : cursor.names()
      return names.length === 0 || names.some((name) => name === undefined)
        ? Way.opaque
        : Way.probed(...names.map((name) => [table(name!), present] as const))
    }
    case "INDEX": {
      cursor.takeIf()
      const index = cursor.identifier()
      const on = cursor.seek("ON") && cursor.take("ON") ? cursor.name() : undefined
      return index === undefined || on === undefined
        ? Way.opaque
        : Way.probed([{ kind: "index", of: on, name: index }, present])
    }
    case "DATABASE":
    case "SCHEMA": {
      cursor.takeIf()
      const name = cursor.identifier()
      return name === undefined ? Way.opaque : Way.probed([{ kind: "database", of: undefined, name }, present])
    }
    case "PROCEDURE":
    case "FUNCTION":
      return inSchema("routine", cursor, present)
    case "TRIGGER":
      return inSchema("trigger", cursor, present)
    case "EVENT":
      return inSchema("event", cursor, present)
    default:
      return Way.opaque
  }
}

/** What kind of thing is created or dropped, past the clauses before it. */
const kindOf = (cursor: Cursor): string | undefined => {
  if (cursor.take("DEFINER")) cursor.seek("SQL", "VIEW", "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "AGGREGATE")
  if (cursor.take("ALGORITHM")) cursor.seek("DEFINER", "SQL", "VIEW")
  if (cursor.take("DEFINER")) cursor.seek("SQL", "VIEW")
  if (cursor.take("SQL")) cursor.seek("VIEW")
  while (cursor.takeAny("AGGREGATE", "UNIQUE", "FULLTEXT", "SPATIAL", "ONLINE", "OFFLINE", "UNDO") !== undefined);
  return cursor.identifier()?.toUpperCase()
}

const inSchema = (kind: "routine" | "trigger" | "event", cursor: Cursor, present: boolean): Way.Way => {
  cursor.takeIf()
  const name = cursor.name()
  return name === undefined ? Way.opaque : Way.probed([{ kind, of: name, name: name.name }, present])
}

const rename = (cursor: Cursor): Way.Way => {
  cursor.takeIf()
  const expected: Array<readonly [Way.Subject, boolean]> = []
  do {
    const from = cursor.name()
    // MariaDB may be told in between how long to wait.
    if (cursor.seek("TO")) cursor.skip()
    const to = cursor.name()
    if (from === undefined || to === undefined) return Way.opaque
    expected.push([table(from), false], [table(to), true])
  } while (cursor.nextItem())
  return Way.probed(...expected)
}

type Expected = readonly [subject: Way.Subject, present: boolean]

const alter = (cursor: Cursor): Way.Way => {
  while (cursor.takeAny("ONLINE", "OFFLINE", "IGNORE") !== undefined);
  if (
    cursor.takeAny("DATABASE", "SCHEMA", "USER", "EVENT", "VIEW", "SEQUENCE", "SERVER", "DEFINER", "ALGORITHM", "SQL")
  ) {
    return Way.repeatable
  }
  if (!cursor.take("TABLE")) return Way.opaque
  cursor.takeIf()
  const on = cursor.name()
  if (on === undefined) return Way.opaque
  const expected: Array<Expected> = []
  let isOpaque = false
  do {
    if (cursor.takeAny("WAIT", "NOWAIT") === "WAIT") cursor.skip()
    const found = action(cursor, on)
    if (found === undefined) isOpaque = true
    else expected.push(...found)
  } while (cursor.nextItem())
  // One table is altered as a whole or not at all, so what is known of one action tells about the others.
  if (expected.length > 0) return Way.probed(...expected)
  return isOpaque ? Way.opaque : Way.repeatable
}

/** What shows that an action of ALTER TABLE was applied: nothing if it does the same again, `undefined` if unknown. */
const action = (cursor: Cursor, on: Name): ReadonlyArray<Expected> | undefined => {
  const column = (name: string): Way.Subject => ({ kind: "column", of: on, name })
  const index = (name: string): Way.Subject => ({ kind: "index", of: on, name })
  const word = cursor.token?.kind === "word" ? cursor.token.text : undefined
  cursor.skip()
  switch (word) {
    case "ADD":
      return added(cursor, on)
    case "DROP":
      return dropped(cursor, on)
    case "CHANGE": {
      cursor.take("COLUMN")
      cursor.takeIf()
      const from = cursor.identifier()
      const to = cursor.identifier()
      if (from === undefined || to === undefined) return undefined
      return from.toLowerCase() === to.toLowerCase() ? [] : [[column(from), false], [column(to), true]]
    }
    case "RENAME": {
      const what = cursor.takeAny("COLUMN", "INDEX", "KEY")
      if (what === undefined) {
        cursor.takeAny("TO", "AS")
        const to = cursor.name()
        return to === undefined
          ? undefined
          : [[table(on), false], [table({ schema: to.schema ?? on.schema, name: to.name }), true]]
      }
      const from = cursor.identifier()
      cursor.take("TO")
      const to = cursor.identifier()
      if (from === undefined || to === undefined) return undefined
      const subject = what === "COLUMN" ? column : index
      return [[subject(from), false], [subject(to), true]]
    }
    case "TRUNCATE":
    case "EXCHANGE":
    case "DISCARD":
    case "IMPORT":
    case "REORGANIZE":
    case "COALESCE":
    case "ORDER":
      return undefined
    default:
      // MODIFY, ALTER COLUMN, ENGINE, COMMENT, CONVERT and the like say how it is to be, and not what is to change.
      return []
  }
}

const added = (cursor: Cursor, on: Name): ReadonlyArray<Expected> | undefined => {
  const present = (
    kind: "column" | "index" | "constraint",
    name: string | undefined
  ): ReadonlyArray<Expected> | undefined => name === undefined ? undefined : [[{ kind, of: on, name }, true]]
  if (cursor.take("CONSTRAINT")) {
    cursor.takeIf()
    // A constraint may be without a name.
    if (cursor.takeAny("PRIMARY", "UNIQUE", "FOREIGN", "CHECK") !== undefined) return undefined
    return present("constraint", cursor.identifier())
  }
  if (cursor.take("PRIMARY", "KEY")) return present("index", "PRIMARY")
  if (cursor.takeAny("CHECK", "PARTITION", "PERIOD", "SYSTEM") !== undefined) return undefined
  if (cursor.take("FOREIGN", "KEY")) {
    cursor.takeIf()
    return cursor.takeSign("(") ? undefined : present("constraint", cursor.identifier())
  }
  const isKey = cursor.takeAny("UNIQUE", "FULLTEXT", "SPATIAL") !== undefined
  if (cursor.takeAny("INDEX", "KEY") !== undefined || isKey) {
    cursor.takeIf()
    return cursor.takeSign("(") || cursor.take("USING") ? undefined : present("index", cursor.identifier())
  }
  cursor.take("COLUMN")
  cursor.takeIf()
  cursor.takeSign("(")
  return present("column", cursor.identifier())
}

const dropped = (cursor: Cursor, on: Name): ReadonlyArray<Expected> | undefined => {
  const absent = (
    kind: "column" | "index" | "constraint",
    name: string | undefined
  ): ReadonlyArray<Expected> | undefined => name === undefined ? undefined : [[{ kind, of: on, name }, false]]
  if (cursor.take("PRIMARY", "KEY")) return absent("index", "PRIMARY")
  const what = cursor.takeAny(
    "INDEX",
    "KEY",
    "CONSTRAINT",
    "FOREIGN",
    "CHECK",
    "PARTITION",
    "PERIOD",
    "SYSTEM",
    "COLUMN"
  )
  if (what === "FOREIGN") cursor.take("KEY")
  cursor.takeIf()
  switch (what) {
    case "INDEX":
    case "KEY":
      return absent("index", cursor.identifier())
    case "CONSTRAINT":
    case "FOREIGN":
    case "CHECK":
      return absent("constraint", cursor.identifier())
    case "PARTITION":
    case "PERIOD":
    case "SYSTEM":
      return undefined
    default:
      return absent("column", cursor.identifier())
  }
}
