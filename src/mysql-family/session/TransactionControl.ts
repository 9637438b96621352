/** BEGIN, COMMIT, ROLLBACK and savepoints. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import { RolledBack } from "../../failure/RolledBack.ts"
import type { Begin } from "../../transaction/TransactionSpec.ts"
import { unknownError } from "../errors/errors.ts"
import type { ControlExchange } from "../exchange/ControlExchange.ts"
import { type BeginPlan, planBegin } from "./begin.ts"
import type { ControlHost } from "./ControlHost.ts"
import { LateBegin } from "./LateBegin.ts"

export class TransactionControl {
  private readonly host: ControlHost
  private readonly late: LateBegin

  constructor(host: ControlHost) {
    this.host = host
    this.late = new LateBegin(host)
  }

  begin(how: Begin): Effect.Effect<void, SqlError> {
    const { host } = this
    return Effect.suspend(() => {
      const plan = planBegin(how, host.server.isMariadb)
      if (Result.isFailure(plan)) {
        return Effect.fail(unknownError(host.database, plan.failure, undefined, "begin"))
      }
      const isLate = this.late.isFor(how, plan.success)
      if (isLate && host.transaction.isGuarded) {
        this.late.hold(plan.success)
        return Effect.void
      }
      return host.control("begin", (exchange) => {
        host.residue.noteBegun()
        const begin = () => this.runBegin(exchange, plan.success, 0)
        if (isLate) this.late.guard(exchange, plan.success, begin)
        else begin()
      })
    })
  }

  /** One or two statements. They are all sent, also without a caller: nothing may be left pending. */
  private runBegin(exchange: ControlExchange, plan: BeginPlan, index: number): void {
    const { host } = this
    exchange.query(plan.statements[index]!, (error) => {
      if (error !== undefined) {
        // What was asked for the next transaction would be waiting for the next borrower's.
        if (plan.compound) host.residue.isSpoiled = true
        const refused = host.errorOf(error, exchange.operation)
        if (index > 0) return exchange.giveUp("BEGIN failed half way", refused, error)
        host.transaction.doubted()
        return exchange.refuse(refused)
      }
      if (index + 1 < plan.statements.length) return this.runBegin(exchange, plan, index + 1)
      if (!host.transaction.hasOpenFlags) {
        return exchange.refuse(
          unknownError(host.database, "the statement given began no transaction", undefined, "begin")
        )
      }
      host.transaction.begun(plan.isReadOnly, plan.statements.length === 1 ? plan.statements[0] : undefined)
      exchange.succeed()
    })
  }

  get commit(): Effect.Effect<void, SqlError> {
    return this.committing((exchange) => this.finish(exchange, "COMMIT"))
  }

  /**
   * The question is a part of the same exchange, so that no other one comes between, and its failure is none of COMMIT's.
   * Nobody asks where the driver tells what was written.
   */
  commitAt(question: string): Effect.Effect<string | undefined, SqlError> {
    return Effect.suspend(() => {
      const { canPipeline, driver } = this.host
      let place: string | undefined
      const ask = (exchange: ControlExchange) =>
        exchange.question(question, (answer) => {
          if (typeof answer === "string") place = answer
          exchange.succeed()
        })
      const committed = this.committing((exchange) => {
        this.finish(exchange, "COMMIT", () => {
          place = driver.written
          if (place !== undefined) return exchange.succeed()
          exchange.hasSucceeded = true
          if (!canPipeline) ask(exchange)
        })
        if (canPipeline) ask(exchange)
      })
      return Effect.map(committed, () => place)
    })
  }

  private committing(send: (exchange: ControlExchange) => void): Effect.Effect<void, SqlError> {
    const { host } = this
    return Effect.uninterruptible(host.control("commit", (exchange) =>
      exchange.verified(() => {
        const { ended } = host.transaction
        if (ended !== undefined) {
          host.transaction.finished()
          return exchange.refuse(unknownError(
            host.database,
            `COMMIT was not sent, because the transaction had ended before: ${ended.message}`,
            new RolledBack(),
            "commit"
          ))
        }
        this.unlessHeld(exchange, () => send(exchange))
      })))
  }

  /** A transaction of which the server has not heard has no end. */
  private unlessHeld(exchange: ControlExchange, then: () => void): void {
    const { transaction } = this.host
    if (transaction.heldBegin === undefined) return then()
    transaction.finished()
    exchange.succeed()
  }

  /** Begins first, if that has waited for a statement until now. */
  private begun(exchange: ControlExchange, then: () => void): void {
    const { host } = this
    if (host.transaction.heldBegin === undefined) return then()
    exchange.query(host.transaction.takeBegin(), (error) => {
      const refused = error === undefined ? host.beginAnswered() : host.beginRefused(error)
      if (refused === undefined) then()
      else exchange.refuse(refused)
    })
  }

  get rollback(): Effect.Effect<void, SqlError> {
    return this.host.control(
      "rollback",
      (exchange) => this.unlessHeld(exchange, () => this.finish(exchange, "ROLLBACK"))
    )
  }

  private finish(
    exchange: ControlExchange,
    sql: "COMMIT" | "ROLLBACK",
    then: () => void = () => exchange.succeed()
  ): void {
    const { host } = this
    exchange.query(sql, (error) => {
      if (error === undefined) {
        host.transaction.finished()
        this.late.noteEnd()
        return then()
      }
      host.transaction.finishRefused()
      exchange.refuse(host.errorOf(error, exchange.operation))
    })
  }

  savepoint(name: string): Effect.Effect<void, SqlError> {
    const { host } = this
    return host.control("savepoint", (exchange) =>
      exchange.verified(() => {
        if (host.transaction.ended !== undefined) return exchange.refuse(host.blockedError(exchange.operation))
        this.begun(exchange, () => {
          host.transaction.noteWork()
          exchange.query(`SAVEPOINT ${name}`, (error) => {
            if (error === undefined) return exchange.succeed()
            host.transaction.doubted()
            exchange.refuse(host.errorOf(error, exchange.operation))
          })
        })
      }))
  }

  /** Where there is no transaction any more there is nothing to do, and nothing that could go wrong by it. */
  endSavepoint(purpose: "releaseSavepoint" | "rollbackSavepoint", sql: string): Effect.Effect<void, SqlError> {
    const { host } = this
    return host.control(purpose, (exchange) =>
      exchange.verified(() => {
        if (host.transaction.ended !== undefined) return exchange.succeed()
        exchange.query(sql, (error) => {
          if (error === undefined) return exchange.succeed()
          if (error.errno !== 1305) return exchange.refuse(host.errorOf(error, exchange.operation))
          // The savepoint went with its transaction.
          host.transaction.vanished()
          exchange.succeed()
        })
      }))
  }
}
