/**
 * What the two drivers have in common, as far as we use them: one connection that runs one text or prepared statement
 * after another and says so by callback.
 */
import type { Socket } from "node:net"
import type * as Tls from "node:tls"
import type { Writes } from "../../node/Writes.ts"
import type { Parameter } from "../statement/parameters.ts"
import type { Ok, RowDecoder } from "../statement/results.ts"

/** Flags that the server sends with every answer that is not an error. */
export const Status = {
  InTransaction: 1,
  Autocommit: 2,
  NoBackslashEscapes: 512,
  SessionChanged: 0x4000
} as const

/** Hears what becomes of a statement. */
export interface Sender {
  /** Whether a statement that had to be prepared first is still to be run. */
  readonly isWanted: boolean
  /**
   * The statement itself was written, so far at least: what is written to prepare it is not part of it. `end` is where
   * its bytes end, counted as `Writes.given` is.
   */
  readonly onWritten?: (end: number) => void
}

/** Takes the answer of one statement. */
export interface Receiver extends Sender {
  /** `status` is `undefined` where the driver does not tell. */
  readonly onRows: (rows: Rows, decoder: RowDecoder, status: number | undefined) => void
  readonly onOk: (ok: Ok, status: number | undefined) => void
  /** Several results, such as those of a stored procedure. */
  readonly onMany: (results: ReadonlyArray<Result>, status: number | undefined) => void
  /** An error of the server or of the driver, untouched. `sent` is false if the statement was never executed. */
  readonly onError: (error: unknown, sent: boolean) => void
}

/** Rows as they come from a driver: the values of each in the order of the columns, and not yet converted. */
export type Rows = ReadonlyArray<Array<any>>

/** One of several results. */
export type Result =
  | { readonly rows: Rows; readonly decoder: RowDecoder }
  | { readonly ok: Ok }

/** Takes the answer of one statement row by row. */
export interface StreamReceiver extends Sender {
  /** What the rows after this are read with. Called again for each further result that has rows. */
  readonly onColumns: (decoder: RowDecoder) => void
  readonly onRow: (row: Array<any>) => void
  readonly onEnd: () => void
  /** `sent` is false if the statement was never executed. */
  readonly onError: (error: unknown, sent: boolean) => void
}

/** Takes the answer of a `LOAD DATA LOCAL INFILE`, and before it the request for the file. */
export interface LoadReceiver extends Receiver {
  readonly onRequest: (file: FileWriter) => void
  /** More can be written. */
  readonly onDrain: () => void
  /** The server asks for another file than the one that the statement names. It gets nothing. */
  readonly onForeignRequest: () => void
}

/** A file that exists only on the wire. */
export interface FileWriter {
  /** Whether more can be written at once. */
  readonly write: (bytes: Buffer) => boolean
  readonly end: () => void
}

/** Rows that can be held back. */
export interface RowSource {
  readonly pause: () => void
  readonly resume: () => void
}

/** One connection of a driver. Nothing here queues: a statement is written when it is given. */
export interface DriverConnection {
  /** What the kernel has taken of what was written. */
  readonly writes: Writes
  /** What the server calls the session. */
  readonly threadId: number
  /** Such as `10.11.19-MariaDB`. */
  readonly serverVersion: string
  /**
   * The transactions that the last statement has written, if it has and the server told of them: see
   * `session_track_gtids`. `undefined` also where the driver does not pass that on.
   */
  readonly written: string | undefined
  /** Runs a text without parameters. */
  readonly query: (sql: string, receiver: Receiver) => void
  /** Whether a statement that is kept takes these values for what they are: MySQL keeps to the kinds that came first. */
  readonly accepts: (sql: string, params: ReadonlyArray<Parameter>) => boolean
  /** Runs a prepared statement. */
  readonly execute: (sql: string, params: ReadonlyArray<Parameter>, receiver: Receiver) => void
  /** Streams the rows of a text, or of a prepared statement if there are parameters. */
  readonly stream: (
    sql: string,
    params: ReadonlyArray<Parameter> | undefined,
    receiver: StreamReceiver
  ) => RowSource
  /** Runs a statement for many rows of texts in one packet. `undefined` where driver and server cannot. */
  readonly batch:
    | ((sql: string, rows: ReadonlyArray<ReadonlyArray<string | null>>, receiver: Receiver) => void)
    | undefined
  /** Runs a `LOAD DATA LOCAL INFILE` of this file. `undefined` where the driver cannot, or holds nobody back. */
  readonly load: ((sql: string, file: string, receiver: LoadReceiver) => void) | undefined
  /** Has what is written meanwhile written in one piece. `undefined` where only one statement can be on the wire. */
  readonly together: ((write: () => void) => void) | undefined
  /** Forgets a prepared statement that the server no longer knows. */
  readonly forget: (sql: string) => void
  readonly ping: (done: (error: unknown) => void) => void
  /** `COM_RESET_CONNECTION`: the session is as it was after the handshake, without any prepared statement. */
  readonly resetSession: (done: (error: unknown) => void) => void
  /** Says goodbye. */
  readonly quit: () => void
  /** Called with whatever the driver reports outside of any statement. */
  readonly onTrouble: (listener: (error: unknown) => void) => void
}

/** What a driver needs to connect. */
export interface ConnectOptions {
  /** Connected, and paused with the server's greeting still to be read. */
  readonly socket: Socket
  /** Whom the certificate must be made out to. */
  readonly host: string
  /** Whether nobody can be in between. */
  readonly socketPath: string | undefined
  readonly port: number
  readonly user: string
  readonly password: string | undefined
  readonly database: string | undefined
  readonly tls: TlsOptions | undefined
  readonly compress: boolean
  readonly allowPublicKeyRetrieval: boolean
  readonly connectAttributes: Readonly<Record<string, string>>
  readonly preparedStatements: number
}

/** How a connection is encrypted. */
export interface TlsOptions {
  /** Whether the certificate must be good. */
  readonly verify: boolean
  /** Whether it must be made out to the host too. */
  readonly verifyName: boolean
  /** Whether a connection without TLS would have been refused. A password is sent as it is only then. */
  readonly isDemanded: boolean
  readonly material: Tls.SecureContextOptions & { readonly servername?: string | undefined }
}

/** A statement that is prepared is not run, because it has another number of placeholders. */
export class Miscounted extends Error {
  readonly placeholders: number
  readonly parameters: number

  constructor(placeholders: number, parameters: number) {
    super("another number of placeholders")
    this.placeholders = placeholders
    this.parameters = parameters
  }
}

/** Why a statement that was prepared has not been run. */
export const unwanted: Error = new Error("nobody waits for the statement any more")

/** Why a password is not sent: it would be read by anybody, or by a server that sends a key of its own. */
export class InsecurePassword extends Error {
  constructor() {
    super("the password would not be safe on this connection")
  }
}

/** Whether a driver has kept the password to itself for that reason. */
export const insecure = (error: unknown): boolean => {
  const { cause, code } = error as { readonly cause?: unknown; readonly code?: unknown }
  return error instanceof InsecurePassword || cause instanceof InsecurePassword ||
    code === "ER_CANNOT_RETRIEVE_RSA_KEY" ||
    code === "ER_CLEAR_PASSWORD_WITHOUT_SSL" || code === "MYSQL_CLEAR_PASSWORD_NOT_ENABLED"
}

/** A driver. */
export interface Driver {
  /** As `SqlClient.driver` reports it. */
  readonly name: "mysql2" | "mariadb"
  /** The module whose options they are. */
  readonly module: "Mysql" | "Mariadb"
  /** Whether statements may be written before the ones ahead of them were answered. */
  readonly canPipeline: boolean
  /** Whether it passes on which transactions a statement has written. */
  readonly tellsWritten: boolean
  /** Connects. Calls back once, never synchronously. */
  readonly connect: (
    options: ConnectOptions,
    done: (error: unknown, connection: DriverConnection | undefined) => void
  ) => void
}
