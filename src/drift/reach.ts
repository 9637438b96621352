/** Whether a statement reaches beyond the database that it runs in. In a shadow on a server of others it must not. */
import * as Result from "effect/Result"
import { type Dialect, type Token, tokenize } from "../migrations/sql/lexer.ts"

/** What a statement would reach; `undefined` if nothing. A text that cannot be read is left to the server to refuse. */
export const reachOf = (text: string, dialect: Dialect, others: ReadonlySet<string>): string | undefined => {
  const tokens = tokenize(text, dialect)
  if (Result.isFailure(tokens)) return undefined
  const all = tokens.success.filter(({ kind }) => kind !== "comment" && kind !== "executed")
  return (dialect === "mysql" ? otherDatabase(all, others) : undefined) ?? statements(all).map(ofServer).find(Boolean)
}

/** A table of another database is named with it. */
const otherDatabase = (tokens: ReadonlyArray<Token>, others: ReadonlySet<string>): string | undefined => {
  for (let at = 0; at < tokens.length - 1; at++) {
    const token = tokens[at]!
    if (tokens[at + 1]!.text !== "." || tokens[at - 1]?.text === ".") continue
    if ((token.kind === "word" || token.kind === "name") && others.has(token.text.toLowerCase())) {
      return `the database ${token.text.toLowerCase()}`
    }
  }
  return undefined
}

const statements = (tokens: ReadonlyArray<Token>): ReadonlyArray<ReadonlyArray<Token>> => {
  const all: Array<Array<Token>> = [[]]
  for (const token of tokens) {
    if (token.text === ";") all.push([])
    else all.at(-1)!.push(token)
  }
  return all
}

const objects = /^(?:ROLE|USER|GROUP|DATABASE|TABLESPACE|SYSTEM|SUBSCRIPTION|SERVER|LOGFILE)$/

/** What belongs to the server and not to one of its databases. */
const ofServer = (tokens: ReadonlyArray<Token>): string | undefined => {
  const words = tokens.map((token) => token.kind === "word" ? token.text : "")
  const [first, second, third] = words
  switch (first) {
    case "CREATE":
    case "ALTER":
    case "DROP":
      return second === "OR" ? undefined : objects.test(second ?? "") && third !== "MAPPING"
        ? `${second!.toLowerCase()}s of the server`
        : undefined
    case "GRANT":
    case "REVOKE": {
      const on = words.indexOf("ON")
      return on === -1 || /^(?:DATABASE|TABLESPACE|PARAMETER)$/.test(words[on + 1] ?? "")
        ? "rights on the server"
        : undefined
    }
    case "SET":
      return /^(?:GLOBAL|PERSIST|PERSIST_ONLY)$/.test(second ?? "") ? "settings of the server" : undefined
    case "COMMENT":
      return /^(?:DATABASE|ROLE|TABLESPACE)$/.test(third ?? "") ? "comments of the server" : undefined
    case "USE":
      return "another database"
    default:
      return undefined
  }
}
