/**
 * The question for the id of a transaction, as it rides with one statement.
 *
 * It is prepared as the statement is: to parse it each time would cost the server more than many a write. Whoever looks
 * at what a session does will find the question, so it says behind what it came.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Result from "effect/Result"
import * as frames from "../wire/frames.ts"

const describePortal = frames.join(PgProtocol.encodeDescribe({ target: "portal", name: "" }))
const execute = frames.join(PgProtocol.encodeExecute({ portal: "", maxRows: 0 }))

let questions = 0

export class XidQuery {
  /** Empty for a statement without a name that lasts. */
  readonly name: string
  /** Whether the server holds it under its name. */
  isHeld = false
  private readonly parse: Uint8Array
  private readonly run: Uint8Array
  private whole: Uint8Array | undefined = undefined

  /** `ask` asks for the id; `name` and `sql` are the statement's. */
  constructor(ask: string, name: string | undefined, sql: string) {
    this.name = name !== undefined ? `${name}_${(++questions).toString(36)}` : ""
    const behind = sql.slice(0, 500).replaceAll("*/", "* /").replaceAll("/*", "/ *").trim()
    const query = `${ask} /* after: ${behind} */`
    this.parse = Result.getOrThrow(PgProtocol.encodeParse({ name: this.name, query, parameterTypes: [] }))
    const bind = PgProtocol.encodeBind({ portal: "", statement: this.name, parameters: [] })
    this.run = frames.join(Result.getOrThrow(bind), frames.executeSync)
  }

  /** The end of a cycle in which it follows the statement, whose columns are known or have to be asked for. */
  behind(isKnown: boolean): Uint8Array {
    if (this.isHeld && isKnown) return this.whole ??= frames.join(execute, this.run)
    const question = this.isHeld ? this.run : frames.join(this.parse, this.run)
    return isKnown ? frames.join(execute, question) : frames.join(describePortal, execute, question)
  }
}
