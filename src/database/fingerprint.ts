/**
 * What statements that differ only in their values have in common.
 *
 * Literals and placeholders become `?`, lists of them become one, comments go, white space becomes one blank.
 */
export const fingerprint = (sql: string): string => {
  const known = fingerprints.get(sql)
  if (known !== undefined) return known
  const made = normalize(sql)
  if (fingerprints.size >= 1_000) fingerprints.clear()
  fingerprints.set(sql, made)
  return made
}

const fingerprints = new Map<string, string>()

// What is not closed goes to the end of the text. To look for its end at each beginning would take the square of its length.
const token =
  /'(?:[^']|'')*'?|"(?:[^"]|"")*"?|`(?:[^`]|``)*`?|--[^\n]*|\/\*(?:[\s\S]*?\*\/|[\s\S]*)|\$\d+|\$(\w*)\$(?:[\s\S]*?\$\1\$|[\s\S]*)|\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b/gi

const normalize = (sql: string): string =>
  sql
    .replace(token, (text) => {
      if (text.startsWith("\"") || text.startsWith("`")) return text
      return text.startsWith("--") || text.startsWith("/*") ? " " : "?"
    })
    .replace(/\s+/g, " ")
    .replace(/\(\s*\?(?:\s*,\s*\?)*\s*\)(?:\s*,\s*\(\s*\?(?:\s*,\s*\?)*\s*\))*/g, "(?)")
    .trim()
