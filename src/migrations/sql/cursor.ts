/** Reads the tokens of a statement one after another, as far as a rule needs to understand it. */
import type { Token } from "./lexer.ts"
import type { Statement } from "./split.ts"

/** The name of a table or of something else that lives in a schema. */
export interface Name {
  readonly schema: string | undefined
  readonly name: string
}

/** A place among the tokens of a statement. */
export class Cursor {
  private at = 0
  private readonly tokens: ReadonlyArray<Token>
  private readonly statement: Statement
  private readonly folds: boolean

  /** `folds` says that names without quotes are in lower case, as PostgreSQL has them. */
  constructor(statement: Statement, folds: boolean) {
    this.tokens = statement.tokens
    this.statement = statement
    this.folds = folds
  }

  get token(): Token | undefined {
    return this.tokens[this.at]
  }

  get isAtEnd(): boolean {
    return this.at >= this.tokens.length
  }

  skip(): void {
    this.at++
  }

  /** Takes these words if they come next, all of them. */
  take(...words: ReadonlyArray<string>): boolean {
    const found = words.every((word, index) => {
      const token = this.tokens[this.at + index]
      return token?.kind === "word" && token.text === word
    })
    if (found) this.at += words.length
    return found
  }

  /** Takes the next word if it is one of these. */
  takeAny(...words: ReadonlyArray<string>): string | undefined {
    const { token } = this
    if (token?.kind !== "word" || !words.includes(token.text)) return undefined
    this.at++
    return token.text
  }

  takeSign(sign: string): boolean {
    const { token } = this
    if (token?.kind !== "sign" || token.text !== sign) return false
    this.at++
    return true
  }

  /** Takes `IF EXISTS` or `IF NOT EXISTS`. */
  takeIf(): boolean {
    return this.take("IF", "NOT", "EXISTS") || this.take("IF", "EXISTS")
  }

  /** Takes an identifier. */
  identifier(): string | undefined {
    const { token } = this
    if (token?.kind !== "name" && token?.kind !== "word") return undefined
    this.at++
    if (token.kind === "name") return token.text
    const { start, text: whole } = this.statement
    const text = whole.slice(token.start - start, token.end - start)
    return this.folds ? text.toLowerCase() : text
  }

  /** Takes an identifier with or without its schema. */
  name(): Name | undefined {
    const first = this.identifier()
    if (first === undefined) return undefined
    if (!this.takeSign(".")) return { schema: undefined, name: first }
    const second = this.identifier()
    return second === undefined ? undefined : { schema: first, name: second }
  }

  /** Takes names with commas between them. */
  names(): ReadonlyArray<Name> {
    const names: Array<Name> = []
    do {
      const name = this.name()
      if (name === undefined) break
      names.push(name)
    } while (this.takeSign(","))
    return names
  }

  /** Goes on until one of these words comes next, outside of parentheses. Answers whether it does. */
  seek(...words: ReadonlyArray<string>): boolean {
    let depth = 0
    for (; this.at < this.tokens.length; this.at++) {
      const { kind, text } = this.tokens[this.at]!
      if (kind === "sign" && text === "(") depth++
      else if (kind === "sign" && text === ")") depth--
      else if (depth === 0 && kind === "word" && words.includes(text)) return true
    }
    return false
  }

  /** Goes on to what follows the next comma outside of parentheses. Answers whether there is one. */
  nextItem(): boolean {
    let depth = 0
    for (; this.at < this.tokens.length; this.at++) {
      const { kind, text } = this.tokens[this.at]!
      if (kind !== "sign") continue
      if (text === "(") depth++
      else if (text === ")") depth--
      else if (text === "," && depth === 0) {
        this.at++
        return true
      }
    }
    return false
  }

  /** Where it is, to come back to. */
  mark(): number {
    return this.at
  }

  reset(mark: number): void {
    this.at = mark
  }
}
