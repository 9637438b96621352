/**
 * Where statements of MySQL and MariaDB contain statements: routines, triggers, events, packages, and what MariaDB runs
 * without a routine around it. A semicolon in there ends nothing.
 *
 * It is fed with the words and signs of a text, without its comments, so it serves whatever has read them. It knows as
 * much of the grammar as tells where a block begins and ends:
 *
 * | opens                                              | unless                                                     |
 * | -------------------------------------------------- | ---------------------------------------------------------- |
 * | `BEGIN`, `CASE`                                    | it follows `END` or `XA`                                   |
 * | `IF`, `LOOP`, `REPEAT`, `WHILE`, `FOR`             | it is no first word of a statement: a function, a clause   |
 * | `AS`, `IS` of a routine, up to its own `BEGIN`     | a text follows, which is a routine in another language     |
 * | `PACKAGE`                                          |                                                            |
 *
 * Each of them is closed by its `END`.
 */

/** Which part of a statement is being read. */
type Part =
  /** Its first words, which tell whether it contains any. */
  | "Beginning"
  /** It contains none. */
  | "Plain"
  /** A routine, a trigger or an event, before its body. */
  | "Head"
  /** Blocks, or what stands behind the last one. */
  | "Body"

const routines = new Set(["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"])

/** What may stand before the word that tells what is created. */
const modifiers = new Set([
  ..."OR REPLACE AGGREGATE DEFINER CURRENT_USER CURRENT_ROLE IF NOT EXISTS SQL SECURITY INVOKER".split(" "),
  ..."`'=@.-%()"
])

/** Behind these signs stands a part of the name of a user. */
const inUser = new Set("=@.-%")

const loops = new Set(["LOOP", "REPEAT", "WHILE", "FOR"])
const blocks = new Set([...loops, "IF", "CASE"])

/** Behind these a statement of a body begins. */
const beforeStatements = new Set([";", ":", "BEGIN", "ATOMIC", "THEN", "ELSE", "LOOP", "REPEAT", "DO", "AS", "IS"])

/** The body is this one statement. */
const statements = new Set(["RETURN", "SELECT", "CALL", "SET", "INSERT", "UPDATE", "DELETE", "REPLACE", "SIGNAL"])
const beforeNoStatement = new Set(["CHARACTER", "RETURNS", "BEFORE", "AFTER", "OR"])

/** What a word means is told by the next one. */
const undecided = new Set(["IF", "FOR", "AS", "IS"])

const isWord = (token: string): boolean => token === "`" || /^[A-Z_\u0080-\uffff]/.test(token)

export class CompoundStatement {
  private part: Part = "Beginning"
  private first = ""
  private last = ""
  /** The last one, as long as what it means is not known. */
  private pending = ""
  private depth = 0
  private parentheses = 0
  /** The next BEGIN belongs to what is open already. */
  private awaitsBegin = false
  private isPackage = false
  /** Whether the type of a function has been told: RETURN is a statement then, and tells the type otherwise. */
  private hasType = false

  /** Whether a semicolon is inside of something. */
  get isOpen(): boolean {
    return this.depth > 0
  }

  /** A statement has ended. */
  reset(): void {
    this.part = "Beginning"
    this.first = ""
    this.last = ""
    this.pending = ""
    this.depth = 0
    this.parentheses = 0
    this.awaitsBegin = false
    this.isPackage = false
    this.hasType = false
  }

  /** Takes the next word in capitals, the next sign, or a quote for what is in quotes. */
  read(token: string): void {
    switch (this.part) {
      case "Plain":
        return
      case "Beginning":
        this.begin(token)
        break
      case "Head":
        this.readHead(token)
        break
      case "Body":
        this.readBody(token)
    }
    this.last = token
  }

  private begin(token: string): void {
    const { first, last } = this
    switch (first) {
      case "":
        this.first = token
        if (blocks.has(token) || token === "DECLARE") this.open(token === "DECLARE")
        else if (!isWord(token)) this.part = "Plain"
        return
      case "CREATE":
      case "ALTER":
        if (routines.has(token) && !inUser.has(last)) {
          this.part = "Head"
          if (token !== "PACKAGE") return
          this.isPackage = true
          this.open(true)
        } else if (!modifiers.has(token) && !inUser.has(last)) this.part = "Plain"
        return
      case "BEGIN":
        if (token === "NOT") this.open(false)
        else this.part = "Plain"
        return
    }
    // A label may stand before a block.
    if (last === ":" && (loops.has(token) || token === "BEGIN")) this.open(false)
    else if (token !== ":" || last !== first) this.part = "Plain"
  }

  private open(awaitsBegin: boolean): void {
    this.part = "Body"
    this.depth++
    this.awaitsBegin = awaitsBegin
  }

  private readHead(token: string): void {
    if (this.pending !== "" && this.decide(token)) return
    if (token === "(") this.parentheses++
    else if (token === ")") this.parentheses--
    if (this.parentheses > 0) return
    if (undecided.has(token)) this.pending = token
    else if (token === "BEGIN" || blocks.has(token)) this.open(false)
    else if (token === "RETURNS") this.hasType = true
    else if (token === "RETURN" && !this.hasType) return
    else if (statements.has(token) && !beforeNoStatement.has(this.last)) this.part = "Plain"
  }

  /** What the last word was, as the next one tells. Answers whether a body has begun. */
  private decide(token: string): boolean {
    const { pending } = this
    this.pending = ""
    switch (pending) {
      case "IF":
        if (token === "NOT" || token === "EXISTS") return false
        break
      case "FOR":
        if (token === "EACH") return false
        break
      default:
        // It is `AS`.
        if (!isWord(token) || token === "BEGIN") return false
    }
    this.open(pending === "AS" || pending === "IS")
    this.readBody(token)
    return true
  }

  private readBody(token: string): void {
    const { last } = this
    if (last === "END" && token !== ";") return
    if (token === "END") {
      if (this.depth > 0) this.depth--
      // A package may have a block behind its routines.
      this.awaitsBegin = this.isPackage && this.depth === 1
    } else if (token === "BEGIN") {
      if (last === "XA") return
      if (this.awaitsBegin) this.awaitsBegin = false
      else this.depth++
    } else if (token === "CASE" || blocks.has(token) && beforeStatements.has(last)) {
      this.depth++
    } else if (this.isPackage && (token === "PROCEDURE" || token === "FUNCTION")) {
      // Its BEGIN is not that of the package.
      this.awaitsBegin = false
    }
  }
}
