/**
 * What a statement may leave behind in its session, as its text tells.
 *
 * The text is read as the server reads it, so neither a comment nor a pair of quotes hides a word, and a word in a string
 * is none. What a function of the database does is in no text: for that the names of the functions are collected that
 * are called, see `FunctionOrigins`.
 */
import { Lexer, Token } from "./Lexer.ts"

/** What a statement may leave behind, as bits. */
export const Trace = {
  Nothing: 0,
  /** Settings, roles, temporary tables, advisory locks, listens, cursors: the reset undoes them. */
  State: 1,
  /** A name given to a statement by SQL. To take it away takes all names away. */
  Name: 2,
  /** A library that was loaded: nothing undoes that. */
  Library: 4,
  /** Not left behind, but worth to be known: the transaction is to be read-only. */
  ReadOnly: 8,
  /** The time limit of statements may be another one afterwards. */
  Limit: 16,
  /** The server may forget names of statements. */
  Forgets: 32,
  /** Names may mean something else until the transaction is over. */
  Path: 64
} as const

/** What a text tells. */
export interface Traces {
  readonly trace: number
  /** The functions that it calls and that are not known to leave nothing behind. */
  readonly calls: ReadonlyArray<string> | undefined
}

/** What a statement may leave behind, apart from what functions of the database do. */
export const traceOf = (sql: string): number => tracesOf(sql).trace

/** Reads a text, if there is anything in it that has to be looked at. */
export const tracesOf = (sql: string): Traces =>
  suspicious.test(sql) || callsUnknown(sql) ? new Reader(sql).read() : nothing

const nothing: Traces = { trace: Trace.Nothing, calls: undefined }

/** One pass for most statements: without any of these words there is no need to look closer. */
const suspicious =
  /\b(?:set|set_config|setseed|reset|statement_timeout|discard|deallocate|temp|temporary|pg_temp\w*|pg_(?:try_)?advisory_lock\w*|listen|load|prepare|hold|do|call|read|dblink_connect\w*)\b|u&"/i

const lockOfSession = /^(?:pg_(?:try_)?advisory_lock(?:_shared)?|setseed|dblink_connect\w*)$/

/** Whether something is called that is not known. May find more than there is, in strings for example. */
const callsUnknown = (sql: string): boolean => {
  call.lastIndex = 0
  for (let match = call.exec(sql); match !== null; match = call.exec(sql)) {
    if (match[1] !== undefined) continue
    const name = match[2]!
    if (name.startsWith("\"") || !harmless.has(name.toLowerCase())) return true
  }
  return false
}

/**
 * A name with a parenthesis behind it; the first group matches where it is no call. It begins where a word begins: tried
 * at each letter of a long one, as of a text in base 64, it would take the square of its length.
 */
const call =
  /(\binto\s+(?:"[^"]*"\s*\.\s*)?)?("[^"]*"|(?<![\w$\u0080-\uffff])[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)\s*(?:\/\*|--|\()/gi

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/))

/** Behind these words comes an expression, and in front of a parenthesis they are no function. */
const keywords = words(
  "all analyze and any array as asc at between both by case cast check cluster collate conflict constraint copy cross " +
    "cube current default delete desc distinct do else end except execute exists explain extract fetch filter for " +
    "foreign from full generated group grouping having ilike in include index inner insert intersect interval into is " +
    "isnull join key lateral leading left like limit materialized merge natural not notnull null nulls of offset on " +
    "only operator options or order over overlaps partition placing position primary recursive references returning " +
    "right rollup row rows select set sets similar some stored substring symmetric table tablesample then to trailing " +
    "treat trim union unique update using vacuum values variadic verbose view when where window with within zone"
)

/** Behind these words comes the name of a table, and then perhaps its columns. */
const beforeNames = words("into table copy references with recursive as truncate vacuum analyze")

/** What is called most, and the types that have something in parentheses. The rest of the server's own is looked up. */
const harmless: ReadonlySet<string> = new Set([
  ...keywords,
  ...words(
    "abs array_agg array_length array_to_string avg bit bpchar ceil char character coalesce concat concat_ws count " +
      "current_setting date date_part date_trunc decimal dense_rank first_value float floor format gen_random_uuid " +
      "generate_series greatest json_agg json_build_array json_build_object json_object_agg jsonb_agg " +
      "jsonb_array_elements jsonb_build_array jsonb_build_object jsonb_object_agg jsonb_set lag last_value lead least " +
      "left length lower lpad ltrim make_interval max md5 min mod now nullif numeric pg_backend_pid pg_sleep random " +
      "rank regexp_matches regexp_replace repeat replace reverse right round row_number row_to_json rpad rtrim split_part " +
      "statement_timestamp string_agg substr sum time timestamp timestamptz to_char to_date to_json to_jsonb to_regclass " +
      "to_timestamp to_tsquery to_tsvector trunc unnest upper varbit varchar varying xmin"
  ),
  // Parts of the grammar that are in no list of functions, so that to ask about them would never end.
  ...words(
    "dec json_array json_arrayagg json_exists json_objectagg json_query json_scalar json_serialize json_table json_value " +
      "merge_action national nchar xmlattributes xmlconcat xmlelement xmlforest xmlnamespaces xmlparse xmlpi xmlroot " +
      "xmlserialize xmltable"
  )
])

/** Words of the grammar in their place. Elsewhere they may be functions. */
const endsOfCopy = words("stdin stdout")
const tableFunctions = words("json_table xmltable")

/** A parenthesis that is open. */
interface Open {
  readonly name: string | undefined
}

class Reader {
  private readonly lexer: Lexer
  private trace: number = Trace.Nothing
  private readonly calls: Array<string> = []
  private readonly open: Array<Open> = []
  /** How the statement begins: its first words. */
  private begin: Array<string> = []
  /** Inside DDL, functions are called behind a query only. */
  private collects = true
  private hasTimeout = false
  private hasTableFunction = false
  /** The last three words and symbols, the latest first. */
  private last = ""
  private last2 = ""
  private last3 = ""
  /** Whether the last one was a name: a word that is no keyword, or in quotes. */
  private lastIsName = false
  private last2IsName = false
  /** What may be the columns of a `with`, and no call. */
  private closed: string | undefined = undefined

  constructor(sql: string) {
    this.lexer = new Lexer(sql)
  }

  read(): Traces {
    const { lexer } = this
    while (lexer.next()) {
      if (this.last === "(" && this.last2 === "set_config") {
        if (mayBe(lexer, limits)) this.trace |= Trace.Limit
        if (mayBe(lexer, paths)) this.trace |= Trace.Path
      }
      if (lexer.token === Token.Symbol) this.onSymbol(lexer.value)
      else if (lexer.token === Token.Text) this.shift("'", false)
      else this.onWord(lexer.value, lexer.token === Token.Name)
    }
    this.endStatement()
    return { trace: this.trace, calls: this.calls.length === 0 ? undefined : this.calls }
  }

  private shift(value: string, isName: boolean): void {
    this.last3 = this.last2
    this.last2 = this.last
    this.last = value
    this.last2IsName = this.lastIsName
    this.lastIsName = isName
  }

  private onSymbol(symbol: string): void {
    switch (symbol) {
      case ";":
        this.endStatement()
        break
      case "(":
        this.onOpen()
        break
      case ")":
        this.onClose()
        break
      default:
        this.closed = undefined
    }
    this.shift(symbol, false)
  }

  /** Something stands in front of the parenthesis: a function, or something that looks like one. */
  private onOpen(): void {
    // `with a (x) as (`: what was closed before were columns.
    if (this.closed !== undefined && (this.last === "as" || this.last === "materialized")) {
      this.calls.splice(this.calls.lastIndexOf(this.closed), 1)
    }
    this.closed = undefined
    const { last, last2 } = this
    const isQualified = last2 === "."
    const name = last
    if (!this.isWordLike(name)) return void this.open.push({ name: undefined })
    if (lockOfSession.test(name)) this.trace |= Trace.State
    if (tableFunctions.has(name)) this.hasTableFunction = true
    const isCall = this.collects && !(isQualified && this.last3 === "pg_catalog") &&
      !(isQualified ? false : beforeNames.has(last2) || this.last2IsName || last2 === ")" || last2 === "]") &&
      (isQualified || !harmless.has(name) && !this.isGrammar(name))
    if (isCall) this.calls.push(name)
    this.open.push({ name: isCall || name === "set_config" ? name : undefined })
  }

  private isGrammar(name: string): boolean {
    return this.begin[0] === "copy" && endsOfCopy.has(name) || this.hasTableFunction && name === "columns"
  }

  private isWordLike(value: string): boolean {
    return value !== "" && (this.lastIsName || /^[a-z_\u0080-\uffff]/.test(value))
  }

  private onClose(): void {
    const open = this.open.pop()
    this.closed = open?.name === "set_config" ? undefined : open?.name
    // Only what says that it is for the transaction is.
    if (open?.name === "set_config" && !(this.last === "true" && this.last2 === ",")) this.trace |= Trace.State
  }

  private onWord(word: string, isQuoted: boolean): void {
    if (!isQuoted) {
      if (this.begin.length < 12) this.onBegin(word)
      if (word === "only" && this.last === "read") this.trace |= Trace.ReadOnly
      else if (word === "hold" && this.last === "with" && this.begin[0] === "declare") this.trace |= Trace.State
      else if (word === "select" || word === "values" || word === "execute") this.collects = true
      if ((word === "temp" || word === "temporary") && isInto(this.last, this.last2)) this.trace |= Trace.State
    }
    if (word === "statement_timeout") this.hasTimeout = true
    if (this.begin[0] === "set" && (paths.has(word) || word === "authorization" || word === "schema")) {
      this.trace |= Trace.Path
    }
    if (word.startsWith("pg_temp")) this.trace |= Trace.State
    // The view hands on what is written to it.
    if (word === "pg_settings" && this.begin[0] === "update") this.trace |= Trace.State | Trace.Limit
    if (word !== "as" && word !== "materialized" && word !== "not") this.closed = undefined
    this.shift(word, isQuoted || !keywords.has(word))
  }

  private onBegin(word: string): void {
    const { begin } = this
    // `explain` does what it explains if it is to be analyzed.
    if (begin.length === 0 && (word === "explain" || word === "analyze" && this.last === "explain")) return
    if (begin.length === 0 && this.open.length > 0 && !queries.has(word)) return
    begin.push(word)
    if (begin.length === 1) this.collects = !definitions.has(word)
    const [first, second] = begin
    if (begin.length === 1) {
      if (first === "listen" || first === "do" || first === "call") this.trace |= Trace.State
      else if (first === "load") this.trace |= Trace.Library
      else if (first === "deallocate" || first === "discard") this.trace |= Trace.Forgets
    } else if (begin.length === 2) {
      if (first === "set" && second !== "local" && second !== "transaction" && second !== "constraints") {
        this.trace |= Trace.State
      } else if (first === "prepare" && second !== "transaction") this.trace |= Trace.Name
    }
    if (first === "create" && (word === "temp" || word === "temporary") && begin.slice(1, -1).every(isOfCreate)) {
      this.trace |= Trace.State
    }
  }

  private endStatement(): void {
    const [first, second] = this.begin
    const sets = first === "set" || first === "reset"
    if (sets && this.hasTimeout || second === "all" && (first === "reset" || first === "discard")) {
      this.trace |= Trace.Limit
    }
    this.begin = []
    this.hasTimeout = false
    this.hasTableFunction = false
    this.collects = true
    this.open.length = 0
    this.closed = undefined
    this.shift("", false)
  }
}

const queries = words("select values with table insert update delete merge")
const definitions = words("create alter drop comment grant revoke")
const isOfCreate = (word: string): boolean =>
  word === "or" || word === "replace" || word === "global" || word === "local"

/** Whether the name of a setting may be one of these: what is no literal may be any. */
const mayBe = ({ token, value }: Lexer, names: ReadonlySet<string>): boolean =>
  token !== Token.Text || names.has(value.toLowerCase())

const limits = words("statement_timeout")
/** What decides what names mean: the path, and the role in `"$user"`. */
const paths = words("search_path role session_authorization")

const isInto = (last: string, last2: string): boolean =>
  last === "into" || (last === "local" || last === "global") && last2 === "into"
