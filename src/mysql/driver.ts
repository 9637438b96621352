/** The driver `mysql2`: its callback API, its single connections, and none of its pool. */
import mysql2 from "mysql2"
import type { Connection, FieldPacket, PrepareStatementInfo, Query } from "mysql2"
import { EventEmitter } from "node:events"
import type { Socket } from "node:net"
import type { Duplex, Readable } from "node:stream"
import { brokenBy, goodbyeIn, guardData, guarded, ProtocolBroken, Trouble } from "../mysql-family/driver/boundary.ts"
import { binaryCollation, type Column, Kind, kindOf, Type } from "../mysql-family/driver/columns.ts"
import {
  type ConnectOptions,
  type Driver,
  type DriverConnection,
  type FileWriter,
  InsecurePassword,
  type LoadReceiver,
  Miscounted,
  type Receiver,
  type Result,
  type RowSource,
  Status,
  type StreamReceiver,
  unwanted
} from "../mysql-family/driver/Driver.ts"
import { StatementCache } from "../mysql-family/driver/StatementCache.ts"
import { throwless } from "../mysql-family/driver/throwless.ts"
import type { Parameter } from "../mysql-family/statement/parameters.ts"
import { type Ok, RowDecoder, toUnsigned } from "../mysql-family/statement/results.ts"
import { Writes } from "../node/Writes.ts"

/** What `mysql2` answers without rows. */
interface Header {
  readonly affectedRows: number
  readonly insertId: number | string
  readonly warningStatus: number
  readonly serverStatus: number
  readonly info: string
  readonly changedRows: number
  /** What the server says of the session, if that has changed. */
  readonly stateChanges?: {
    readonly systemVariables: Readonly<Record<string, string>>
    readonly schema: string | null
    readonly gtids: ReadonlyArray<string>
    readonly trackStateChange: string | null
  }
}

/** A column as `mysql2` describes it, and as its parser of rows takes it. */
type Field = Omit<FieldPacket, "name"> & {
  name: string
  columnType: number
  characterSet: number
  readonly flags: number
  readonly extendedFormat?: string | undefined
  readonly extendedTypeName?: string | undefined
}

/** How a result is read: kept with its columns. */
const decoders = new WeakMap<ReadonlyArray<Field>, RowDecoder>()

const setFlag = 2048

const columnOf = (field: Field): Column => ({
  name: field.name,
  kind: kindOf({
    type: field.columnType,
    collation: field.characterSet,
    typeName: field.extendedTypeName,
    isJson: field.extendedFormat === "json",
    isSet: (field.flags & setFlag) !== 0
  }),
  decimals: Number(field.decimals)
})

/** Names that the driver's parser of rows refuses, also where rows are arrays. */
const refusedName = /^__(?:proto|(?:define|lookup)[GS]etter)__$/

/**
 * Called with the columns of a result before the driver makes a parser of rows from them. The parser is to leave alone
 * what it would lose something of, and must not throw because of a name: that would end the connection.
 */
const describe = (fields: ReadonlyArray<Field> | undefined, previous: RowDecoder | undefined): void => {
  if (fields === undefined) return
  const columns = fields.map(columnOf)
  decoders.set(fields, previous?.matches(columns) === true ? previous : new RowDecoder(columns))
  for (let index = 0; index < fields.length; index++) {
    const field = fields[index]!
    if (refusedName.test(field.name)) field.name = `column ${index}`
    const { kind } = columns[index]!
    if (kind === Kind.Geometry || kind === Kind.Vector) {
      field.columnType = Type.Blob
      field.characterSet = binaryCollation
    }
  }
}

const decoderOf = (fields: unknown): RowDecoder => decoders.get(fields as ReadonlyArray<Field>) ?? new RowDecoder([])

const okOf = (header: Header): Ok => ({
  affectedRows: Number(header.affectedRows),
  changedRows: header.changedRows,
  insertId: toUnsigned(header.insertId),
  warningStatus: header.warningStatus,
  info: header.info.trim()
})

/** Which transactions a statement has written. The server tells only where it is asked to, see `session_track_gtids`. */
const writtenBy = (rows: unknown): string | undefined => {
  const gtids = Array.isArray(rows) ? undefined : (rows as Header | undefined)?.stateChanges?.gtids
  return gtids === undefined || gtids.length === 0 ? undefined : gtids.join()
}

/** The flags of an answer. What was written is no change of the session, though the server has no other flag for it. */
const statusOf = ({ serverStatus, stateChanges }: Header): number => {
  if (stateChanges === undefined || stateChanges.gtids.length === 0) return serverStatus
  const { schema, systemVariables, trackStateChange } = stateChanges
  const isOther = schema !== null || trackStateChange !== null || Object.keys(systemVariables).length > 0
  return isOther ? serverStatus : serverStatus & ~Status.SessionChanged
}

/** Passes an answer on. */
const pass = (receiver: Receiver, error: unknown, rows: unknown, fields: unknown): void => {
  if (error !== null && error !== undefined) return receiver.onError(error, true)
  if (!Array.isArray(rows)) {
    const header = rows as Header
    return receiver.onOk(okOf(header), statusOf(header))
  }
  if (!Array.isArray(fields) || fields.length > 0 && fields[0] !== undefined && !Array.isArray(fields[0])) {
    return receiver.onRows(rows, decoderOf(fields), undefined)
  }
  let status: number | undefined
  const results = rows.map((result: unknown, index): Result => {
    if (Array.isArray(result)) return { rows: result, decoder: decoderOf(fields[index]) }
    status = statusOf(result as Header)
    return { ok: okOf(result as Header) }
  })
  receiver.onMany(results, status)
}

/** Integers are sent as integers: arithmetic with a double would lose the digits of a decimal. */
const encode = (params: ReadonlyArray<Parameter>): Array<any> => {
  const encoded = new Array<unknown>(params.length)
  for (let index = 0; index < params.length; index++) {
    const value = params[index]!
    encoded[index] = typeof value === "number"
      ? Number.isSafeInteger(value) ? integer(value) : value
      : typeof value === "bigint"
      ? TypedParameter.LONGLONG(value)
      : value
  }
  return encoded
}

const integer = (value: number): unknown =>
  value >= -0x8000_0000 && value <= 0x7fff_ffff ? TypedParameter.LONG(value) : TypedParameter.LONGLONG(value)

const { TypedParameter } = mysql2

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

class Mysql2Connection implements DriverConnection {
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
    this.prepared(
      sql,
      () => receiver.isWanted,
      (error) => receiver.onError(error, false),
      (statement) => {
        const wrong = miscount(statement, params)
        if (wrong !== undefined) return receiver.onError(wrong, false)
        if (this.keepsKinds) this.cache.note(sql, params)
        described(
          statement.execute(encode(params), (error, rows, fields) => this.deliver(receiver, error, rows, fields)),
          statement
        )
        receiver.onWritten?.(this.writes.given)
      }
    )
  }

  /** Gives a prepared statement, which is prepared first if it is not kept. Preparing a statement does not run it. */
  private prepared(
    sql: string,
    isWanted: () => boolean,
    fail: (error: unknown) => void,
    run: (statement: PrepareStatementInfo) => void
  ): void {
    const statement = this.cache.get(sql)
    if (statement !== undefined) return run(statement)
    this.connection.prepare(sql, (error, prepared) => {
      if (error !== null) return fail(error)
      this.cache.set(sql, prepared)
      if (!isWanted()) return fail(unwanted)
      run(prepared)
    })
  }

  stream(sql: string, params: ReadonlyArray<Parameter> | undefined, receiver: StreamReceiver): RowSource {
    const { connection } = this
    if (params === undefined) {
      streamed(connection.query({ sql }), undefined, receiver)
      receiver.onWritten?.(this.writes.given)
    } else {
      this.prepared(
        sql,
        () => receiver.isWanted,
        (error) => receiver.onError(error, false),
        (statement) => {
          const wrong = miscount(statement, params)
          if (wrong !== undefined) return receiver.onError(wrong, false)
          if (this.keepsKinds) this.cache.note(sql, params)
          const execute = statement.execute as (values: Array<any>) => Query
          streamed(execute.call(statement, encode(params)), statement, receiver)
          receiver.onWritten?.(this.writes.given)
        }
      )
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

/** What has to be known of the driver inside. */
interface Inner {
  readonly stream: Duplex
  readonly sequenceId: number
  readonly _paused: boolean
  readonly _command: unknown
  handlePacket: (packet: Packet | undefined) => void
}

/** A part of a buffer. */
interface Packet {
  readonly buffer: Buffer
  readonly offset: number
  readonly end: number
  readonly sequenceId: number
}

/** How packets are read, as far as the driver trusts the server with it. */
interface PacketClass {
  readLengthCodedNumberExt: (this: unknown, tag: number, ...rest: ReadonlyArray<unknown>) => unknown
  parseInt: (this: unknown, length: number, ...rest: ReadonlyArray<unknown>) => unknown
  parseIntNoBigCheck: (this: unknown, length: number) => unknown
}

let isHardened = false

/** More digits than any number has. */
const mostDigits = 255

/**
 * A length that cannot be makes the driver print its stack on the program's console, and read the digits of a number for
 * years. Both are errors here.
 */
const harden = (packets: PacketClass): void => {
  isHardened = true
  const { parseInt, parseIntNoBigCheck, readLengthCodedNumberExt } = packets
  packets.readLengthCodedNumberExt = function(tag, ...rest) {
    if (tag >= 0xfb && tag <= 0xfe) return readLengthCodedNumberExt.call(this, tag, ...rest)
    throw new ProtocolBroken("the server sent a length that cannot be")
  }
  packets.parseInt = function(length, ...rest) {
    if (length > mostDigits) throw new ProtocolBroken("the server sent a number that cannot be")
    return parseInt.call(this, length, ...rest)
  }
  packets.parseIntNoBigCheck = function(length) {
    if (length > mostDigits) throw new ProtocolBroken("the server sent a number that cannot be")
    return parseIntNoBigCheck.call(this, length)
  }
}

/**
 * Puts the boundary around what arrives. The driver itself only prints that packets have numbers out of order, and
 * goes on with them.
 */
const guardPackets = (inner: Inner, trouble: Trouble): void => {
  const handle = inner.handlePacket.bind(inner)
  const handleExpected = (packet: Packet | undefined): void => {
    if (packet === undefined || inner._paused) return handle(packet)
    if (!isHardened) harden(Object.getPrototypeOf(packet) as PacketClass)
    const isAwaited = inner._command !== null && inner._command !== undefined
    if (isAwaited && inner.sequenceId === packet.sequenceId) return handle(packet)
    trouble.report(
      packet.buffer[packet.offset] === 0xff && (!isAwaited || packet.sequenceId === 0)
        ? goodbyeIn(packet.buffer.subarray(packet.offset, packet.end))
        : new ProtocolBroken("the server sent a packet that is no answer, or not the next one")
    )
  }
  // For each row: without the arguments of `guarded`.
  inner.handlePacket = (packet) => {
    try {
      handleExpected(packet)
    } catch (cause) {
      trouble.report(brokenBy(cause))
    }
  }
}

const connect: Driver["connect"] = (options: ConnectOptions, done) => {
  const { tls } = options
  const trouble = new Trouble()
  const connection = mysql2.createConnection({
    stream: () => named(options.socket, options.host),
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
    rowsAsArray: true,
    // The statements are kept by us; the driver must not close one of them before.
    maxPreparedStatements: options.preparedStatements + 16,
    // For `Bulk`. No file is ever opened: a server that asks for one gets the rows that it is to have, or nothing.
    flags: ["LOCAL_FILES"],
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.database === undefined ? {} : { database: options.database }),
    ...(options.socketPath === undefined ? {} : { socketPath: options.socketPath }),
    // A password as it is, such as a token of a cloud: only where TLS is not a matter of luck, or nothing is between.
    enableCleartextPlugin: tls?.isDemanded === true || options.socketPath !== undefined,
    ...(options.allowPublicKeyRetrieval || tls !== undefined || options.socketPath !== undefined
      ? {}
      : { authPlugins: withoutServerKeys }),
    ...(tls === undefined ? {} : { ssl: sslOf(tls.material, tls.verify, tls.verifyName) })
  } as never) as Connection
  const inner = connection as unknown as Inner
  guardPackets(inner, trouble)
  guardData(options.socket, trouble.report)
  let isOver = false
  const end: typeof done = (error, connection) => {
    if (isOver) return
    isOver = true
    done(error, connection)
  }
  trouble.listen((error) => {
    options.socket.destroy()
    end(error, undefined)
  })
  connection.on("error", trouble.report)
  connection.on("connect", (handshake: { readonly serverVersion?: string }) => {
    // With TLS or compression there is another listener by now.
    guardData(inner.stream, trouble.report)
    end(
      undefined,
      throwless(new Mysql2Connection(connection, handshake.serverVersion ?? "", options, trouble), trouble)
    )
  })
}

const refuseKey = (): never => {
  throw new InsecurePassword()
}

/** Ways to authenticate that never trust a key that the server sends. */
const withoutServerKeys = {
  caching_sha2_password: mysql2.authPlugins.caching_sha2_password({ onServerPublicKey: refuseKey }),
  sha256_password: mysql2.authPlugins.sha256_password({ onServerPublicKey: refuseKey })
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

export const driver: Driver = { name: "mysql2", module: "Mysql", canPipeline: false, tellsWritten: true, connect }
