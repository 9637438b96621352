/**
 * Names and literals, quoted so that whatever is in them stays in them.
 */

/** Quotes one name. */
export const quoteName = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

/** Quotes a name that may have a schema in front of it, as `sql("schema.table")` does. */
export const quotePath = (name: string): string => name.split(".").map(quoteName).join(".")

/** Quotes a text, whatever `standard_conforming_strings` says. */
export const quoteText = (text: string): string => {
  const quoted = `'${text.replaceAll("'", "''")}'`
  return quoted.includes("\\") ? ` E${quoted.replaceAll("\\", "\\\\")}` : quoted
}
