/**
 * Makes a session as the server would give it to a new client: undoes what borrowers leave behind, and finds out
 * whether the server is still what it was.
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { SqlError } from "effect/sql/SqlError"
import { unknownError } from "../errors/errors.ts"
import { ScriptExchange } from "../exchange/ScriptExchange.ts"
import type { Cancellation } from "./Cancellation.ts"
import type { Describer } from "./Describer.ts"
import type { SessionCore } from "./SessionCore.ts"
import type { Termination } from "./Termination.ts"
import type { TransactionControl } from "./transaction/TransactionControl.ts"
import type { Writer } from "./Writer.ts"

export class Restoration {
  private readonly core: SessionCore
  private readonly writer: Writer
  private readonly cancellation: Cancellation
  private readonly describer: Describer
  private readonly transaction: TransactionControl
  private readonly termination: Termination
  private retireListeners: ReadonlyArray<() => void> = []

  constructor(
    core: SessionCore,
    writer: Writer,
    cancellation: Cancellation,
    describer: Describer,
    transaction: TransactionControl,
    termination: Termination
  ) {
    this.core = core
    this.writer = writer
    this.cancellation = cancellation
    this.describer = describer
    this.transaction = transaction
    this.termination = termination
  }

  /** Whether nothing is under way and no transaction is open. What was left behind is another question. */
  get isReady(): boolean {
    const { core } = this
    return core.end === undefined && core.status === "I" && core.inFlight.size === 0 && core.pending.size === 0 &&
      !this.cancellation.isHeld && core.listeners.size === 0
  }

  handBack(reset: "detect" | "always" | "never"): boolean {
    const { core } = this
    const { residue } = core
    if (reset === "never") return this.isReady
    residue.resetAlways(reset === "always")
    const { resetSql } = residue
    if (resetSql === undefined && !residue.cannotBeReset) return this.isReady
    if (
      core.end !== undefined || core.status !== "I" || core.inFlight.size > 0 || this.cancellation.isHeld ||
      core.listeners.size > 0 || residue.cannotBeReset
    ) return false
    // It goes ahead of what waits, and what the next borrower asks for follows it without waiting for its answer.
    this.clean(resetSql!, (error) => {
      if (error !== undefined && core.end === undefined) {
        this.termination.lose({
          what: `what a borrower left behind cannot be undone: ${error.message}`,
          endedBy: "Client"
        })
      }
    })
    return true
  }

  /** Waits until nothing is on the wire, rolls back what is open then, and undoes what was left behind. */
  get reset(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const { core } = this
      return Effect.andThen(
        this.isReady ? Effect.void : this.transaction.rollbackAll,
        Effect.suspend(() => {
          const { residue } = core
          if (residue.cannotBeReset) {
            return Effect.fail(unknownError(core.options.database, libraryLoaded, undefined, "reset"))
          }
          const { resetSql } = residue
          if (resetSql === undefined || core.end !== undefined) return Effect.void
          return Effect.callback<void, SqlError>((resume) =>
            this.clean(resetSql, (error) => resume(error === undefined ? Effect.void : Effect.fail(error)))
          )
        })
      )
    })
  }

  /** Undoes what borrowers left behind, ahead of what waits. */
  private clean(sql: string, done: (error: SqlError | undefined) => void): void {
    const { core } = this
    // What comes behind it on the wire must not count on what it undoes.
    if (core.residue.forgetsNames) this.describer.forgetNames()
    core.residue.onReset()
    core.limit.onReset()
    core.encoder.onPath(false)
    const question = core.options.functions.take()
    const script = question === undefined ? sql : `${sql}; ${question.sql}`
    const exchange = new ScriptExchange(script, core.options.controlLimit, (effect) => {
      const exit = effect as Exit.Exit<ReadonlyArray<Result>, SqlError>
      if (Exit.isSuccess(exit)) {
        core.residue.onClean(core.parameters)
        question?.learn(exit.value[exit.value.length - 1])
      }
      done(Exit.isSuccess(exit) ? undefined : Option.getOrUndefined(Cause.findErrorOption(exit.cause)))
    }, "reset")
    this.writer.submitFirst(exchange)
  }

  /** Whether the server still is in the role in which it was when the session began. */
  get verify(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const { core } = this
      const { expected } = core.residue
      if (expected === undefined) return this.transaction.ping
      const answered = Effect.callback<ReadonlyArray<{ readonly rows: ReadonlyArray<object> }>, SqlError>((resume) => {
        const exchange = new ScriptExchange("SHOW transaction_read_only", Infinity, resume, "verify")
        core.tick()
        core.startTime(exchange, core.options.controlLimit)
        this.writer.submit(exchange)
        return Effect.sync(() => this.cancellation.abandon(exchange))
      })
      return Effect.flatMap(answered, ([answer]) =>
        Object.values(answer?.rows[0] ?? {})[0] === expected
          ? Effect.void
          : Effect.fail(unknownError(core.options.database, "the server has changed its role", undefined, "verify")))
    })
  }

  onRetire(listener: () => void): void {
    this.retireListeners = [...this.retireListeners, listener]
  }

  /** The server is not any more what it was. */
  retire(): void {
    const listeners = this.retireListeners
    this.retireListeners = []
    for (const listener of listeners) listener()
  }
}

const libraryLoaded = "a library was loaded into the session, and nothing undoes that"
