/**
 * Where the statements of a script begin. The server takes a script apart by itself; this is for saying in which line
 * it failed.
 */
import type { SqlError } from "effect/sql/SqlError"

/** Where in a script a statement is. */
export interface Place {
  /** Which statement it is, counted from 1. */
  readonly statement: number
  /** The line in which it fails, or begins if the server does not say more. Counted from 1. */
  readonly line: number
}

const completed = new WeakMap<SqlError, number>()

/** Writes down how many statements of a script had been completed when it failed. */
export const markCompleted = (error: SqlError, statements: number): SqlError => {
  completed.set(error, statements)
  return error
}

export const placeOfFailure = (script: string, error: SqlError): Place | undefined => {
  const count = completed.get(error)
  if (count === undefined) return undefined
  const starts = statementStarts(script)
  const position = Number((error.reason.cause as { readonly position?: unknown } | undefined)?.position)
  // The server counts characters, and nothing is run of a script that it cannot parse.
  const at = Number.isInteger(position) && position > 0 ? offsetOf(script, position) : starts[count]
  if (at === undefined) return undefined
  let statement = 0
  while (statement < starts.length && starts[statement]! <= at) statement++
  return { statement: Math.max(1, statement), line: lineOf(script, at) }
}

const offsetOf = (script: string, position: number): number => {
  let offset = 0
  for (const char of script) {
    if (--position <= 0) break
    offset += char.length
  }
  return offset
}

const lineOf = (script: string, offset: number): number => {
  let line = 1
  for (let at = script.indexOf("\n"); at >= 0 && at < offset; at = script.indexOf("\n", at + 1)) line++
  return line
}

/** What has to be passed over as a whole, or ends a statement. */
const token =
  /--[^\n]*|\/\*|\bE'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$|;|\b(?:BEGIN\s+ATOMIC|CASE|END)\b|[^\s]/gi

/** Where each statement begins. Those that consist of nothing but comments do not count, as the server does not. */
export const statementStarts = (script: string): ReadonlyArray<number> => {
  const starts: Array<number> = []
  let isInside = false
  /** How deep it is in `BEGIN ATOMIC … END`, in which semicolons end no statement. */
  let depth = 0
  token.lastIndex = 0
  for (let match = token.exec(script); match !== null; match = token.exec(script)) {
    const text = match[0]
    if (text.startsWith("--")) continue
    if (text === "/*") {
      token.lastIndex = endOfComment(script, match.index)
      continue
    }
    if (text === ";" && depth === 0) {
      isInside = false
      continue
    }
    if (!isInside) {
      isInside = true
      starts.push(match.index)
    }
    if (text.startsWith("$") && text.endsWith("$") && text.length > 1) {
      const end = script.indexOf(text, token.lastIndex)
      token.lastIndex = end < 0 ? script.length : end + text.length
    } else if (/^begin/i.test(text) && text.length > 5 || depth > 0 && /^case$/i.test(text)) {
      depth++
    } else if (depth > 0 && /^end$/i.test(text)) {
      depth--
    } else if (/^[A-Za-z_\u0080-\uffff]$/.test(text)) {
      // The rest of a word, so that nothing in it is taken for something else.
      const word = /[\w$\u0080-\uffff]*/y
      word.lastIndex = token.lastIndex
      token.lastIndex += word.exec(script)![0].length
    }
  }
  return starts
}

/** Comments may be nested in each other. */
const endOfComment = (script: string, start: number): number => {
  const mark = /\/\*|\*\//g
  mark.lastIndex = start
  let depth = 0
  for (let match = mark.exec(script); match !== null; match = mark.exec(script)) {
    depth += match[0] === "/*" ? 1 : -1
    if (depth === 0) return mark.lastIndex
  }
  return script.length
}
