/** What the pool asks of a session between two borrowers: a sign of life, its role, a reset. */
import type * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { isWritable, readOnlyOf, workCheck } from "../adapter/serverRole.ts"
import { refusalOf } from "../errors/errno.ts"
import { describe, type MysqlError, serverErrorOf, unknownError } from "../errors/errors.ts"
import type { ControlExchange } from "../exchange/ControlExchange.ts"
import type { ControlHost } from "./ControlHost.ts"

export class SessionCare {
  private readonly host: ControlHost

  constructor(host: ControlHost) {
    this.host = host
  }

  get ping(): Effect.Effect<void, SqlError> {
    const { host } = this
    return host.control("ping", (exchange) => {
      exchange.sent = true
      host.driver.ping((error) => {
        if (exchange.isDone) return
        if (error === null || error === undefined) return exchange.succeed()
        host.broken(error)
      })
    })
  }

  /** Whether the server still is in the role in which it was when the session began. */
  get verify(): Effect.Effect<void, SqlError> {
    const { host } = this
    if (host.server.readOnly === undefined) return this.ping
    return host.control("verify", (exchange) => {
      if (!host.server.inCluster) return this.verifyRole(exchange)
      exchange.query(workCheck, (error) => {
        if (error === undefined) return this.verifyRole(exchange)
        exchange.refuse(host.errorOf(error, exchange.operation))
      })
    })
  }

  private verifyRole(exchange: ControlExchange): void {
    const { host } = this
    exchange.query(`SELECT ${readOnlyOf(host.server.isMariadb)}`, (error) => {
      if (error !== undefined) return exchange.refuse(host.errorOf(error, exchange.operation))
      if (exchange.answer === host.server.readOnly) return exchange.succeed()
      exchange.refuse(unknownError(host.database, "the server has changed its role", undefined, "verify"))
    })
  }

  /** Whether an error says that the server does not do any more what it did when the session began. */
  isDemotedBy(error: MysqlError): boolean {
    const { residue, server, transaction } = this.host
    switch (refusalOf(error)) {
      case "Node":
        return true
      case "Server":
        return isWritable(server.readOnly)
      case "Transaction":
        // Not if it may have been asked for.
        return isWritable(server.readOnly) && !residue.hasChanged &&
          (transaction.isManaged ? !transaction.isReadOnly : !transaction.hasOpenFlags)
      default:
        return false
    }
  }

  get reset(): Effect.Effect<void, SqlError> {
    return this.host.control("reset", (exchange) => this.runReset(exchange))
  }

  private runReset(exchange: ControlExchange): void {
    const { host } = this
    const { residue, transaction } = host
    // Without autocommit the session is not as it was set up, whoever switched it off.
    if (!residue.isUsed && !transaction.lacksAutocommit) {
      return exchange.query("ROLLBACK", (error) => {
        if (error !== undefined) return host.giveUp("ROLLBACK failed", error)
        transaction.finished()
        exchange.succeed()
      })
    }
    // There is no way back to no database, and a reset leaves roles as they are: MySQL does not say which it began with.
    if (residue.hasMoved && host.server.home === undefined || residue.hasRole && !host.server.isMariadb) {
      return host.giveUp("the session could not be reset")
    }
    exchange.sent = true
    host.driver.resetSession((error) => {
      if (exchange.isDone) return
      if (error !== null && error !== undefined) {
        return host.giveUp(`the session could not be reset: ${describe(error)}`, serverErrorOf(error))
      }
      transaction.reset()
      host.statementLimit.reset()
      this.setUp(exchange)
    })
  }

  private setUp(exchange: ControlExchange): void {
    const { host } = this
    const { home, setup } = host.server
    const statements = host.residue.hasMoved && home !== undefined ? [...setup, home] : setup
    let left = statements.length
    const then = (error: MysqlError | undefined): void => {
      if (error !== undefined) return host.giveUp("the session could not be set up again", error)
      if (--left > 0) return
      // Setting variables is a change that the server reports.
      host.residue.clear()
      exchange.succeed()
    }
    for (const sql of statements) exchange.query(sql, then)
  }
}
