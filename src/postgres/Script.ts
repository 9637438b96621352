/**
 * Scripts: files of SQL statements that are run as they are.
 *
 * **Details**
 *
 * A script has no parameters. Unless it contains BEGIN, COMMIT and the like of its own it is one transaction: all of it
 * is applied, or nothing. Inside a transaction it is a part of that.
 *
 * With `transaction: false` each statement is by itself, as in `psql -f`: for `create index concurrently`, `vacuum`,
 * `alter system` and what else refuses to be in a transaction. What was done before a statement that fails stays done.
 *
 * The data of `COPY … FROM stdin` stands behind it in the script, as in the dumps that `pg_dump` makes.
 *
 * **Gotchas**
 *
 * What `psql` adds to SQL, as `\i` and `\connect`, is no SQL and refused, but for the two that `pg_dump` writes,
 * `\restrict` and `\unrestrict`.
 *
 * **Example** (A file)
 *
 * ```ts
 * import { Effect, FileSystem } from "effect"
 * import { Script } from "watertight/postgres"
 *
 * const load = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   yield* Script.run(yield* fs.readFileString("schema.sql"))
 * })
 *
 * const index = Script.run("create index concurrently on city (name); vacuum city", { transaction: false })
 * ```
 *
 * @since 0.1.0
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { Buffer } from "node:buffer"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import { field } from "../failure/record.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import * as Options from "../options/Options.ts"
import { unknownError } from "./errors/errors.ts"
import { copyHeaderSize, writeCopyHeader } from "./exchange/copyFrames.ts"
import { needsConnection } from "./session/ownConnection.ts"
import type { Session } from "./session/Session.ts"
import { Sessions } from "./Sessions.ts"
import { toResult } from "./statement/results.ts"
import { noColumns } from "./statement/RowDecoder.ts"
import {
  lineOf,
  type Parsed,
  parseScript,
  type Place,
  placeOfFailure,
  type ScriptStatement,
  type Sent,
  sqlOf
} from "./statement/scripts.ts"

export type { Place } from "./statement/scripts.ts"

const failedAt = field<Place>("scriptPlace")

/**
 * The options of `run`.
 *
 * @category options
 * @since 0.2.0
 */
export interface RunOptions {
  /**
   * Whether the script is one transaction. With `false` each of its statements is by itself, and what was done before one
   * that fails stays done; it cannot be run inside a transaction then. Default: `true`.
   */
  readonly transaction?: boolean | undefined
}

const checks = Options.make<RunOptions>()("Script", { transaction: Options.boolean({ default: true }) })

/**
 * Runs a script. Answers the result of each of its statements.
 *
 * **Details**
 *
 * If a statement fails, the message of the error says in which line of the script it is, and so does `placeOf`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (
  script: string,
  options: RunOptions = {}
): Effect.Effect<ReadonlyArray<Result>, SqlError, Sessions> =>
  Effect.gen(function*() {
    const sessions = yield* Sessions
    const refuse = (what: string, cause?: unknown) => Effect.fail(notSent(sessions.database, what, cause))
    const checked = yield* Effect.catch(checks.resolve(options), (error) => refuse(error.message, error))
    const parsed = parseScript(script)
    const { problem, statements } = parsed
    if (problem !== undefined) return yield* refuse(`line ${lineOf(script, problem.at)}: ${problem.what}`)
    const isInside = yield* sessions.inTransaction
    const refused = isInside || statements.length > 1 ? undefined : needsConnection(script)
    if (refused !== undefined) return yield* refuse(refused.message, refused)

    const control = statements.some((statement) => statement.isControl)
    if (!checked.transaction) {
      if (isInside) return yield* refuse("a script that is to be no transaction cannot be run inside of one")
      return yield* new Run(sessions, script, parsed).byOne
    }
    const runner = new Run(sessions, script, parsed)
    if (statements.every(({ data }) => data === undefined)) return yield* runner.atOnce
    return yield* control || isInside ? runner.byOne : sessions.transaction(runner.byOne)
  })

/**
 * Where in its script the statement is that failed with an error.
 *
 * @category getters
 * @since 0.1.0
 */
export const placeOf = (error: unknown): Place | undefined => isSqlError(error) ? failedAt.get(error) : undefined

/** One run of a script. */
class Run {
  private readonly sessions: Sessions
  private readonly script: string
  private readonly parsed: Parsed

  constructor(sessions: Sessions, script: string, parsed: Parsed) {
    this.sessions = sessions
    this.script = script
    this.parsed = parsed
  }

  /** The whole in one message, which the server takes apart. */
  get atOnce(): Effect.Effect<ReadonlyArray<Result>, SqlError> {
    return this.onSession((session) =>
      this.placed(session, session.script(sqlOf(this.script, this.parsed)), { start: 0, first: 0, isAlone: false })
    )
  }

  /** One statement after the other. */
  get byOne(): Effect.Effect<ReadonlyArray<Result>, SqlError> {
    return this.onSession((session, isOwn) =>
      Effect.gen({ self: this }, function*() {
        const results: Array<Result> = []
        for (const [first, statement] of this.parsed.statements.entries()) {
          // What was done by itself stays done, whatever comes after it.
          const isApplied = isOwn && results.length > 0 && !session.inTransaction
          const one = this.placed(session, this.one(session, statement), {
            start: statement.start,
            first,
            isAlone: true
          })
          results.push(...(yield* isApplied ? Effect.mapError(one, partly) : one))
        }
        return results
      })
    )
  }

  private onSession(
    use: (session: Session, isOwn: boolean) => Effect.Effect<ReadonlyArray<Result>, SqlError>
  ): Effect.Effect<ReadonlyArray<Result>, SqlError> {
    const { sessions } = this
    return Effect.scoped(Effect.gen(function*() {
      const isOwn = !(yield* sessions.inTransaction)
      const session = yield* sessions.borrow
      const results = yield* use(session, isOwn)
      // Whoever gets the session next must not be in it, so it is rolled back: that is not what success means.
      return isOwn && session.inTransaction ? yield* Effect.fail(leftOpen(sessions.database)) : results
    }))
  }

  private one(session: Session, { data, end, start }: ScriptStatement): Effect.Effect<ReadonlyArray<Result>, SqlError> {
    const sql = this.script.slice(start, end)
    if (data === undefined) return session.script(sql)
    const rows = Buffer.from(this.script.slice(data[0], data[1]))
    return Effect.scoped(Effect.gen(function*() {
      const copy = yield* session.copyIn(sql)
      yield* copy.open
      for (let at = 0; at < rows.length; at += pieceSize) {
        const bytes = rows.subarray(at, at + pieceSize)
        const frame = Buffer.allocUnsafe(copyHeaderSize + bytes.length)
        writeCopyHeader(frame, 0, bytes.length)
        frame.set(bytes, copyHeaderSize)
        yield* copy.send(frame, bytes.length)
      }
      return [toResult(yield* copy.finish, [], noColumns)]
    }))
  }

  /** Has an error say where in the script it comes from. */
  private placed<A>(session: Session, effect: Effect.Effect<A, SqlError>, sent: Sent): Effect.Effect<A, SqlError> {
    const judge = this.sessions.judge(session)
    return Effect.mapError(effect, (error) => {
      const place = placeOfFailure(this.script, this.parsed, error, sent)
      if (place !== undefined) {
        failedAt.set(error, place)
        Object.defineProperty(error.reason, "message", {
          value: `${
            error.reason.message ?? error.reason._tag
          } (statement ${place.statement} of the script, line ${place.line})`,
          configurable: true,
          enumerable: true
        })
      }
      return SqlFailure.attach(judge(error), this.script.slice(sent.start))
    })
  }
}

/** How much of the data of a COPY is sent at a time, in bytes. */
const pieceSize = 65_536

const mark = (error: SqlError, outcome: Outcome.Outcome): SqlError =>
  Outcome.mark(error, { outcome, scope: "Never", ladder: "Conflict", phase: "Statement", about: "script" })

const notSent = (database: string, what: string, cause: unknown): SqlError =>
  mark(
    Evidence.attach(unknownError(database, `the script was not sent: ${what}`, cause, "execute"), Evidence.make({})),
    "NotSent"
  )

const leftOpen = (database: string): SqlError =>
  mark(
    unknownError(
      database,
      "the script leaves a transaction open, which was rolled back: end it with COMMIT, or leave out its BEGIN",
      undefined,
      "execute"
    ),
    "NotApplied"
  )

/** To repeat the script would repeat what is applied of it. */
const partly = (error: SqlError): SqlError => mark(error, "Unknown")
