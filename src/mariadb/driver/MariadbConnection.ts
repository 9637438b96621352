/** One connection of the connector, as both drivers of the family have it. */
import type { Socket } from "node:net"
import { guarded, type Trouble } from "../../mysql-family/driver/boundary.ts"
import {
  type DriverConnection,
  Miscounted,
  type Receiver,
  type Result,
  type RowSource,
  Status,
  type StreamReceiver,
  unwanted
} from "../../mysql-family/driver/Driver.ts"
import { StatementCache } from "../../mysql-family/driver/StatementCache.ts"
import type { Parameter } from "../../mysql-family/statement/parameters.ts"
import type { Writes } from "../../node/Writes.ts"
import { decoderOf, type Field, isField, okOf, type OkPacket } from "./answers.ts"
import type { Connection, Prepared } from "./connector.ts"
import { type Inner, typesOfParameters } from "./packets.ts"
import { encode } from "./parameters.ts"
import { Statuses } from "./Statuses.ts"
import { StreamSource } from "./StreamSource.ts"

/** What a server says that takes many rows in one packet: MARIADB_CLIENT_STMT_BULK_OPERATIONS. */
const bulkOperations = 1n << 34n

/** What is done with a text: once it is prepared, run and closed in one go; whoever comes back is kept. */
interface Kept {
  prepared: Prepared | undefined
  isPreparing: boolean
}

export class MariadbConnection implements DriverConnection {
  readonly threadId: number
  readonly serverVersion: string
  readonly batch: DriverConnection["batch"]
  // It cannot be had together with pipelining.
  readonly load: undefined
  readonly written: undefined
  readonly writes: Writes
  private readonly connection: Connection
  private readonly inner: Inner
  private readonly statuses: Statuses
  private readonly trouble: Trouble
  private readonly cache: StatementCache<Kept>
  private readonly keepsKinds: boolean

  private readonly socket: Socket

  constructor(
    connection: Connection,
    inner: Inner,
    socket: Socket,
    writes: Writes,
    preparedStatements: number,
    trouble: Trouble
  ) {
    this.socket = socket
    this.writes = writes
    this.connection = connection
    this.inner = inner
    this.statuses = new Statuses(connection.info, inner.receiveQueue)
    this.trouble = trouble
    this.threadId = connection.threadId
    this.serverVersion = connection.serverVersion()
    // Without it the connector would send the rows one by one, and go on after one has failed.
    this.batch = (connection.info.serverCapabilities & bulkOperations) === 0n
      ? undefined
      : (sql, rows, receiver) => {
        connection.batch(
          { sql, fullResult: false },
          rows,
          (error, answer) => this.deliver(receiver, error, answer?.[0], answer?.[1])
        )
        receiver.onWritten?.(this.writes.given)
      }
    this.cache = new StatementCache(preparedStatements, (_, kept) => kept.prepared?.close())
    this.keepsKinds = !connection.info.isMariaDB()
  }

  /** The connector calls back by itself, where an exception would end the process. */
  private readonly deliver = guarded((receiver: Receiver, error: unknown, rows?: unknown, fields?: unknown): void => {
    if (error !== null && error !== undefined) return receiver.onError(error, true)
    const status = this.statuses.current
    if (!Array.isArray(rows)) return receiver.onOk(okOf(rows as OkPacket), status)
    const all = fields as ReadonlyArray<unknown>
    if (isField(all[0])) return receiver.onRows(rows, decoderOf(all as ReadonlyArray<Field>), status)
    receiver.onMany(
      rows.map((result: unknown, index): Result =>
        Array.isArray(result)
          ? { rows: result, decoder: decoderOf(all[index] as ReadonlyArray<Field>) }
          : { ok: okOf(result as OkPacket) }
      ),
      status
    )
  }, (error) => this.trouble.report(error))

  private readonly guard = <Args extends ReadonlyArray<any>>(f: (...args: Args) => void) =>
    guarded(f, this.trouble.report)

  query(sql: string, receiver: Receiver): void {
    this.connection.query({ sql }, (error, rows, fields) => this.deliver(receiver, error, rows, fields))
    receiver.onWritten?.(this.writes.given)
  }

  accepts(sql: string, params: ReadonlyArray<Parameter>): boolean {
    return !this.keepsKinds || this.cache.accepts(sql, params)
  }

  execute(sql: string, params: ReadonlyArray<Parameter>, receiver: Receiver): void {
    const values = encode(params)
    const kept = this.cache.get(sql)
    if (kept === undefined) this.cache.set(sql, { prepared: undefined, isPreparing: false })
    if (this.keepsKinds) this.cache.note(sql, params)
    if (kept === undefined) {
      // The first time it is prepared, run and closed in one go.
    } else if (kept.prepared !== undefined) return this.run(kept.prepared, values, receiver)
    else if (!kept.isPreparing) {
      kept.isPreparing = true
      let types: ReadonlyArray<number> | undefined
      this.connection.prepare(
        sql,
        this.guard((error, prepared) => {
          kept.isPreparing = false
          if (prepared === undefined) return receiver.onError(error, false)
          // It may have been evicted meanwhile.
          if (this.cache.get(sql) === kept) {
            kept.prepared = prepared
            if (types !== undefined) this.cache.described(sql, types)
          }
          if (receiver.isWanted) this.run(prepared, values, receiver)
          else receiver.onError(unwanted, false)
          if (kept.prepared === undefined) prepared.close()
        })
      )
      if (this.keepsKinds) types = typesOfParameters(this.inner)
      return
    }
    this.connection.execute({ sql }, values, (error, rows, fields) => this.deliver(receiver, error, rows, fields))
    receiver.onWritten?.(this.writes.given)
  }

  private run(prepared: Prepared, values: ReadonlyArray<unknown>, receiver: Receiver): void {
    if (values.length !== prepared.parameterCount) {
      return receiver.onError(new Miscounted(prepared.parameterCount, values.length), false)
    }
    prepared.execute(values, undefined, (error, answer) => {
      const [rows, fields] = (answer ?? []) as ReadonlyArray<unknown>
      this.deliver(receiver, error, rows, fields)
    })
    receiver.onWritten?.(this.writes.given)
  }

  stream(sql: string, params: ReadonlyArray<Parameter> | undefined, receiver: StreamReceiver): RowSource {
    const source = new StreamSource(receiver, this.guard)
    if (params === undefined) {
      source.read(this.connection.queryStream({ sql }))
      receiver.onWritten?.(this.writes.given)
      return source
    }
    this.connection.prepare(
      sql,
      this.guard((error, prepared) => {
        if (prepared === undefined) return receiver.onError(error, false)
        if (!receiver.isWanted) {
          prepared.close()
          return receiver.onError(unwanted, false)
        }
        if (params.length !== prepared.parameterCount) {
          prepared.close()
          return receiver.onError(new Miscounted(prepared.parameterCount, params.length), false)
        }
        source.read(prepared.executeStream(encode(params), undefined), () => prepared.close())
        receiver.onWritten?.(this.writes.given)
      })
    )
    return source
  }

  together(write: () => void): void {
    const { socket } = this
    socket.cork()
    try {
      write()
    } finally {
      socket.uncork()
    }
  }

  forget(sql: string): void {
    this.cache.delete(sql)?.prepared?.close()
  }

  ping(done: (error: unknown) => void): void {
    this.connection.ping(done)
  }

  resetSession(done: (error: unknown) => void): void {
    this.cache.clear()
    this.connection.reset((error) => {
      // The connector takes a refusal for an answer. Read as flags it is either none at all or an open transaction, which
      // there cannot be after a reset.
      const { status } = this.connection.info
      done(Number.isNaN(status) || (status & Status.InTransaction) !== 0 ? new Error("the server refused") : error)
    })
  }

  quit(): void {
    this.connection.end(() => {})
  }

  onTrouble(listener: (error: unknown) => void): void {
    this.trouble.listen(listener)
  }
}
