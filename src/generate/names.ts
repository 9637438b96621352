/** Names of the database as names in TypeScript. */

/** What a file of models imports, and what no class may be called. */
const taken = ["Schema", "Model", "Object", "index", "columns", "types"]

/** Names that Windows keeps for devices, whatever comes behind them. */
const device = /^(?:con|prn|aux|nul|com\d|lpt\d)$/i

/** A name in capitals and small letters, of what may be part of an identifier. */
export const pascalCase = (name: string): string => {
  const words = name.normalize("NFC").split(/[^\p{ID_Continue}]|_/u).filter((word) => word !== "")
  const joined = words.map((word) => {
    const [first = "", ...rest] = word
    return first.toUpperCase() + rest.join("")
  }).join("")
  return joined === "" || !/^\p{ID_Start}/u.test(joined) ? `_${joined}` : joined
}

/** Gives out names, none of them twice: files may differ in more than case. */
export class Names {
  private readonly used = new Set([...taken.map((name) => name.toLowerCase())])

  take(wanted: string): string {
    for (let count = 1;; count++) {
      const name = count === 1 ? wanted : `${wanted}${/\d$/.test(wanted) ? "_" : ""}${count}`
      if (this.used.has(name.toLowerCase()) || device.test(name)) continue
      this.used.add(name.toLowerCase())
      return name
    }
  }
}

/** A text in TypeScript. */
export const quoted = (text: string): string => JSON.stringify(text)

/** The key of an object. */
export const key = (name: string): string =>
  name === "__proto__"
    // Without brackets it would be the prototype.
    ? `["__proto__"]`
    : /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name)
    ? name
    : quoted(name)

/** A comment as JSDoc, with nothing in it that could end it. */
export const jsdoc = (comment: string | undefined, indent: string): string => {
  if (comment === undefined || comment.trim() === "") return ""
  const lines = comment.trim().replaceAll("*/", "*\\/").split(/\r\n|[\n\r\u2028\u2029]/).map((line) => line.trimEnd())
  return lines.length === 1
    ? `${indent}/** ${lines[0]} */\n`
    : [`${indent}/**`, ...lines.map((line) => `${indent} *${line === "" ? "" : ` ${line}`}`), `${indent} */\n`].join(
      "\n"
    )
}
