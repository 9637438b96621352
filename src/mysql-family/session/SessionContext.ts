/** What a session is given when it is made. */
import type { Canceller } from "../driver/Canceller.ts"
import type { Profiles } from "../statement/statements.ts"

/** What the sessions of an adapter share. */
export interface SessionContext {
  /** The database as errors name it. */
  readonly database: string
  readonly canPipeline: boolean
  readonly profiles: Profiles
  /** Whether statements are prepared. */
  readonly prepares: boolean
  /** How long a control statement may take, in milliseconds. */
  readonly controlLimit: number
  /** How long any other may take, in milliseconds. */
  readonly statementLimit: number
  readonly dateStrings: boolean
  /** Whether `undefined` as a parameter is null instead of being refused. */
  readonly undefinedIsNull: boolean
  /** Renames the keys of a document that is written. `undefined` where documents are left as they are. */
  readonly renameKeys: ((document: unknown) => unknown) | undefined
  readonly canceller: Canceller
}

/** What is known of the server. */
export interface ServerInfo {
  readonly version: string
  readonly isMariadb: boolean
  /** `innodb_rollback_on_timeout`: whether 1205 rolls back the whole transaction. */
  readonly rollbackOnTimeout: boolean
  readonly maxAllowedPacket: number
  /** How long the server waits for its rows to be taken, in milliseconds. */
  readonly readerLimit: number
  /** What only this server answers. */
  readonly identity: string
  /** Whether it is a node of a Galera cluster. */
  readonly inCluster: boolean
  /** Whether it writes, as `SELECT ${readOnlyOf}` answers. `undefined` where it cannot be asked. */
  readonly readOnly: string | undefined
  /** What makes a session ours after it was reset. */
  readonly setup: ReadonlyArray<string>
  /** The statement that goes back to the database that a session begins with. */
  readonly home: string | undefined
}
