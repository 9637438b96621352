/** The exchange of a statement, or of several in one text. */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { DriverConnection, Receiver, Result as DriverResult, Rows } from "../driver/Driver.ts"
import { isUnprepared } from "../errors/errno.ts"
import { type MysqlError, partial } from "../errors/errors.ts"
import * as Parameters from "../statement/parameters.ts"
import { type Ok, type RowDecoder, Undecodable } from "../statement/results.ts"
import { type Pieces, split } from "../statement/statements.ts"
import { CallerExchange } from "./CallerExchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"

const partOfText = "the statements before it in the same text have been committed"

export type RowTransform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** What is made of the answer. */
export const ResultShape = { Rows: 0, Values: 1, Raw: 2 } as const
export type ResultShape = typeof ResultShape[keyof typeof ResultShape]

export class StatementExchange extends CallerExchange implements Receiver {
  readonly pipelines: boolean

  private readonly shape: ResultShape
  protected readonly sql: string
  private readonly params: ReadonlyArray<Parameters.Parameter>
  private readonly transformRows: RowTransform
  private readonly resume: (effect: Effect.Effect<any, SqlError>) => void
  private prepare: boolean
  /** What is sent where it is not prepared. */
  private text = ""

  /** The statements of a text, where there are several of them or parameters to be written into it. */
  private pieces: ReadonlyArray<Pieces> | undefined = undefined
  private piece = 0
  private used = 0
  private results: Array<unknown> | undefined = undefined

  constructor(
    host: ExchangeHost,
    shape: ResultShape,
    sql: string,
    params: ReadonlyArray<Parameters.Parameter>,
    transformRows: RowTransform,
    prepare: boolean,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: (effect: Effect.Effect<any, SqlError>) => void
  ) {
    super(host, prepare ? "execute" : "executeUnprepared", host.profiles.get(sql), fiber)
    this.shape = shape
    this.sql = sql
    this.params = params
    this.transformRows = transformRows
    this.prepare = prepare
    this.resume = resume
    this.pipelines = this.profile.plain && (prepare || !sql.includes(";")) && host.hasLimit(fiber)
  }

  settle(effect: Effect.Effect<any, SqlError>): void {
    this.resume(effect)
  }

  /** What only reads and writes rows commits nothing by itself. */
  protected override get canFollowBegin(): boolean {
    return this.profile.plain && this.results === undefined
  }

  /** What comes first in a text has been done already. */
  override takeBack(): void {
    if (this.piece === 0) super.takeBack()
  }

  start(): void {
    if (!this.canPrepare(this.params)) this.prepare = false
    if (!this.prepare) this.cut()
    this.sendChecked()
  }

  /** Cuts a text into its statements. */
  private cut(): void {
    if (this.params.length === 0 && !this.sql.includes(";") && !this.sql.includes("?")) return
    const pieces = split(this.sql, this.host.noBackslashEscapes)
    this.pieces = pieces.length === 0 ? undefined : pieces
    this.piece = 0
    this.used = 0
    // A line with DELIMITER stands before the first statement.
    if (pieces.length > 1 || pieces.length === 1 && this.profile.words.startsWith("DELIMITER")) {
      this.profile = this.host.profiles.get(pieces[0]!.texts.join("?"))
    }
    if (pieces.length > 1) this.results = []
  }

  protected objection(): SqlError | undefined {
    const { params } = this
    // What was sent while this one waited may have decided what the parameters are.
    if (this.prepare && !this.host.driver.accepts(this.sql, params)) {
      this.prepare = false
      this.cut()
    }
    const { pieces } = this
    if (this.prepare) {
      const { placeholders } = this.profile
      return placeholders !== undefined && placeholders !== params.length
        ? this.miscounted(placeholders, params.length)
        : this.oversized(this.sql, params)
    }
    if (this.piece === 0) {
      const count = pieces === undefined ? 0 : pieces.reduce((sum, piece) => sum + Parameters.countOf(piece), 0)
      if (count !== params.length) return this.miscounted(count, params.length)
    }
    this.text = pieces === undefined ? this.sql : Parameters.inline(pieces[this.piece]!, params, this.used)
    return this.oversized(this.text, [])
  }

  protected transmit(driver: DriverConnection): void {
    if (this.prepare) return driver.execute(this.sql, this.params, this)
    driver.query(this.text, this)
  }

  onRows(rows: Rows, decoder: RowDecoder, flags: number | undefined): void {
    if (this.isDone || this.wasNotBegun()) return
    this.host.noteAnswer(flags, this.profile, this.fiber)
    this.answer(this.abandoned ? undefined : this.convert(rows, decoder))
  }

  onOk(ok: Ok, flags: number | undefined): void {
    if (this.isDone || this.wasNotBegun()) return
    this.host.noteAnswer(flags, this.profile, this.fiber)
    this.answer(this.results !== undefined || this.shape === ResultShape.Raw ? ok : [])
  }

  onMany(results: ReadonlyArray<DriverResult>, flags: number | undefined): void {
    if (this.isDone || this.wasNotBegun()) return
    this.host.noteAnswer(flags, this.profile, this.fiber)
    const converted: Array<unknown> = []
    for (const result of results) {
      const one = "ok" in result ? result.ok : this.convert(result.rows, result.decoder)
      if (one instanceof Undecodable) return this.answer(one)
      converted.push(one)
    }
    // A procedure ends with a result without rows; of one that returns rows once, they are what is asked for.
    const rows = results.filter((result) => "rows" in result)
    this.answer(
      this.shape !== ResultShape.Raw && this.results === undefined && rows.length === 1
        ? converted[results.indexOf(rows[0]!)]
        : converted
    )
  }

  private convert(rows: Rows, decoder: RowDecoder): unknown {
    const problem = decoder.values(rows, {
      safeIntegers: this.fiber.getRef(SafeIntegers),
      dateStrings: this.host.dateStrings
    })
    if (problem !== undefined) return problem
    return this.shape === ResultShape.Values ? rows : decoder.objects(rows)
  }

  private answer(value: unknown): void {
    this.looked(() => this.answered(value))
  }

  /** Takes one answer; goes on with the next statement of the text, if there is one. */
  private answered(value: unknown): void {
    if (value instanceof Undecodable) {
      return this.end(Effect.fail(
        this.failureOf(`the statement ran, but column \`${value.column}\` could not be decoded`, value.cause)
      ))
    }
    if (this.results !== undefined) {
      this.results.push(value)
      const pieces = this.pieces!
      this.used += Parameters.countOf(pieces[this.piece]!)
      const next = pieces[++this.piece]
      if (next !== undefined) {
        this.profile = this.host.profiles.get(next.texts.join("?"))
        return this.sendChecked()
      }
      value = this.results
    }
    const { transformRows } = this
    this.end(
      transformRows === undefined
        ? Effect.succeed(value)
        : Effect.sync(() => transformRows(value as ReadonlyArray<any>))
    )
  }

  onError(error: unknown, sent: boolean): void {
    if (this.isDone || this.wasNotBegun()) return
    this.onServerError(
      error,
      sent,
      !this.prepare && this.params.length > 0,
      (serverError) => this.looked((error) => this.refused(error!), serverError)
    )
  }

  private refused(serverError: MysqlError): void {
    const { host } = this
    // The statement was not run, for the server has forgotten it or cannot prepare it.
    if (this.prepare && isUnprepared(serverError.errno)) {
      host.driver.forget(this.sql)
      this.prepare = false
      this.sent = false
      return this.start()
    }
    const isPartial = this.piece > 0 && !host.inTransaction
    host.noteError(serverError, this.profile)
    this.end(Effect.fail(this.failureFrom(isPartial ? partial(serverError, partOfText) : serverError)))
  }
}
