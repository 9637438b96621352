/** What we use of the connector. */
import type { Readable } from "node:stream"
import type { OkPacket } from "./answers.ts"

export type Answer = (error: unknown, rows?: unknown, fields?: unknown) => void

/** What we use of the connector, as it is: its types leave out the options of `Prepare.execute`. */
export interface Connection {
  readonly threadId: number
  readonly info: { readonly status: number; readonly serverCapabilities: bigint; readonly isMariaDB: () => boolean }
  readonly serverVersion: () => string
  readonly connect: (callback: (error: unknown) => void) => void
  readonly query: (options: QueryOptions, callback: Answer) => void
  readonly execute: (options: QueryOptions, values: ReadonlyArray<unknown>, callback: Answer) => void
  readonly batch: (
    options: QueryOptions & { readonly fullResult: boolean },
    rows: ReadonlyArray<ReadonlyArray<unknown>>,
    callback: (error: unknown, answer?: readonly [OkPacket, unknown]) => void
  ) => void
  readonly prepare: (sql: string, callback: (error: unknown, prepared?: Prepared) => void) => void
  readonly queryStream: (options: QueryOptions) => Readable
  readonly ping: (callback: (error: unknown) => void) => void
  readonly reset: (callback: (error: unknown) => void) => void
  readonly end: (callback: () => void) => void
  readonly on: (event: string, listener: (this: unknown, error: unknown) => void) => void
}

export interface QueryOptions {
  readonly sql: string
}

export interface Prepared {
  readonly parameterCount: number
  readonly execute: (values: ReadonlyArray<unknown>, options: object | undefined, callback: Answer) => void
  readonly executeStream: (values: ReadonlyArray<unknown>, options: object | undefined) => Readable
  readonly close: () => void
}
