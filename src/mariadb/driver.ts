/** The MariaDB connector: its callback API, its single connections, and none of its pool. */
import * as mariadb from "mariadb/callback"
import type { Socket } from "node:net"
import type { Readable } from "node:stream"
import { defaultAuthorities } from "../mysql-family/driver/authorities.ts"
import { goodbyeIn, guardData, guarded, Trouble } from "../mysql-family/driver/boundary.ts"
import { type Column, kindOf } from "../mysql-family/driver/columns.ts"
import {
  type ConnectOptions,
  type Driver,
  type DriverConnection,
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

/** What the connector answers without rows. */
interface OkPacket {
  readonly affectedRows: number
  readonly insertId: bigint
  readonly warningStatus: number
}

/** A column as the connector describes it. */
interface Field {
  readonly columnType: number
  readonly scale: number
  readonly dataTypeName: string | undefined
  readonly collation: { readonly index: number }
  readonly name: () => string
  readonly isSet: () => boolean
  readonly isDataTypeFormatJson: () => boolean
}

type Answer = (error: unknown, rows?: unknown, fields?: unknown) => void

/** What we use of the connector, as it is: its types leave out the options of `Prepare.execute`. */
interface Connection {
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

interface QueryOptions {
  readonly sql: string
}

interface Prepared {
  readonly parameterCount: number
  readonly execute: (values: ReadonlyArray<unknown>, options: object | undefined, callback: Answer) => void
  readonly executeStream: (values: ReadonlyArray<unknown>, options: object | undefined) => Readable
  readonly close: () => void
}

/** What a server says that takes many rows in one packet: MARIADB_CLIENT_STMT_BULK_OPERATIONS. */
const bulkOperations = 1n << 34n

const columnOf = (field: Field): Column => ({
  name: field.name(),
  kind: kindOf({
    type: field.columnType,
    collation: field.collation.index,
    typeName: field.dataTypeName,
    isJson: field.isDataTypeFormatJson(),
    isSet: field.isSet()
  }),
  decimals: field.scale
})

/** The fields of a prepared statement are the same every time. */
const decoderOf = (fields: ReadonlyArray<Field>): RowDecoder => {
  let decoder = decoders.get(fields)
  if (decoder === undefined) decoders.set(fields, decoder = new RowDecoder(fields.map(columnOf)))
  return decoder
}

const decoders = new WeakMap<ReadonlyArray<Field>, RowDecoder>()

// The connector reads neither the number of changed rows nor the words of the server.
const okOf = (packet: OkPacket): Ok => ({
  affectedRows: Number(packet.affectedRows),
  changedRows: undefined,
  insertId: toUnsigned(packet.insertId),
  warningStatus: packet.warningStatus,
  info: ""
})

const isField = (value: unknown): boolean => typeof value === "object" && value !== null && "columnType" in value

/** An instant in UTC for a connector that only knows the process's own time zone. */
class UtcDate extends Date {
  override getFullYear(): number {
    return this.getUTCFullYear()
  }
  override getMonth(): number {
    return this.getUTCMonth()
  }
  override getDate(): number {
    return this.getUTCDate()
  }
  override getHours(): number {
    return this.getUTCHours()
  }
  override getMinutes(): number {
    return this.getUTCMinutes()
  }
  override getSeconds(): number {
    return this.getUTCSeconds()
  }
  override getMilliseconds(): number {
    return this.getUTCMilliseconds()
  }
}

/** Large integers are sent as integers: arithmetic with a double would lose the digits of a decimal. */
const encode = (params: ReadonlyArray<Parameter>): ReadonlyArray<unknown> => {
  let encoded: Array<unknown> | undefined
  for (let index = 0; index < params.length; index++) {
    const value = params[index]!
    if (typeof value === "number") {
      if ((value | 0) !== value && Number.isSafeInteger(value)) (encoded ??= params.slice())[index] = BigInt(value)
    } else if (value instanceof Date) (encoded ??= params.slice())[index] = new UtcDate(value.getTime())
  }
  return encoded ?? params
}

/** What is done with a text: once it is prepared, run and closed in one go; whoever comes back is kept. */
interface Kept {
  prepared: Prepared | undefined
  isPreparing: boolean
}

class MariadbConnection implements DriverConnection {
  readonly threadId: number
  readonly serverVersion: string
  readonly batch: DriverConnection["batch"]
  // It cannot be had together with pipelining.
  readonly load: undefined
  readonly written: undefined
  readonly writes: Writes
  private readonly connection: Connection
  private readonly statuses: Statuses
  private readonly trouble: Trouble
  private readonly cache: StatementCache<Kept>
  private readonly keepsKinds: boolean

  private readonly socket: Socket

  constructor(
    connection: Connection,
    statuses: Statuses,
    socket: Socket,
    writes: Writes,
    preparedStatements: number,
    trouble: Trouble
  ) {
    this.socket = socket
    this.writes = writes
    this.connection = connection
    this.statuses = statuses
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
      this.connection.prepare(
        sql,
        this.guard((error, prepared) => {
          kept.isPreparing = false
          if (prepared === undefined) return receiver.onError(error, false)
          // It may have been evicted meanwhile.
          if (this.cache.get(sql) === kept) kept.prepared = prepared
          if (receiver.isWanted) this.run(prepared, values, receiver)
          else receiver.onError(unwanted, false)
          if (kept.prepared === undefined) prepared.close()
        })
      )
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

/** Rows of a readable stream, as they come. */
class StreamSource implements RowSource {
  private readonly receiver: StreamReceiver
  private readonly guard: MariadbConnection["guard"]
  private readable: Readable | undefined = undefined
  private isPaused = false

  constructor(receiver: StreamReceiver, guard: MariadbConnection["guard"]) {
    this.receiver = receiver
    this.guard = guard
  }

  read(readable: Readable, ended?: () => void): void {
    const { guard, receiver } = this
    let isOver = false
    const end = (tell: () => void) => {
      if (isOver) return
      isOver = true
      ended?.()
      tell()
    }
    this.readable = readable
    // Rows wait in the stream, so what they are read with waits among them.
    readable.on("fields", guard((fields: ReadonlyArray<Field>) => void readable.push(decoderOf(fields))))
    readable.on(
      "data",
      guard((item: unknown) => {
        if (item instanceof RowDecoder) receiver.onColumns(item)
        // An answer without rows comes as an object.
        else if (Array.isArray(item)) receiver.onRow(item)
      })
    )
    readable.on("error", guard((error: unknown) => end(() => receiver.onError(error, true))))
    readable.on("end", guard(() => end(() => receiver.onEnd())))
    if (this.isPaused) readable.pause()
  }

  pause(): void {
    this.isPaused = true
    this.readable?.pause()
  }

  resume(): void {
    this.isPaused = false
    this.readable?.resume()
  }
}

/** What has to be known of the connection inside, on which the packets arrive. */
interface Inner {
  /** Sends the next command. The connector schedules it by itself, also when its socket is gone. */
  nextSendCmd: () => void
  readonly socket: Socket | undefined
  /** The commands that wait for their answer. */
  readonly receiveQueue: { shift: () => unknown; readonly isEmpty: () => boolean }
  readonly streamIn: {
    readonly sequenceNo: number
    readonly unexpectedPacket: (packet: Packet | undefined) => void
    readonly currentCmd: () => { readonly sequenceNo: number } | null
    receivePacket: (packet: Packet) => void
    onData: (chunk: Buffer) => void
  }
}

/** A part of a buffer. */
interface Packet {
  readonly buf: Buffer
  readonly pos: number
  readonly end: number
}

/** The connection inside, which is what its listeners are called with. */
const innerOf = (connection: Connection): Inner => {
  let inner: unknown
  connection.on("newListener", function(this: unknown) {
    // oxlint-disable-next-line typescript/no-this-alias
    inner = this
  })
  connection.on("error", () => {})
  return inner as Inner
}

/**
 * The status that came with the answer of which the connector tells now.
 *
 * **Details**
 *
 * The connector keeps one status for the connection, and tells of an answer in a later tick. By then it has read the
 * other answers of the same chunk: the status is that of the last, and an error among them sets "in transaction" whether
 * one is open or not. So each status is kept from the end of its command until that has been told.
 */
class Statuses {
  private readonly info: Connection["info"]
  private readonly kept: Array<number> = []

  constructor(info: Connection["info"], commands: Inner["receiveQueue"]) {
    this.info = info
    const shift = commands.shift.bind(commands)
    // A command leaves the queue when it has ended, which is after the connector has scheduled to tell of it.
    commands.shift = () => {
      const command = shift()
      // Where nothing else waits for an answer, none can come in between.
      if (this.kept.length > 0 || !commands.isEmpty()) {
        this.kept.push(info.status)
        process.nextTick(this.drop)
      }
      return command
    }
  }

  get current(): number {
    return this.kept.length === 0 ? this.info.status : this.kept[0]!
  }

  private readonly drop = () => void this.kept.shift()
}

/** Puts the boundary around what arrives, and hears of an end that comes unasked. */
const guardPackets = (inner: Inner, trouble: Trouble): void => {
  const { streamIn } = inner
  const receive = streamIn.receivePacket.bind(streamIn)
  streamIn.receivePacket = (packet) => {
    if (streamIn.sequenceNo === 0 && packet.buf[packet.pos] === 0xff) {
      const command = streamIn.currentCmd()
      // Nothing that belongs to the answer of a command has come yet, and an answer would have another number.
      if (command === null || command.sequenceNo <= 0) {
        return trouble.report(goodbyeIn(packet.buf.subarray(packet.pos, packet.end)))
      }
    }
    receive(packet)
  }
}

const connect: Driver["connect"] = (options: ConnectOptions, done) => {
  const { tls } = options
  const trouble = new Trouble()
  const connection = mariadb.createConnection({
    // Called as a method of the connector's own options. With a path among them it would open a socket of its own, but
    // needs it to know that nothing is in between.
    stream(this: { socketPath?: string | undefined }) {
      this.socketPath = options.socketPath
      return options.socket
    },
    host: options.host,
    port: options.port,
    user: options.user,
    // The limit is ours.
    connectTimeout: 0,
    compress: options.compress,
    connectAttributes: options.connectAttributes,
    allowPublicKeyRetrieval: options.allowPublicKeyRetrieval,
    pipelining: true,
    permitLocalInfile: false,
    permitRedirect: false,
    // Statements are kept by us.
    prepareCacheLength: 0,
    metaAsArray: true,
    checkDuplicate: false,
    dateStrings: true,
    jsonStrings: true,
    rowsAsArray: true,
    bitOneIsBoolean: false,
    // Its messages would show parameters.
    logParam: false,
    logger: { warning: () => {} },
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.database === undefined ? {} : { database: options.database }),
    ...(tls === undefined ? {} : {
      ssl: {
        ...tls.material,
        // Without authorities it would trust some servers by their password instead of their certificate.
        ...(tls.verify && tls.material.ca === undefined ? { ca: defaultAuthorities() } : {}),
        host: options.host,
        rejectUnauthorized: tls.verify,
        ...(tls.verifyName ? {} : { checkServerIdentity: () => undefined })
      }
    })
  } as never) as unknown as Connection
  const inner = innerOf(connection)
  const streamIn = inner.streamIn
  streamIn.onData = guarded(streamIn.onData.bind(streamIn), trouble.report)
  inner.nextSendCmd = guarded(inner.nextSendCmd.bind(inner), trouble.report)
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
  // The socket is connected, which the connector waits to hear.
  queueMicrotask(() => options.socket.emit("connect"))
  connection.connect(guarded((error: unknown) => {
    if (error !== null && error !== undefined) return end(error, undefined)
    connection.on("error", trouble.report)
    guardPackets(inner, trouble)
    // With compression there is another listener by now.
    if (inner.socket !== undefined) guardData(inner.socket, trouble.report)
    const socket = inner.socket ?? options.socket
    const writes = new Writes(socket, tls !== undefined)
    const statuses = new Statuses(connection.info, inner.receiveQueue)
    end(
      undefined,
      throwless(
        new MariadbConnection(connection, statuses, socket, writes, options.preparedStatements, trouble),
        trouble
      )
    )
  }, trouble.report))
}

export const driver: Driver = { name: "mariadb", module: "Mariadb", canPipeline: true, tellsWritten: false, connect }
