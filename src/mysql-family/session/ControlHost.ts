/** What the control statements of a session have of it. */
import type * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { DriverConnection } from "../driver/Driver.ts"
import type { MysqlError } from "../errors/errors.ts"
import type { ControlExchange, Purpose } from "../exchange/ControlExchange.ts"
import type { ServerInfo } from "./SessionContext.ts"
import type { SessionResidue } from "./SessionResidue.ts"
import type { StatementLimit } from "./StatementLimit.ts"
import type { TransactionTracker } from "./TransactionTracker.ts"

export interface ControlHost {
  /** The database as errors name it. */
  readonly database: string
  readonly server: ServerInfo
  readonly driver: DriverConnection
  readonly canPipeline: boolean
  readonly transaction: TransactionTracker
  readonly residue: SessionResidue
  readonly statementLimit: StatementLimit
  /** Runs a script of ours within its limit. */
  readonly control: (
    purpose: Purpose,
    script: (exchange: ControlExchange) => void
  ) => Effect.Effect<void, SqlError>
  /** The driver or the server says that the connection has failed. */
  readonly broken: (error: unknown) => void
  /** The session cannot be used any more, although the connection may still be there. */
  readonly giveUp: (what: string, serverError?: MysqlError) => void
  readonly errorOf: (error: MysqlError, operation: string) => SqlError
  /** A BEGIN that waited for a statement was answered: what is wrong with the answer, if anything is. */
  readonly beginAnswered: () => SqlError | undefined
  /** A BEGIN that waited for a statement was refused. */
  readonly beginRefused: (error: MysqlError) => SqlError
  /** What a statement fails with that comes after the end of its transaction. */
  readonly blockedError: (operation: string) => SqlError
}
