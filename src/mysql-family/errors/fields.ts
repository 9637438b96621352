/**
 * What an error is about. PostgreSQL sends these names as fields; MySQL and MariaDB say them in the text, which is the
 * same in every language of the server but English only by default. A text that does not match tells nothing.
 */

/** The names in an error. */
export interface ErrorFields {
  readonly constraint?: string | undefined
  readonly schema?: string | undefined
  readonly table?: string | undefined
  readonly column?: string | undefined
  /** The part of the statement at which the parser stopped. May hold values. */
  readonly near?: string | undefined
}

const name = "[`'\"]([^`'\"]+)[`'\"]"
const column = new RegExp(`(?:column|Column|Field) ${name}`)
const foreignKey = /\(`([^`]+)`\.`([^`]+)`, CONSTRAINT `([^`]+)` FOREIGN KEY \(`([^`]+)`\)/
const mariadbCheck = /CONSTRAINT `([^`]+)` failed for `([^`]+)`\.`([^`]+)`/
const mysqlCheck = new RegExp(`Check constraint ${name}`)
const table = new RegExp(`Table ${name}`)
const near = /near '([\s\S]*)' at line \d+$/

/** Which error says what in its text. */
const readers: ReadonlyMap<number, (message: string) => ErrorFields> = new Map([
  ...[1062, 1586, 1022].map((errno) => [errno, duplicateKey] as const),
  ...[1451, 1452].map((errno) => [errno, foreignKeyOf] as const),
  ...[1048, 1054, 1364, 1263, 1264, 1265, 1366, 1406].map((errno) => [errno, columnOf] as const),
  [3819, (message: string) => ({ constraint: mysqlCheck.exec(message)?.[1] })],
  [4025, (message: string) => {
    const found = mariadbCheck.exec(message)
    return { constraint: found?.[1], schema: found?.[2], table: found?.[3] }
  }],
  [1146, (message: string) => qualified(table.exec(message)?.[1])],
  [1064, (message: string) => ({ near: near.exec(message)?.[1] })]
])

/** The names in the text of an error. */
export const fieldsOf = (errno: number, message: string): ErrorFields => readers.get(errno)?.(message) ?? {}

/** `for key 'person.email'` on MySQL, `for key 'email'` on MariaDB. */
function duplicateKey(message: string): ErrorFields {
  const key = /for key [`']([^`']+)[`']\s*$/.exec(message)?.[1]
  if (key === undefined) return {}
  const dot = key.indexOf(".")
  return dot < 0 ? { constraint: key } : { table: key.slice(0, dot), constraint: key.slice(dot + 1) }
}

function foreignKeyOf(message: string): ErrorFields {
  const found = foreignKey.exec(message)
  return { schema: found?.[1], table: found?.[2], constraint: found?.[3], column: found?.[4] }
}

function columnOf(message: string): ErrorFields {
  const found = column.exec(message)?.[1]
  const parts = found?.split(".") ?? []
  return { column: parts.at(-1), table: parts.length > 1 ? parts.at(-2) : undefined }
}

const qualified = (found: string | undefined): ErrorFields => {
  const parts = found?.split(".") ?? []
  return { schema: parts.length > 1 ? parts[0] : undefined, table: parts.at(-1) }
}
