/** The driver `mysql2`: its callback API, its single connections, and none of its pool. */
import mysql2 from "mysql2"
import type { Connection, FieldPacket, PrepareStatementInfo } from "mysql2"
import { EventEmitter } from "node:events"
import type { Socket } from "node:net"
import type { Readable } from "node:stream"
import {
  type ConnectOptions,
  type Driver,
  type DriverConnection,
  type FileWriter,
  type LoadReceiver,
  type Receiver,
  type Result,
  type RowSource,
  type StreamReceiver,
  unwanted
} from "../mysql-family/driver/Driver.ts"
import { StatementCache } from "../mysql-family/driver/StatementCache.ts"
import type { Parameter } from "../mysql-family/statement/parameters.ts"
import { type Column, Kind, type Ok, toInteger } from "../mysql-family/statement/results.ts"

/** What `mysql2` answers without rows. */
interface Header {
  readonly affectedRows: number
  readonly insertId: number | string
  readonly warningStatus: number
  readonly serverStatus: number
}

/** A column as `mysql2` describes it. */
type Field = FieldPacket & {
  readonly columnType: number
  readonly characterSet: number
  readonly extendedFormat?: string | undefined
}

const Type = {
  Timestamp: 7,
  LongLong: 8,
  Date: 10,
  Time: 11,
  DateTime: 12,
  Bit: 16,
  Json: 245,
  TinyBlob: 249,
  String: 254,
  Geometry: 255
} as const

const binaryCharset = 63

const kindOf = (field: Field): Kind => {
  if (field.extendedFormat === "json") return Kind.Json
  switch (field.columnType) {
    case Type.LongLong:
      return Kind.Integer
    case Type.Json:
      return Kind.Json
    case Type.Time:
      return Kind.Time
    case Type.DateTime:
    case Type.Timestamp:
      return Kind.DateTime
    case Type.Bit:
      return Kind.Bytes
    default:
      return field.characterSet === binaryCharset && field.columnType >= Type.TinyBlob &&
            field.columnType <= Type.String || field.characterSet === binaryCharset && field.columnType === 15
        ? Kind.Bytes
        : Kind.Plain
  }
}

const columnOf = (field: Field): Column => ({
  name: field.name,
  kind: kindOf(field),
  decimals: Number(field.decimals)
})

const noColumns: ReadonlyArray<Column> = []

const columnsOf = (fields: ReadonlyArray<Field> | undefined): ReadonlyArray<Column> => {
  if (fields === undefined) return noColumns
  for (const field of fields) if (kindOf(field) !== Kind.Plain) return fields.map(columnOf)
  return noColumns
}

const okOf = (header: Header): Ok => ({
  affectedRows: Number(header.affectedRows),
  insertId: toInteger(header.insertId),
  warningStatus: header.warningStatus
})

/** Passes an answer on. */
const deliver = (receiver: Receiver, error: unknown, rows: unknown, fields: unknown): void => {
  if (error !== null && error !== undefined) return receiver.onError(error, true)
  if (!Array.isArray(rows)) {
    const header = rows as Header
    return receiver.onOk(okOf(header), header.serverStatus)
  }
  if (!Array.isArray(fields) || fields.length > 0 && fields[0] !== undefined && !Array.isArray(fields[0])) {
    return receiver.onRows(rows, columnsOf(fields as ReadonlyArray<Field> | undefined), undefined)
  }
  let status: number | undefined
  const results = rows.map((result: unknown, index): Result => {
    if (Array.isArray(result)) return { rows: result, columns: columnsOf(fields[index] as ReadonlyArray<Field>) }
    status = (result as Header).serverStatus
    return { ok: okOf(result as Header) }
  })
  receiver.onMany(results, status)
}

/** Integers are sent as integers: arithmetic with a double would lose the digits of a decimal. */
const encode = (params: ReadonlyArray<Parameter>): Array<any> => {
  const encoded = new Array<unknown>(params.length)
  for (let index = 0; index < params.length; index++) {
    const value = params[index]!
    encoded[index] = typeof value === "number" && Number.isSafeInteger(value)
      ? value >= -0x8000_0000 && value <= 0x7fff_ffff ? TypedParameter.LONG(value) : TypedParameter.LONGLONG(value)
      : typeof value === "bigint"
      ? value > maxSigned ? TypedParameter.LONGLONG.unsigned(value) : TypedParameter.LONGLONG(value)
      : value
  }
  return encoded
}

const maxSigned = 2n ** 63n - 1n

const { TypedParameter } = mysql2

class Mysql2Connection implements DriverConnection {
  readonly threadId: number
  readonly serverVersion: string
  readonly batch: undefined
  readonly load: DriverConnection["load"]
  private readonly connection: Connection
  private readonly cache: StatementCache<PrepareStatementInfo>

  constructor(connection: Connection, serverVersion: string, preparedStatements: number, compress: boolean) {
    this.connection = connection
    // What is still to be compressed is kept in memory, however much it is.
    this.load = compress ? undefined : (sql, file, receiver) => this.loadFile(sql, file, receiver)
    this.threadId = connection.threadId!
    this.serverVersion = serverVersion
    this.cache = new StatementCache(preparedStatements, (sql) => connection.unprepare(sql))
  }

  query(sql: string, asArrays: boolean, receiver: Receiver): void {
    this.connection.query(
      { sql, rowsAsArray: asArrays },
      (error, rows, fields) => deliver(receiver, error, rows, fields)
    )
  }

  execute(sql: string, params: ReadonlyArray<Parameter>, asArrays: boolean, receiver: Receiver): void {
    const values = encode(params)
    if (asArrays) {
      this.connection.execute(
        { sql, values, rowsAsArray: true },
        (error, rows, fields) => deliver(receiver, error, rows, fields)
      )
      return
    }
    const statement = this.cache.get(sql)
    if (statement !== undefined) return this.run(statement, values, receiver)
    this.connection.prepare(sql, (error, prepared) => {
      // Preparing a statement does not run it.
      if (error !== null) return receiver.onError(error, false)
      this.cache.set(sql, prepared)
      if (!receiver.isWanted) return receiver.onError(unwanted, false)
      this.run(prepared, values, receiver)
    })
  }

  private run(statement: PrepareStatementInfo, values: Array<any>, receiver: Receiver): void {
    statement.execute(values, (error, rows, fields) => deliver(receiver, error, rows, fields))
  }

  stream(
    sql: string,
    params: ReadonlyArray<Parameter> | undefined,
    asArrays: boolean,
    receiver: StreamReceiver
  ): RowSource {
    const { connection } = this
    const command = params === undefined
      ? connection.query({ sql, rowsAsArray: asArrays })
      : connection.execute({ sql, values: encode(params), rowsAsArray: asArrays })
    let hasRows = false
    let hasFailed = false
    command.on("fields", (fields: unknown) => {
      hasRows = fields !== undefined
      if (hasRows) receiver.onColumns(columnsOf(fields as ReadonlyArray<Field>))
    })
    command.on("result", (row: unknown) => {
      if (hasRows) receiver.onRow(row)
    })
    command.on("error", (error: unknown) => {
      hasFailed = true
      receiver.onError(error)
    })
    command.on("end", () => {
      if (!hasFailed) receiver.onEnd()
    })
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
    this.connection.query(
      { sql, infileStreamFactory },
      (error, rows, fields) => deliver(receiver, error, rows, fields)
    )
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
    this.connection.on("error", listener)
  }
}

/** What `mysql2` takes for a stream that is read: it listens once it has asked for it. */
class WrittenFile extends EventEmitter implements FileWriter {
  private readonly receiver: LoadReceiver
  private isPaused = false

  constructor(receiver: LoadReceiver) {
    super()
    this.receiver = receiver
  }

  write(bytes: Buffer): boolean {
    this.emit("data", bytes)
    return !this.isPaused
  }

  end(): void {
    this.emit("end")
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    this.receiver.onDrain()
  }
}

/** A socket that knows the name that was asked for: TLS verifies against it where there is no other. */
const named = (socket: Socket, host: string): Socket => {
  const hidden = socket as Socket & { _host?: string | null }
  hidden._host ??= host
  return socket
}

const connect: Driver["connect"] = (options: ConnectOptions, done) => {
  const { tls } = options
  const connection = mysql2.createConnection({
    stream: () => named(options.openSocket(), options.host),
    host: options.host,
    port: options.port,
    user: options.user,
    // The limit is ours.
    connectTimeout: 0,
    compress: options.compress,
    connectAttributes: options.connectAttributes,
    charset: "utf8mb4_general_ci",
    timezone: "Z",
    dateStrings: true,
    supportBigNumbers: true,
    jsonStrings: true,
    // The statements that are kept by us, and those of streams and of rows as arrays.
    maxPreparedStatements: 2 * options.preparedStatements + 16,
    // For `Bulk`. No file is ever opened: a server that asks for one gets the rows that it is to have, or nothing.
    flags: ["LOCAL_FILES"],
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.database === undefined ? {} : { database: options.database }),
    ...(options.socketPath === undefined ? {} : { socketPath: options.socketPath }),
    ...(tls === undefined ? {} : { ssl: sslOf(tls.material, tls.verify, tls.verifyName) })
  } as never) as Connection
  let isOver = false
  connection.on("error", (error: unknown) => {
    if (isOver) return
    isOver = true
    done(error, undefined)
  })
  connection.on("connect", (handshake: { readonly serverVersion?: string }) => {
    if (isOver) return
    isOver = true
    done(
      undefined,
      new Mysql2Connection(connection, handshake.serverVersion ?? "", options.preparedStatements, options.compress)
    )
  })
}

/** One object for each set of options: the driver keeps TLS sessions by it. */
const sslOf = (material: object, verify: boolean, verifyName: boolean): object => {
  const known = sslOptions.get(material)
  if (known !== undefined) return known
  const ssl = { ...material, rejectUnauthorized: verify, verifyIdentity: verifyName }
  sslOptions.set(material, ssl)
  return ssl
}

const sslOptions = new WeakMap<object, object>()

export const driver: Driver = { name: "mysql2", module: "Mysql", canPipeline: false, connect }
