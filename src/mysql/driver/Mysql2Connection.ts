/** One connection of `mysql2`, as both drivers of the family have it. */
import type { Connection, PrepareStatementInfo, Query } from "mysql2"
import type { Readable } from "node:stream"
import { guarded, type Trouble } from "../../mysql-family/driver/boundary.ts"
import {
  type ConnectOptions,
  type DriverConnection,
  type LoadReceiver,
  Miscounted,
  type Receiver,
  type RowSource,
  type Sender,
  type StreamReceiver,
  unwanted
} from "../../mysql-family/driver/Driver.ts"
import { StatementCache } from "../../mysql-family/driver/StatementCache.ts"
import type { Parameter } from "../../mysql-family/statement/parameters.ts"
import type { RowDecoder } from "../../mysql-family/statement/results.ts"
import { Writes } from "../../node/Writes.ts"
import { decoderOf, describe, pass, writtenBy } from "./answers.ts"
import type { Inner } from "./packets.ts"
import { encode } from "./parameters.ts"
import { WrittenFile } from "./WrittenFile.ts"

/** The columns that a prepared statement was answered with last. */
const lastColumns = new WeakMap<PrepareStatementInfo, RowDecoder>()

/** Listens for the columns of a statement's results, which come before the parser of their rows is made. */
const described = (command: unknown, statement?: PrepareStatementInfo): void => {
  ;(command as Query).on("fields", (fields: unknown) => {
    if (!Array.isArray(fields)) return
    describe(fields, statement === undefined ? undefined : lastColumns.get(statement))
    if (statement !== undefined) lastColumns.set(statement, decoderOf(fields))
  })
}

/** What the server takes the parameters for. */
const typesOf = (statement: PrepareStatementInfo): ReadonlyArray<number> => {
  const { parameters } = statement as unknown as { readonly parameters: ReadonlyArray<{ readonly columnType: number }> }
  return parameters.map(({ columnType }) => columnType)
}

/** The driver writes as many values as it is given, which the server would read for others. */
const miscount = (statement: PrepareStatementInfo, params: ReadonlyArray<unknown>) => {
  const { parameters } = statement as unknown as { readonly parameters: ReadonlyArray<unknown> }
  return parameters.length === params.length ? undefined : new Miscounted(parameters.length, params.length)
}

/** Passes rows on as they come. */
const streamed = (command: Query, statement: PrepareStatementInfo | undefined, receiver: StreamReceiver): void => {
  described(command, statement)
  let hasRows = false
  let hasFailed = false
  command.on("fields", (fields: unknown) => {
    hasRows = fields !== undefined
    if (hasRows) receiver.onColumns(decoderOf(fields))
  })
  command.on("result", (row: unknown) => {
    if (hasRows) receiver.onRow(row as Array<any>)
  })
  command.on("error", (error: unknown) => {
    hasFailed = true
    receiver.onError(error, true)
  })
  command.on("end", () => {
    if (!hasFailed) receiver.onEnd()
  })
}

export class Mysql2Connection implements DriverConnection {
  readonly threadId: number
  readonly serverVersion: string
  readonly batch: undefined
  // It sends a statement when the one before has been answered.
  readonly together: undefined
  readonly load: DriverConnection["load"]
  written: string | undefined = undefined
  readonly writes: Writes
  private readonly connection: Connection
  private readonly trouble: Trouble
  private readonly cache: StatementCache<PrepareStatementInfo>
  private readonly keepsKinds: boolean

  constructor(connection: Connection, serverVersion: string, options: ConnectOptions, trouble: Trouble) {
    const { compress, preparedStatements, tls } = options
    this.writes = new Writes((connection as unknown as Inner).stream, tls !== undefined)
    this.connection = connection
    this.trouble = trouble
    // What is still to be compressed is kept in memory, however much it is.
    this.load = compress ? undefined : (sql, file, receiver) => this.loadFile(sql, file, receiver)
    this.threadId = connection.threadId!
    this.serverVersion = serverVersion
    this.cache = new StatementCache(preparedStatements, (sql) => connection.unprepare(sql))
    this.keepsKinds = !/mariadb/i.test(serverVersion)
  }

  /** The driver calls back by itself, where an exception would end the process. */
  private readonly deliver = guarded((receiver: Receiver, error: unknown, rows: unknown, fields: unknown): void => {
    this.written = writtenBy(rows)
    pass(receiver, error, rows, fields)
  }, (error) => this.trouble.report(error))

  query(sql: string, receiver: Receiver): void {
    described(this.connection.query({ sql }, (error, rows, fields) => this.deliver(receiver, error, rows, fields)))
    receiver.onWritten?.(this.writes.given)
  }

  accepts(sql: string, params: ReadonlyArray<Parameter>): boolean {
    return !this.keepsKinds || this.cache.accepts(sql, params)
  }

  execute(sql: string, params: ReadonlyArray<Parameter>, receiver: Receiver): void {
    this.prepared(sql, params, receiver, (statement, values) =>
      described(
        statement.execute(values, (error, rows, fields) => this.deliver(receiver, error, rows, fields)),
        statement
      ))
  }

  /** Runs a prepared statement, which is prepared first if it is not kept. Preparing a statement does not run it. */
  private prepared(
    sql: string,
    params: ReadonlyArray<Parameter>,
    sender: Sender & { readonly onError: (error: unknown, sent: boolean) => void },
    run: (statement: PrepareStatementInfo, values: Array<any>) => void
  ): void {
    const runIt = (statement: PrepareStatementInfo): void => {
      const wrong = miscount(statement, params)
      if (wrong !== undefined) return sender.onError(wrong, false)
      if (this.keepsKinds) this.cache.note(sql, params)
      run(statement, encode(params))
      sender.onWritten?.(this.writes.given)
    }
    const statement = this.cache.get(sql)
    if (statement !== undefined) return runIt(statement)
    this.connection.prepare(sql, (error, prepared) => {
      if (error !== null) return sender.onError(error, false)
      this.cache.set(sql, prepared)
      if (this.keepsKinds) this.cache.described(sql, typesOf(prepared))
      if (!sender.isWanted) return sender.onError(unwanted, false)
      runIt(prepared)
    })
  }

  stream(sql: string, params: ReadonlyArray<Parameter> | undefined, receiver: StreamReceiver): RowSource {
    const { connection } = this
    if (params === undefined) {
      streamed(connection.query({ sql }), undefined, receiver)
      receiver.onWritten?.(this.writes.given)
    } else {
      this.prepared(sql, params, receiver, (statement, values) => {
        const execute = statement.execute as (values: Array<any>) => Query
        streamed(execute.call(statement, values), statement, receiver)
      })
    }
    return { pause: () => connection.pause(), resume: () => connection.resume() }
  }

  private loadFile(sql: string, file: string, receiver: LoadReceiver): void {
    const infileStreamFactory = (name: string): Readable => {
      const written = new WrittenFile(receiver)
      // It listens once it has been given this.
      if (name === file) queueMicrotask(() => receiver.onRequest(written))
      else receiver.onForeignRequest()
      return written as unknown as Readable
    }
    described(this.connection.query(
      { sql, infileStreamFactory },
      (error, rows, fields) => this.deliver(receiver, error, rows, fields)
    ))
    receiver.onWritten?.(this.writes.given)
  }

  forget(sql: string): void {
    if (this.cache.delete(sql) !== undefined) this.connection.unprepare(sql)
  }

  ping(done: (error: unknown) => void): void {
    this.connection.ping(done)
  }

  resetSession(done: (error: unknown) => void): void {
    this.cache.clear()
    this.connection.reset(done)
  }

  quit(): void {
    this.connection.end(() => {})
  }

  onTrouble(listener: (error: unknown) => void): void {
    this.trouble.listen(listener)
  }
}
