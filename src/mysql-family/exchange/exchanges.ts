/**
 * The jobs of a session: statements, control statements and streams.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Receiver, Result as DriverResult, Rows, RowSource, StreamReceiver } from "../driver/Driver.ts"
import { Miscounted } from "../driver/Driver.ts"
import { endsConnection } from "../errors/errno.ts"
import { describe, isConnectionError, type MysqlError, partial, serverErrorOf, unknownError } from "../errors/errors.ts"
import type { Session } from "../session/Session.ts"
import * as Parameters from "../statement/parameters.ts"
import { type Ok, type RowDecoder, Undecodable } from "../statement/results.ts"
import { type Pieces, type Profile, split } from "../statement/statements.ts"
import { Exchange } from "./Exchange.ts"

export type RowTransform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** What is made of the answer. */
export const Mode = { Rows: 0, Values: 1, Raw: 2 } as const
export type Mode = typeof Mode[keyof typeof Mode]

/** How many rows a stream keeps before it holds the server back. */
const streamBuffer = 1_024

/** How many it takes in at most to let a statement pass that waits behind it. */
export const streamOverflow = 65_536

/** A statement that does nothing: its answer has the status flags. */
export const probe = "DO 0"

/** Asks for the status flags before a statement of a transaction. */
export const probeFor = (session: Session, then: () => void): Receiver => ({
  isWanted: true,
  onRows: (_rows, _columns, status) => {
    session.noteProbe(status)
    then()
  },
  onOk: (_ok, status) => {
    session.noteProbe(status)
    then()
  },
  onMany: (_results, status) => {
    session.noteProbe(status)
    then()
  },
  onError: (error) =>
    session.lose(
      `the server does not say whether the transaction is open: ${describe(error)}`,
      error,
      serverErrorOf(error)
    )
})

export const toDriverFailure = (session: Session, error: unknown, operation: string): SqlError =>
  error instanceof Miscounted
    ? session.miscounted(error.placeholders, error.parameters, operation)
    : unknownError(session.shared.database, `the driver failed: ${describe(error)}`, error, operation)

/** A statement, or several in one text. */
export class StatementExchange extends Exchange implements Receiver {
  readonly pipelines: boolean
  readonly canBeKilled = true
  readonly canBeDropped = true

  private readonly session: Session
  private readonly mode: Mode
  private readonly sql: string
  private readonly params: ReadonlyArray<Parameters.Parameter>
  private readonly transformRows: RowTransform
  private readonly fiber: Fiber.Fiber<unknown, unknown>
  private readonly resume: (effect: Effect.Effect<any, SqlError>) => void
  private prepare: boolean

  private profile: Profile
  /** The statements of a text, where there are several of them or parameters to be written into it. */
  private pieces: ReadonlyArray<Pieces> | undefined = undefined
  private piece = 0
  private used = 0
  private results: Array<unknown> | undefined = undefined

  constructor(
    session: Session,
    mode: Mode,
    sql: string,
    params: ReadonlyArray<Parameters.Parameter>,
    transformRows: RowTransform,
    prepare: boolean,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: (effect: Effect.Effect<any, SqlError>) => void
  ) {
    super(prepare ? "execute" : "executeUnprepared")
    this.session = session
    this.mode = mode
    this.sql = sql
    this.params = params
    this.transformRows = transformRows
    this.prepare = prepare
    this.fiber = fiber
    this.resume = resume
    this.profile = session.shared.profiles.get(sql)
    this.pipelines = this.profile.plain && (prepare || !sql.includes(";"))
  }

  start(): void {
    if (!this.session.prepares) this.prepare = false
    if (!this.prepare && !this.cut()) return
    this.check()
  }

  /** Cuts a text into its statements. */
  private cut(): boolean {
    if (this.params.length === 0 && !this.sql.includes(";") && !this.sql.includes("?")) return true
    this.pieces = split(this.sql, this.session.noBackslashEscapes)
    this.piece = 0
    this.used = 0
    const count = this.pieces.reduce((sum, piece) => sum + Parameters.countOf(piece), 0)
    if (count !== this.params.length) {
      this.end(Effect.fail(this.session.miscounted(count, this.params.length, this.operation)))
      return false
    }
    if (this.pieces.length > 1) {
      this.results = []
      this.profile = this.session.shared.profiles.get(this.pieces[0]!.texts.join("?"))
    } else if (this.pieces.length === 0) this.pieces = undefined
    return true
  }

  private check(): void {
    const limit = this.session.shared.statementLimit
    if (limit !== Infinity && this.timer === undefined) {
      this.timer = setTimeout(() => this.session.expireStatement(this), limit)
    }
    if (this.session.needsVerification) {
      this.session.driver.query(
        probe,
        probeFor(this.session, () => this.isDone || this.send())
      )
    } else this.send()
  }

  private send(): void {
    const { session } = this
    const objection = session.objectionTo(this.profile, this.fiber, this.operation)
    if (objection !== undefined) return this.end(Effect.fail(objection))
    const { placeholders } = this.profile
    if (this.prepare && placeholders !== undefined && placeholders !== this.params.length) {
      return this.end(Effect.fail(session.miscounted(placeholders, this.params.length, this.operation)))
    }
    session.noteSent(this.profile)
    this.sent = true
    if (this.prepare) return session.driver.execute(this.sql, this.params, this)
    if (this.pieces === undefined) return session.driver.query(this.sql, this)
    const piece = this.pieces[this.piece]!
    session.driver.query(Parameters.inline(piece, this.params, this.used), this)
  }

  onRows(rows: Rows, decoder: RowDecoder, status: number | undefined): void {
    if (this.isDone) return
    this.session.noteAnswer(status, this.profile, this.fiber)
    this.answer(this.abandoned ? undefined : this.convert(rows, decoder))
  }

  onOk(ok: Ok, status: number | undefined): void {
    if (this.isDone) return
    this.session.noteAnswer(status, this.profile, this.fiber)
    this.answer(this.results !== undefined || this.mode === Mode.Raw ? ok : [])
  }

  onMany(results: ReadonlyArray<DriverResult>, status: number | undefined): void {
    if (this.isDone) return
    this.session.noteAnswer(status, this.profile, this.fiber)
    const converted: Array<unknown> = []
    for (const result of results) {
      const one = "ok" in result ? result.ok : this.convert(result.rows, result.decoder)
      if (one instanceof Undecodable) return this.answer(one)
      converted.push(one)
    }
    // A procedure ends with a result without rows; of one that returns rows once, they are what is asked for.
    const rows = results.filter((result) => "rows" in result)
    this.answer(
      this.mode !== Mode.Raw && this.results === undefined && rows.length === 1
        ? converted[results.indexOf(rows[0]!)]
        : converted
    )
  }

  private convert(rows: Rows, decoder: RowDecoder): unknown {
    const problem = decoder.values(rows, {
      safeIntegers: this.fiber.getRef(SafeIntegers),
      dateStrings: this.session.shared.dateStrings
    })
    if (problem !== undefined) return problem
    return this.mode === Mode.Values ? rows : decoder.objects(rows)
  }

  /** Takes one answer; goes on with the next statement of the text, if there is one. */
  private answer(value: unknown): void {
    if (value instanceof Undecodable) {
      return this.end(Effect.fail(unknownError(
        this.session.shared.database,
        `the statement ran, but column \`${value.column}\` could not be decoded`,
        value.cause,
        this.operation
      )))
    }
    if (this.results !== undefined) {
      this.results.push(value)
      const pieces = this.pieces!
      this.used += Parameters.countOf(pieces[this.piece]!)
      const next = pieces[++this.piece]
      // What nobody waits for any more need not be begun.
      if (next !== undefined && !this.abandoned) {
        this.profile = this.session.shared.profiles.get(next.texts.join("?"))
        return this.check()
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
    if (this.isDone) return
    const { session } = this
    const serverError = serverErrorOf(error, !this.prepare && this.params.length > 0)
    if (serverError === undefined) {
      if (!sent) this.sent = false
      if (isConnectionError(error)) return session.lose(`the connection failed: ${describe(error)}`, error)
      return this.end(Effect.fail(toDriverFailure(session, error, this.operation)))
    }
    if (endsConnection(serverError.errno)) {
      return session.lose(
        `the server ended the session: ${serverError.message} (${serverError.errno})`,
        error,
        serverError
      )
    }
    // The statement was not run, for the server has forgotten it or cannot prepare it.
    if (this.prepare && !this.abandoned && isUnprepared(serverError.errno)) {
      session.driver.forget(this.sql)
      this.prepare = false
      this.sent = false
      return this.start()
    }
    const isPartial = this.piece > 0 && !session.inTransaction
    session.noteError(serverError, this.profile)
    this.end(Effect.fail(session.errorOf(isPartial ? partial(serverError) : serverError, this.operation)))
  }

  private end(effect: Effect.Effect<any, SqlError>): void {
    const { session } = this
    session.finish(this)
    if (!this.abandoned) this.resume(effect)
    session.next()
  }

  get isWanted(): boolean {
    return !this.abandoned && !this.isDone
  }

  fail(error: SqlError): void {
    this.resume(Effect.fail(error))
  }
}

/** 1243: unknown handler. 1615: must be prepared again. 1295: cannot be prepared. 1461: too many are prepared. */
const isUnprepared = (errno: number): boolean => errno === 1243 || errno === 1615 || errno === 1295 || errno === 1461

/** BEGIN, COMMIT and the like: one or more steps that are finished also when nobody waits any more. */
export class ControlExchange extends Exchange implements Receiver {
  readonly pipelines = false
  readonly canBeKilled = false
  readonly isWanted = true
  step: ((error: MysqlError | undefined) => void) | undefined = undefined
  /** The first value of the rows that a step was answered with. */
  answer: unknown = undefined

  private readonly session: Session
  private readonly script: (job: ControlExchange) => void
  private readonly resume: ((effect: Effect.Effect<void, SqlError>) => void) | undefined

  constructor(
    session: Session,
    operation: string,
    script: (job: ControlExchange) => void,
    resume?: (effect: Effect.Effect<void, SqlError>) => void
  ) {
    super(operation)
    this.session = session
    this.script = script
    this.resume = resume
  }

  /** A reset and a rollback are for the session, not for whoever asked for them. */
  get canBeDropped(): boolean {
    return this.operation !== "reset" && this.operation !== "rollback" && this.operation !== "rollbackSavepoint"
  }

  start(): void {
    this.script(this)
  }

  onRows(rows: Rows, _decoder: RowDecoder, status: number | undefined): void {
    this.answer = rows[0]?.[0]
    this.onStatus(status)
  }

  onOk(_ok: Ok, status: number | undefined): void {
    this.onStatus(status)
  }

  onMany(_results: ReadonlyArray<DriverResult>, status: number | undefined): void {
    this.onStatus(status)
  }

  private onStatus(status: number | undefined): void {
    if (this.isDone) return
    this.session.noteStatus(status)
    this.step!(undefined)
  }

  onError(error: unknown): void {
    if (this.isDone) return
    const serverError = serverErrorOf(error)
    if (serverError === undefined) return this.session.lose(`the connection failed: ${describe(error)}`, error)
    if (endsConnection(serverError.errno)) {
      return this.session.lose(
        `the server ended the session: ${serverError.message} (${serverError.errno})`,
        error,
        serverError
      )
    }
    this.step!(serverError)
  }

  succeed(): void {
    this.end(Effect.void)
  }

  private end(effect: Effect.Effect<void, SqlError>): void {
    if (this.isDone) return
    const { session } = this
    session.finish(this)
    if (!this.abandoned) this.resume?.(effect)
    session.next()
  }

  fail(error: SqlError): void {
    if (this.isDone) this.resume?.(Effect.fail(error))
    else this.end(Effect.fail(error))
  }
}

/** A statement whose rows are read as they come. */
export class StreamExchange extends Exchange implements StreamReceiver {
  readonly pipelines = false
  readonly canBeKilled = true
  readonly canBeDropped = true

  private readonly session: Session
  private readonly sql: string
  private readonly params: ReadonlyArray<Parameters.Parameter>
  private readonly fiber: Fiber.Fiber<unknown, unknown>
  private readonly profile: Profile

  private source: RowSource | undefined = undefined
  private isText = false
  private isPaused = false
  /** Nothing has come since the time was last looked at, although it could have. */
  private isSilent = true
  private isYielding = false
  private isFlushing = false
  private decoder: RowDecoder | undefined = undefined
  /** Rows that have come, and those among them that have been made objects of. */
  private rows: Array<Array<any>> = []
  private objects: Array<Record<string, unknown>> = []
  private problem: Undecodable | undefined = undefined
  private exit: Effect.Effect<never, SqlError | Cause.Done> | undefined = undefined
  private taker: ((effect: Pull.Pull<any, SqlError>) => void) | undefined = undefined

  constructor(
    session: Session,
    sql: string,
    params: ReadonlyArray<Parameters.Parameter>,
    fiber: Fiber.Fiber<unknown, unknown>
  ) {
    super("stream")
    this.session = session
    this.sql = sql
    this.params = params
    this.fiber = fiber
    this.profile = session.shared.profiles.get(sql)
  }

  /** The next rows. */
  readonly pull: Pull.Pull<any, SqlError> = Effect.callback<any, SqlError | Cause.Done>((resume) => {
    this.taker = resume as never
    this.flush()
    return Effect.sync(() => {
      this.taker = undefined
    })
  }) as never

  start(): void {
    if (this.session.shared.statementLimit !== Infinity) this.watch()
    if (this.session.needsVerification) {
      this.session.driver.query(
        probe,
        probeFor(this.session, () => this.isDone || this.send())
      )
    } else this.send()
  }

  private send(): void {
    const { session } = this
    const objection = session.objectionTo(this.profile, this.fiber, this.operation)
    if (objection !== undefined) return this.end(Effect.fail(objection))
    session.noteSent(this.profile)
    this.sent = true
    this.isText = !session.prepares
    this.source = !this.isText
      ? session.driver.stream(this.sql, this.params, this)
      : this.sendText()
    if (this.abandoned) this.discard()
  }

  /** Gives the server up that has sent nothing for as long as a statement may take. Whoever reads has any time. */
  private watch(): void {
    this.timer = setTimeout(() => {
      if (this.isSilent && !this.isPaused) return this.session.expireStatement(this)
      this.isSilent = true
      this.watch()
    }, this.session.shared.statementLimit)
  }

  private sendText(): RowSource | undefined {
    const pieces = split(this.sql, this.session.noBackslashEscapes)
    const piece = pieces[0]
    if (piece === undefined || pieces.length > 1 || Parameters.countOf(piece) !== this.params.length) {
      this.sent = false
      this.end(Effect.fail(unknownError(
        this.session.shared.database,
        "the statement was not sent: a stream is of one statement with as many parameters as it has placeholders",
        undefined,
        this.operation
      )))
      return undefined
    }
    return this.session.driver.stream(Parameters.inline(piece, this.params, 0), undefined, this)
  }

  onColumns(decoder: RowDecoder): void {
    // The rows of an earlier result have other columns.
    this.decode()
    this.decoder = decoder
  }

  /** Makes objects of the rows that have come. */
  private decode(): void {
    const { decoder, rows } = this
    if (rows.length === 0 || decoder === undefined) return
    this.rows = []
    this.problem ??= decoder.values(rows, {
      safeIntegers: this.fiber.getRef(SafeIntegers),
      dateStrings: this.session.shared.dateStrings
    })
    if (this.problem !== undefined) return
    const objects = decoder.objects(rows)
    this.objects = this.objects.length === 0 ? objects : this.objects.concat(objects)
  }

  onRow(row: Array<any>): void {
    this.isSilent = false
    if (this.abandoned || this.isDone) return
    this.rows.push(row)
    // The rows that arrived together are passed on together.
    if (!this.isFlushing && this.taker !== undefined) {
      this.isFlushing = true
      queueMicrotask(() => {
        this.isFlushing = false
        this.flush()
      })
    }
    if (this.rows.length >= (this.isYielding ? streamOverflow : streamBuffer) && !this.isPaused) {
      this.isPaused = true
      this.source?.pause()
      if (this.isYielding) {
        this.isYielding = false
        this.session.refuseWaiting()
      }
    }
  }

  private flush(): void {
    const taker = this.taker
    if (taker === undefined) return
    this.decode()
    const { objects, problem } = this
    if (objects.length > 0 || problem !== undefined) {
      this.objects = []
      this.taker = undefined
      taker(
        problem === undefined ? Effect.succeed(objects) : Effect.fail(unknownError(
          this.session.shared.database,
          `column \`${problem.column}\` could not be decoded`,
          problem.cause,
          this.operation
        ))
      )
      if (this.isPaused && !this.isDone) {
        this.goOn()
      }
      return
    }
    if (this.exit === undefined) return
    this.taker = undefined
    taker(this.exit)
  }

  /** A statement waits behind: it must not wait for whoever reads the stream, who may wait for the statement. */
  makeWay(): void {
    this.isYielding = true
    if (this.isPaused) this.goOn()
  }

  /** Nobody reads any more: what still comes is thrown away. */
  discard(): void {
    this.rows = []
    this.objects = []
    this.goOn()
  }

  private goOn(): void {
    this.isPaused = false
    this.isSilent = false
    this.source?.resume()
  }

  onEnd(): void {
    if (!this.isDone) this.end(Cause.done())
  }

  onError(error: unknown): void {
    if (this.isDone) return
    const { session } = this
    const serverError = serverErrorOf(error, this.isText && this.params.length > 0)
    if (serverError === undefined) {
      if (isConnectionError(error)) return session.lose(`the connection failed: ${describe(error)}`, error)
      return this.end(Effect.fail(toDriverFailure(session, error, this.operation)))
    }
    if (endsConnection(serverError.errno)) {
      return session.lose(
        `the server ended the session: ${serverError.message} (${serverError.errno})`,
        error,
        serverError
      )
    }
    session.noteError(serverError, this.profile)
    this.end(Effect.fail(session.errorOf(serverError, this.operation)))
  }

  private end(exit: Effect.Effect<never, SqlError | Cause.Done>): void {
    const { session } = this
    session.finish(this)
    this.exit = exit
    if (!this.abandoned) this.flush()
    session.next()
  }

  fail(error: SqlError): void {
    this.exit = Effect.fail(error)
    this.flush()
  }
}
