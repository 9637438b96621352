/**
 * How many parameters a text asks for: the highest number behind a `$` that is neither in a string, a quoted name, a
 * comment nor in a name.
 */
import { endOfComment, endOfQuoted } from "./Lexer.ts"

/** Where something begins that stands for itself, whatever is in it. The first match at a place wins. */
const token = new RegExp(
  [
    // `E'…'`, where a backslash escapes, and other strings and names in quotes, where it does not.
    String.raw`\b[eE]'`,
    String.raw`['"]`,
    String.raw`--[^\n\r]*`,
    String.raw`/\*`,
    // A name may contain a `$`, so it is taken as a whole.
    String.raw`[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*`,
    String.raw`\$\d+`,
    String.raw`\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$`
  ].join("|"),
  "g"
)

/** Counts; `undefined` where what a backslash means depends on a setting of the session. */
export const countPlaceholders = (sql: string): number | undefined => {
  if (!sql.includes("$")) return 0
  if (sql.includes("\\'")) return undefined
  let highest = 0
  token.lastIndex = 0
  for (let match = token.exec(sql); match !== null; match = token.exec(sql)) {
    const [text] = match
    if (text === "/*") {
      token.lastIndex = endOfComment(sql, match.index)
    } else if (text.endsWith("'") || text === "\"") {
      token.lastIndex = endOfQuoted(sql, token.lastIndex - 1, text.length > 1)
    } else if (text.charCodeAt(0) === 0x24) {
      if (text.endsWith("$")) {
        const end = sql.indexOf(text, token.lastIndex)
        if (end < 0) break
        token.lastIndex = end + text.length
      } else {
        highest = Math.max(highest, Number(text.slice(1)))
      }
    }
  }
  return highest
}
