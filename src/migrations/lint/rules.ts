/** The rules of the linter: statements that have stopped programs, and how the same is done without that. */
import type { Cursor } from "../sql/cursor.ts"
import type { Dialect } from "../sql/lexer.ts"

/** A rule. */
export interface Rule {
  readonly id: string
  readonly dialects: ReadonlyArray<Dialect>
  /** What happens to others while the statement runs, or afterwards. */
  readonly outage: string
  /** How the same is done safely. */
  readonly safe: string
}

const postgres: ReadonlyArray<Dialect> = ["postgres"]
const mysql: ReadonlyArray<Dialect> = ["mysql"]
const both: ReadonlyArray<Dialect> = ["postgres", "mysql"]

const make = (id: string, dialects: ReadonlyArray<Dialect>, outage: string, safe: string): Rule => ({
  id,
  dialects,
  outage,
  safe
})

/** All rules by name. */
export const rules = {
  index: make(
    "pg-index-concurrently",
    postgres,
    "nobody can write to the table until the index is built",
    "CREATE INDEX CONCURRENTLY, in a file of its own with `-- watertight: no-transaction`"
  ),
  dropIndex: make(
    "pg-drop-index-concurrently",
    postgres,
    "waits for every transaction on the table, and everybody waits behind it",
    "DROP INDEX CONCURRENTLY, in a file of its own with `-- watertight: no-transaction`"
  ),
  setNotNull: make(
    "pg-set-not-null",
    postgres,
    "nobody can read or write the table while all of it is looked through",
    "ADD CONSTRAINT c CHECK (x IS NOT NULL) NOT VALID; in the next migration VALIDATE CONSTRAINT c, then SET NOT NULL, " +
      "which looks at nothing any more, and DROP CONSTRAINT c"
  ),
  notValid: make(
    "pg-constraint-not-valid",
    postgres,
    "nobody can write to the table while all of it is looked through, of a foreign key to the other table neither",
    "add it NOT VALID, and VALIDATE CONSTRAINT in the next migration"
  ),
  unique: make(
    "pg-unique-using-index",
    postgres,
    "nobody can read or write the table until its index is built",
    "CREATE UNIQUE INDEX CONCURRENTLY, and in the next migration ADD CONSTRAINT … USING INDEX"
  ),
  type: make(
    "pg-column-type",
    postgres,
    "the table is written anew, and nobody can read or write it meanwhile",
    "a new column that both versions of the program write, filled in batches; the old one is dropped later"
  ),
  volatile: make(
    "pg-volatile-default",
    postgres,
    "the table is written anew to fill the column, and nobody can read or write it meanwhile",
    "add the column without it, then SET DEFAULT, then fill the old rows in batches"
  ),
  validate: make(
    "pg-validate-same-transaction",
    postgres,
    "the lock of ADD is held while all of the table is looked through",
    "VALIDATE CONSTRAINT in a migration of its own"
  ),
  algorithm: make(
    "my-algorithm",
    mysql,
    "the server may choose to copy the table, and nobody can write to it meanwhile",
    "say what it may do: ALGORITHM=INSTANT, or ALGORITHM=INPLACE, LOCK=NONE; it is refused then instead of copying"
  ),
  notNull: make(
    "add-not-null",
    both,
    "fails where there are rows, and the running program, which does not know the column, cannot insert any more",
    "give it a DEFAULT, or add it nullable first"
  ),
  rename: make(
    "rename",
    both,
    "the running program still uses the old name and fails until the new version has been started everywhere",
    "a new column or table that both versions write, or a view under the old name; the old one is dropped later"
  ),
  drop: make(
    "drop",
    both,
    "its data is gone for good, and the running program that still uses it fails",
    "first start a version everywhere that does not use it, then drop it and say so with `allow`"
  ),
  backfill: make(
    "backfill",
    both,
    "all rows are locked until the end, and whatever wants to change one of them waits",
    "change a few thousand rows at a time, each in a transaction of its own, in a migration without a transaction"
  )
} satisfies Record<string, Rule>

/** What a statement breaks. */
export interface Broken {
  readonly rule: Rule
  /** The table that it is about. */
  readonly table: string | undefined
}

/** What the statements of a file have done so far. */
export interface Seen {
  /** Tables that the file has made: nobody uses them yet. */
  readonly created: Set<string>
  /** Constraints that were added without being looked through. */
  readonly notValid: Set<string>
  readonly transaction: boolean
  readonly proofs: Proofs
}

/** What earlier statements have proved: columns without nulls, by a check that was looked through. */
export class Proofs {
  private readonly checks = new Map<string, string>()
  private readonly columns = new Set<string>()

  /** A check says that a column is not null. It proves that once it was looked through. */
  add(table: string, constraint: string, column: string, isLookedThrough: boolean): void {
    this.checks.set(`${table}.${constraint}`, `${table}.${column}`)
    if (isLookedThrough) this.lookThrough(table, constraint)
  }

  lookThrough(table: string, constraint: string): void {
    const column = this.checks.get(`${table}.${constraint}`)
    if (column !== undefined) this.columns.add(column)
  }

  drop(table: string, constraint: string): void {
    const column = this.checks.get(`${table}.${constraint}`)
    if (column !== undefined) this.columns.delete(column)
  }

  hasNoNulls(table: string, column: string): boolean {
    return this.columns.has(`${table}.${column}`)
  }
}

const key = (name: { readonly name: string } | undefined): string => name?.name.toLowerCase() ?? ""

/** Looks at one statement. Nothing is found about tables that the file itself has made. */
export const inspect = (cursor: Cursor, dialect: Dialect, seen: Seen): ReadonlyArray<Broken> => {
  const first = cursor.identifier()?.toUpperCase()
  switch (first) {
    case "CREATE":
      return create(cursor, dialect, seen)
    case "DROP":
      return drop(cursor, dialect, seen)
    case "ALTER":
      return cursor.take("TABLE") ? alter(cursor, dialect, seen) : []
    case "RENAME":
      return cursor.takeAny("TABLE", "TABLES") ? on(seen, cursor, rules.rename) : []
    case "TRUNCATE":
      cursor.take("TABLE")
      return on(seen, cursor, rules.drop)
    case "UPDATE": {
      const found = on(seen, cursor, rules.backfill)
      return cursor.seek("WHERE", "LIMIT") ? [] : found
    }
    case "DELETE": {
      cursor.take("FROM")
      const found = on(seen, cursor, rules.backfill)
      return cursor.seek("WHERE", "LIMIT") ? [] : found
    }
    default:
      return []
  }
}

/** The rule is broken, if the table that comes next is one that was there before. */
const on = (seen: Seen, cursor: Cursor, rule: Rule): ReadonlyArray<Broken> => {
  cursor.takeIf()
  cursor.take("ONLY")
  const table = cursor.name()
  return seen.created.has(key(table)) ? [] : [{ rule, table: table?.name }]
}

const create = (cursor: Cursor, dialect: Dialect, seen: Seen): ReadonlyArray<Broken> => {
  while (cursor.takeAny("UNLOGGED", "TEMPORARY", "TEMP", "GLOBAL", "LOCAL", "OR", "REPLACE") !== undefined);
  if (cursor.take("TABLE") || cursor.take("MATERIALIZED", "VIEW")) {
    cursor.takeIf()
    seen.created.add(key(cursor.name()))
    return []
  }
  while (cursor.takeAny("UNIQUE", "FULLTEXT", "SPATIAL") !== undefined);
  if (!cursor.take("INDEX")) return []
  if (cursor.take("CONCURRENTLY")) return []
  if (!cursor.seek("ON")) return []
  cursor.skip()
  if (dialect === "postgres") return on(seen, cursor, rules.index)
  const found = on(seen, cursor, rules.algorithm)
  return cursor.seek("ALGORITHM") ? [] : found
}

const drop = (cursor: Cursor, dialect: Dialect, seen: Seen): ReadonlyArray<Broken> => {
  if (cursor.take("INDEX")) {
    if (cursor.take("CONCURRENTLY")) return []
    if (dialect === "postgres") return on(seen, cursor, rules.dropIndex)
    if (!cursor.seek("ON")) return []
    cursor.skip()
    const found = on(seen, cursor, rules.algorithm)
    return cursor.seek("ALGORITHM") ? [] : found
  }
  return cursor.takeAny("TABLE", "SCHEMA", "DATABASE") ? on(seen, cursor, rules.drop) : []
}

const alter = (cursor: Cursor, dialect: Dialect, seen: Seen): ReadonlyArray<Broken> => {
  cursor.takeIf()
  cursor.take("ONLY")
  const table = cursor.name()
  if (seen.created.has(key(table))) return []
  const found: Array<Rule> = []
  const start = cursor.mark()
  do {
    found.push(...dialect === "postgres" ? postgresAction(cursor, key(table), seen) : mysqlAction(cursor))
  } while (cursor.nextItem())
  if (dialect === "mysql") {
    cursor.reset(start)
    if (!cursor.seek("ALGORITHM") && !found.includes(rules.rename)) found.push(rules.algorithm)
  }
  return [...new Set(found)].map((rule) => ({ rule, table: table?.name }))
}

const postgresAction = (cursor: Cursor, table: string, seen: Seen): ReadonlyArray<Rule> => {
  const start = cursor.mark()
  const identifier = () => key({ name: cursor.identifier() ?? "" })
  if (cursor.take("VALIDATE", "CONSTRAINT")) {
    const name = identifier()
    seen.proofs.lookThrough(table, name)
    return seen.transaction && seen.notValid.has(name) ? [rules.validate] : []
  }
  if (cursor.take("RENAME")) return cursor.take("CONSTRAINT") ? [] : [rules.rename]
  if (cursor.take("DROP")) {
    if (!cursor.take("CONSTRAINT")) return [rules.drop]
    cursor.takeIf()
    seen.proofs.drop(table, identifier())
    return []
  }
  if (cursor.take("ALTER")) {
    cursor.take("COLUMN")
    const column = identifier()
    if (cursor.take("SET", "NOT", "NULL")) return seen.proofs.hasNoNulls(table, column) ? [] : [rules.setNotNull]
    return cursor.take("TYPE") || cursor.take("SET", "DATA", "TYPE") ? [rules.type] : []
  }
  if (!cursor.take("ADD")) return []
  const constraint = cursor.take("CONSTRAINT") ? cursor.identifier() : undefined
  const kind = cursor.takeAny("FOREIGN", "CHECK", "UNIQUE", "PRIMARY", "EXCLUDE")
  switch (kind) {
    case "FOREIGN":
    case "CHECK": {
      const isNotValid = has(cursor, "NOT", "VALID")
      const column = kind === "CHECK" ? notNullColumn(cursor) : undefined
      if (column !== undefined && constraint !== undefined) {
        seen.proofs.add(table, constraint.toLowerCase(), column, !isNotValid)
      }
      if (isNotValid && constraint !== undefined) seen.notValid.add(constraint.toLowerCase())
      return isNotValid ? [] : [rules.notValid]
    }
    case "UNIQUE":
    case "PRIMARY":
      return has(cursor, "USING", "INDEX") ? [] : [rules.unique]
    case "EXCLUDE":
      return [rules.unique]
  }
  cursor.reset(start)
  cursor.take("ADD")
  return addedColumn(cursor)
}

/** The column of `(column IS NOT NULL)`, and nothing else, which the server takes as a proof. */
const notNullColumn = (cursor: Cursor): string | undefined => {
  const start = cursor.mark()
  const column = cursor.takeSign("(") ? cursor.identifier() : undefined
  const isWhole = column !== undefined && cursor.take("IS", "NOT", "NULL") && cursor.takeSign(")")
  cursor.reset(start)
  return isWhole ? column.toLowerCase() : undefined
}

/** Whether these words come somewhere in this action. */
const has = (cursor: Cursor, ...words: ReadonlyArray<string>): boolean => {
  const start = cursor.mark()
  const end = endOfAction(cursor)
  cursor.reset(start)
  let found = false
  while (!found && cursor.mark() < end && cursor.seek(words[0]!) && cursor.mark() < end) {
    found = cursor.take(...words)
    if (!found) cursor.skip()
  }
  cursor.reset(start)
  return found
}

const endOfAction = (cursor: Cursor): number => {
  cursor.nextItem()
  return cursor.isAtEnd ? Infinity : cursor.mark()
}

const volatiles = ["RANDOM", "GEN_RANDOM_UUID", "UUID_GENERATE_V4", "UUIDV7", "UUIDV4", "CLOCK_TIMESTAMP", "NEXTVAL"]

const addedColumn = (cursor: Cursor): ReadonlyArray<Rule> => {
  cursor.take("COLUMN")
  cursor.takeIf()
  cursor.identifier()
  const type = cursor.token?.text ?? ""
  const found: Array<Rule> = []
  const hasDefault = has(cursor, "DEFAULT")
  const fills = /^(?:SMALL|BIG)?SERIAL\d?$/.test(type) || has(cursor, "IDENTITY") || has(cursor, "STORED")
  if (fills || hasDefault && volatiles.some((name) => has(cursor, name))) found.push(rules.volatile)
  if (!hasDefault && !fills && !has(cursor, "GENERATED") && has(cursor, "NOT", "NULL")) found.push(rules.notNull)
  if (has(cursor, "UNIQUE") || has(cursor, "PRIMARY", "KEY")) found.push(rules.unique)
  return found
}

const mysqlAction = (cursor: Cursor): ReadonlyArray<Rule> => {
  if (cursor.take("RENAME")) return cursor.takeAny("INDEX", "KEY") ? [] : [rules.rename]
  if (cursor.take("CHANGE")) {
    cursor.take("COLUMN")
    const from = cursor.identifier()
    return from?.toLowerCase() === cursor.identifier()?.toLowerCase() ? [] : [rules.rename]
  }
  if (cursor.take("DROP")) {
    return cursor.takeAny("INDEX", "KEY", "CONSTRAINT", "FOREIGN", "CHECK", "PRIMARY") ? [] : [rules.drop]
  }
  if (!cursor.take("ADD")) return []
  const isOther = cursor.takeAny(
    "INDEX",
    "KEY",
    "CONSTRAINT",
    "FOREIGN",
    "CHECK",
    "PRIMARY",
    "UNIQUE",
    "FULLTEXT",
    "SPATIAL",
    "PARTITION"
  )
  if (isOther !== undefined) return []
  return has(cursor, "NOT", "NULL") && !has(cursor, "DEFAULT") && !has(cursor, "AS") && !has(cursor, "AUTO_INCREMENT")
    ? [rules.notNull]
    : []
}
