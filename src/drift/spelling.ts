/** One spelling for what servers, versions and people write in several ways. */

/** Cuts the parentheses that are around the whole of an expression. */
const withoutParens = (text: string): string => {
  let at = text.trim()
  while (at.startsWith("(") && closing(at) === at.length - 1) at = at.slice(1, -1).trim()
  return at
}

/** Where the parenthesis that a text begins with is closed. */
const closing = (text: string): number => {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === "'" || char === "\"" || char === "`") {
      at = text.indexOf(char, at + 1)
      if (at === -1) return -1
    } else if (char === "(") {
      depth++
    } else if (char === ")" && --depth === 0) {
      return at
    }
  }
  return -1
}

/** The ways to say when a transaction has begun. */
const clock = /^(?:now\(\)|current_timestamp(?:\(\d*\))?|transaction_timestamp\(\)|localtimestamp(?:\(\d*\))?)$/i

/** Apart from texts, in which every letter counts. */
const outsideTexts = (text: string, change: (part: string) => string): string =>
  text.split(/('(?:[^']|'')*')/s).map((part, index) => index % 2 === 1 ? part : change(part)).join("")

/** An expression in one spelling. */
export const expression = (text: string): string =>
  outsideTexts(withoutParens(text), (part) => part.replaceAll(/\s+/g, " ")).trim()

/** A default in one spelling; `undefined` for null, which is what a column has without one. */
export const defaultValue = (text: string | undefined): string | undefined => {
  if (text === undefined) return undefined
  const bare = expression(text)
  // The type of the column decides, whatever the literal was cast to.
  const literal =
    /^(?:\(?(-?[\d.]+)\)?|'((?:[^']|'')*)'|(null|true|false))(?:::[\w\s".]+(?:\(\d+(?:,\d+)?\))?(?:\[\])*)*$/is
      .exec(bare)
  if (literal !== null) {
    const value = literal[1] ?? literal[2] ?? literal[3]!
    if (literal[3]?.toLowerCase() === "null") return undefined
    // A number is one with quotes and zeros as well.
    if (/^-?\d+(?:\.\d+)?$/.test(value)) return value.includes(".") ? value.replace(/\.?0+$/, "") : value
    if (literal[3] !== undefined) return value.toLowerCase()
    return /^t(?:rue)?$|^f(?:alse)?$/.test(value) && bare.endsWith("::boolean")
      ? value.startsWith("t") ? "true" : "false"
      : `'${value}'`
  }
  if (clock.test(bare)) {
    const digits = /\d+/.exec(bare)?.[0] ?? ""
    return /^local/i.test(bare) ? `localtimestamp(${digits})` : `now(${digits})`
  }
  return bare
}

/** Whether a default counts up, whatever its sequence is called. */
export const isSerial = (text: string | undefined): boolean => text !== undefined && /^nextval\('/i.test(text)

/** Whether the server may have chosen a name by itself. */
export const isServerName = (name: string): boolean =>
  /_(?:pkey|key|fkey|check|excl|idx|not_null)\d*$|_(?:ibfk|chk)_\d+$|^CONSTRAINT_\d+$|^PRIMARY$/.test(name)

/** A query of a view, without the spaces and the name of the database that MySQL writes before each table. */
export const query = (text: string, schema: string | undefined): string => {
  const bare = schema === undefined ? text : text.replaceAll(`\`${schema.replaceAll("`", "``")}\`.`, "")
  return outsideTexts(bare, (part) => part.replaceAll(/\s+/g, " ")).trim().replace(/;$/, "")
}
