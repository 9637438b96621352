/** A part of a statement, with a mark under the place that the server named. */

/** How many characters of a line are shown. */
const width = 120
/** How many characters of a statement are shown where the server named no place. */
const longest = 300

const secret = /\b(?:password|identified\s+by|secret)\b/i

/** The lines, indented by two. `position` counts characters from 1, as PostgreSQL does. */
export const excerpt = (sql: string, position: number | undefined): ReadonlyArray<string> => {
  const shown = secret.test(sql)
    ? sql.replace(/'(?:[^']|'')*'/g, (literal) => `'${"*".repeat(literal.length - 2)}'`)
    : sql
  // The server counts characters, a string of JavaScript may need two units for one.
  const characters = position === undefined ? [] : Array.from(shown)
  if (position === undefined || position > characters.length + 1) return [`  ${shorten(oneLine(shown))}`]
  const at = characters.slice(0, position - 1).join("").length
  return marked(shown, at)
}

const oneLine = (sql: string): string => sql.trim().replace(/\s+/g, " ")

const shorten = (line: string): string => line.length <= longest ? line : `${line.slice(0, longest - 1)}…`

const marked = (sql: string, at: number): ReadonlyArray<string> => {
  const start = sql.lastIndexOf("\n", at - 1) + 1
  const end = sql.indexOf("\n", at)
  const line = sql.slice(start, end < 0 ? undefined : end).replace(/[\t\r]/g, " ")
  const column = at - start
  const indent = line.length - line.trimStart().length
  // The window begins at the first word, or so that the mark stands in its middle.
  const from = column - indent < width - 20 ? Math.min(indent, column) : column - Math.floor(width / 2)
  const cut = line.slice(from, from + width).trimEnd()
  const before = from > indent ? "…" : ""
  const after = from + width < line.trimEnd().length ? "…" : ""
  const number = sql.slice(0, start).split("\n").length
  const label = sql.trim().includes("\n") ? `line ${number}: ` : ""
  const prefix = `  ${label}${before}`
  return [`${prefix}${cut}${after}`, `${" ".repeat(prefix.length + column - from)}^`]
}
