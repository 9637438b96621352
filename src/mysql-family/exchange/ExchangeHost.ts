/** What an exchange sees of its session. */
import type * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import type { DriverConnection } from "../driver/Driver.ts"
import type { MysqlError } from "../errors/errors.ts"
import type { Profile, Profiles } from "../statement/statements.ts"
import type { Exchange } from "./Exchange.ts"

/** A statement that does nothing: its answer has the status flags. */
export const probe = "DO 0"

export interface ExchangeHost {
  /** The database as errors name it. */
  readonly database: string
  readonly profiles: Profiles
  readonly dateStrings: boolean
  /** The most bytes that the server takes at once. */
  readonly maxAllowedPacket: number
  readonly readerLimit: number
  readonly driver: DriverConnection

  // What is known of the session

  /** Whether statements are prepared now. */
  readonly prepares: boolean
  /** Whether backslashes are ordinary characters in a text. */
  readonly noBackslashEscapes: boolean
  /** Whether a transaction is open, as far as is known. */
  readonly inTransaction: boolean
  /** Whether the transaction that the caller has begun is open, beyond doubt. */
  readonly isInManaged: boolean
  /** Whether the server has to be asked whether the transaction is still open, before a statement is sent. */
  readonly needsProbe: boolean
  /** What asks that, or begins the transaction anew. */
  readonly probeSql: string
  /** Whether autocommit is off, and has to be switched on for a statement that is by itself. */
  readonly lacksAutocommit: boolean
  /** Whether the transaction still has to be begun, before its first statement or together with it. */
  readonly hasHeldBegin: boolean
  readonly takeBegin: () => string
  /** Why a statement must not be sent now. */
  readonly objectionTo: (
    profile: Profile,
    fiber: Fiber.Fiber<unknown, unknown>,
    operation: string
  ) => SqlError | undefined

  // What an exchange tells

  /** A statement of the caller goes out now. */
  readonly noteSent: (profile: Profile) => void
  /** A statement of the caller was answered. */
  readonly noteAnswer: (
    flags: number | undefined,
    profile: Profile,
    fiber: Fiber.Fiber<unknown, unknown>
  ) => void
  /** A statement of the caller was refused. */
  readonly noteError: (error: MysqlError, profile: Profile) => void
  /** A statement of ours was answered. */
  readonly noteFlags: (flags: number | undefined) => void
  /** The question whether the transaction is still open was answered. */
  readonly noteProbe: (flags: number | undefined) => void
  /**
   * The transaction that a statement was sent in is not there any more. Answers whether the statement may have committed
   * it; otherwise the error says that the server has rolled it back.
   */
  readonly noteReplaced: (profile: Profile, error: MysqlError | undefined) => boolean
  /** A BEGIN that waited for a statement was answered: what is wrong with the answer, if anything is. */
  readonly beginAnswered: () => SqlError | undefined
  /** A BEGIN that waited for a statement was refused. */
  readonly beginRefused: (error: MysqlError) => SqlError
  /** What an error that the server answered means, for the caller and for the session. */
  readonly errorOf: (error: MysqlError, operation: string) => SqlError
  /** The driver or the server says that the connection has failed. */
  readonly broken: (error: unknown) => void
  /** The session cannot be used any more, although the connection may still be there. */
  readonly giveUp: (what: string, serverError?: MysqlError) => void
  /**
   * The server has answered what it says when it ends a session; but a statement can raise any error. Calls `then` if
   * the session goes on.
   */
  readonly ifAlive: (error: MysqlError, then: () => void) => void

  // Turns

  /** Whether the server has the limit of time that the fiber wants for its statements. */
  readonly hasLimit: (fiber: Fiber.Fiber<unknown, unknown>) => boolean
  /** Calls `then` when the server has the limit of time that the fiber wants for its statements. */
  readonly withLimit: (fiber: Fiber.Fiber<unknown, unknown>, exchange: Exchange, then: () => void) => void
  /** What goes ahead of the statement has the time of a control statement. */
  readonly giveTime: (exchange: Exchange) => void
  /** The statement goes out: its time begins. */
  readonly startLimit: (
    fiber: Fiber.Fiber<unknown, unknown>,
    exchange: Exchange,
    sql: string,
    profile: Profile
  ) => void
  /** What a statement fails with that was stopped because its time was over. */
  readonly expiredError: (exchange: Exchange, error: MysqlError) => SqlError
  /** The exchange has its answer, or is never sent. */
  readonly finish: (exchange: Exchange) => void
  /** The caller has been told. */
  readonly goOn: () => void
  /** What waits behind a stream cannot run before that has been read, and its reader may be the one that waits. */
  readonly refuseWaiting: () => void
}
