/** Opens sessions: the socket, the driver's handshake, and the settings that make the session ours. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import type { Socket } from "node:net"
import * as Evidence from "../../failure/Evidence.ts"
import { describeStall } from "../../timing/StallGuard.ts"
import { timeoutOrElse } from "../../timing/timeout.ts"
import { type Address, Canceller, identityOf } from "../driver/Canceller.ts"
import type { Driver, DriverConnection, Receiver } from "../driver/Driver.ts"
import { ruleOfError } from "../errors/errno.ts"
import { connectError, describe, MysqlError, serverErrorOf } from "../errors/errors.ts"
import { Session } from "../session/Session.ts"
import type { ServerInfo, SessionContext } from "../session/SessionContext.ts"
import { Profiles } from "../statement/statements.ts"
import type { Resolved } from "./Config.ts"
import type { MysqlOptions } from "./MysqlOptions.ts"
import { open } from "./open.ts"
import { readOnlyOf, workCheck } from "./serverRole.ts"

/** How long the server waits for a reader or a source of rows, in seconds. */
const patience = 600

/** How many texts are remembered. */
const maxProfiles = 1_000

/** Makes what opens sessions. `onServer` hears of every server that was met. */
export const makeConnect = (
  driver: Driver,
  config: Resolved,
  onServer: (server: ServerInfo) => void
): Effect.Effect<Session, SqlError> => {
  const home: Address = config.socketPath === undefined
    ? { host: config.host, port: config.port }
    : { path: config.socketPath }
  const openAt = (address: Address) => withLimit(config, open(driver, config, address))
  const context: SessionContext = {
    database: config.name,
    canPipeline: driver.canPipeline,
    profiles: new Profiles(maxProfiles),
    prepares: config.options.disablePreparedStatements !== true,
    controlLimit: config.controlTimeout,
    statementLimit: config.statementTimeout,
    dateStrings: config.options.dateStrings === true,
    undefinedIsNull: config.options.undefined === "null",
    renameKeys: renameKeys(config.options),
    canceller: new Canceller(openAt, Math.min(config.connectTimeout, 5_000))
  }
  return withLimit(
    config,
    Effect.flatMap(open(driver, config, home), ({ driver: connection, socket }) =>
      Effect.map(
        Effect.onError(
          Effect.raceFirst(setUp(config, connection), troubleOf(config, connection)),
          () => Effect.sync(() => socket.destroy())
        ),
        (server) => {
          onServer(server)
          return new Session(context, server, connection, socket, addressOf(socket, home))
        }
      ))
  )
}

const withLimit = <A>(config: Resolved, effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
  config.connectTimeout === Infinity ? effect : timeoutOrElse(effect, {
    duration: config.connectTimeout,
    orElse: (stalled) => Effect.fail(notInTime(config.name, config.connectTimeout, stalled))
  })

const notInTime = (name: string, millis: number, stalledMillis: number): SqlError =>
  Evidence.attach(
    connectError(name, `no connection within ${millis} ms${describeStall(stalledMillis)}`, undefined),
    Evidence.make({ connecting: true, stalledMillis })
  )

/** With `transformJson` the keys of documents are names like those of columns. */
const renameKeys = ({ transformJson, transformQueryNames }: MysqlOptions): SessionContext["renameKeys"] =>
  transformJson === true && transformQueryNames !== undefined
    ? Statement.defaultTransforms(transformQueryNames).value
    : undefined

/** The very address that a name or a balancer has led to. */
const addressOf = (socket: Socket, home: Address): Address =>
  socket.remoteAddress === undefined || socket.remotePort === undefined
    ? home
    : { host: socket.remoteAddress, port: socket.remotePort }

// ---------------------------------------------------------------------------------------------------------------------
// Settings
// ---------------------------------------------------------------------------------------------------------------------

/** Sets a session up and asks the server what has to be known of it. */
const setUp = (config: Resolved, driver: DriverConnection): Effect.Effect<ServerInfo, SqlError> => {
  const isMariadb = /mariadb/i.test(driver.serverVersion)
  const setup = settings(config, isMariadb)
  const columns = [
    identityOf,
    "@@max_allowed_packet",
    "@@version",
    // Of MySQL nobody needs it: see where a session is reset.
    isMariadb ? "CURRENT_ROLE()" : "NULL",
    isMariadb ? "@@wsrep_on" : "NULL",
    readOnlyOf(isMariadb),
    "@@innodb_rollback_on_timeout"
  ]
  // Not every server and version knows all of them.
  const ask = (columns: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> =>
    Effect.catch(run(config, driver, `SELECT ${columns.join(", ")}`), (error) => {
      const { cause } = error.reason
      const unknown = cause instanceof MysqlError && cause.errno === 1193
        ? /'(\w+)'/.exec(cause.message)?.[1]
        : undefined
      const known = columns.map((column) => column.includes(`@@${unknown}`) ? "NULL" : column)
      return known.join() === columns.join() ? Effect.fail(error) : ask(known)
    })
  return Effect.gen(function*() {
    yield* run(config, driver, setup)
    const [row] = yield* ask(columns)
    if (row === undefined || row.length !== columns.length) {
      return yield* Effect.fail(
        connectError(config.name, "the server does not answer what has to be known of it", undefined)
      )
    }
    const [identity, maxAllowedPacket, version, role, wsrep, readOnly, rollbackOnTimeout] = row
    const inCluster = Number(wsrep) === 1
    if (inCluster) yield* run(config, driver, workCheck)
    return {
      version: String(version),
      isMariadb,
      rollbackOnTimeout: Number(rollbackOnTimeout) === 1,
      maxAllowedPacket: Number(maxAllowedPacket) > 0 ? Number(maxAllowedPacket) : Infinity,
      readerLimit: Number(config.sessionVariables["net_write_timeout"] ?? patience) * 1_000,
      identity: String(identity),
      inCluster,
      readOnly: readOnly === null ? undefined : String(readOnly),
      setup: isMariadb ? [setup, `SET ROLE ${role === null ? "NONE" : quote(String(role))}`] : [setup],
      home: config.database === undefined ? undefined : `USE ${quote(config.database)}`
    }
  })
}

const quote = (name: string): string => `\`${name.replaceAll("`", "``")}\``

/** MySQL would round a fraction of a second, and so the last instant of a day to the next day. MariaDB cuts it off. */
const truncates = ",TIME_TRUNCATE_FRACTIONAL"

/** Everything that we rely on is said, whatever the server's own defaults are. */
const settings = (config: Resolved, isMariadb: boolean): string => {
  const { options } = config
  const list = ["NAMES utf8mb4", "SESSION autocommit = 1", "SESSION time_zone = '+00:00'"]
  // The drivers ask for IGNORE_SPACE, which makes keywords of function names: the mode of the server is said again.
  list.push(
    options.sqlMode === undefined
      ? `SESSION sql_mode = CONCAT(@@GLOBAL.sql_mode, ',STRICT_TRANS_TABLES${isMariadb ? "" : truncates}')`
      : options.sqlMode === "server"
      ? "SESSION sql_mode = @@GLOBAL.sql_mode"
      : `SESSION sql_mode = '${options.sqlMode}'`
  )
  if (config.statementTimeout !== Infinity) {
    list.push(
      isMariadb
        ? `SESSION max_statement_time = ${config.statementTimeout / 1_000}`
        : `SESSION max_execution_time = ${Math.ceil(config.statementTimeout)}`
    )
  }
  if (config.lockTimeout !== undefined) {
    list.push(`SESSION innodb_lock_wait_timeout = ${Math.max(1, Math.ceil(config.lockTimeout / 1_000))}`)
  }
  // Known by all servers of MySQL that can be a part of a cluster, and not by others that only look like one.
  if (config.tracksWritten && !isMariadb) list.push("SESSION session_track_gtids = OWN_GTID")
  // For readers of streams that pause, and sources of rows that do: the servers' own limits are 60 and 30 seconds.
  for (const name of ["net_write_timeout", "net_read_timeout"]) {
    if (config.sessionVariables[name] === undefined) list.push(`SESSION ${name} = ${patience}`)
  }
  for (const [name, value] of Object.entries(config.sessionVariables)) {
    list.push(
      `SESSION ${name} = ${typeof value === "string" ? `'${value.replace(/['\\]/g, "$&$&")}'` : String(Number(value))}`
    )
  }
  return `SET ${list.join(", ")}`
}

/** Fails when the connection does. */
const troubleOf = (config: Resolved, driver: DriverConnection): Effect.Effect<never, SqlError> =>
  Effect.callback((resume) => driver.onTrouble((error) => resume(Effect.fail(failedSetup(config, error)))))

const failedSetup = (config: Resolved, error: unknown): SqlError => {
  const serverError = serverErrorOf(error)
  return serverError === undefined
    ? connectError(config.name, `the session could not be set up: ${describe(error)}`, error)
    : connectError(
      config.name,
      `the session could not be set up: ${serverError.message} (${serverError.errno})`,
      serverError,
      ruleOfError(serverError, false)?.scope === "TransactionOnNewConnection"
    )
}

/** Runs one of our own statements while the connection has no other use. */
const run = (
  config: Resolved,
  driver: DriverConnection,
  sql: string
): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> =>
  Effect.callback((resume) => {
    const receiver: Receiver = {
      isWanted: true,
      onRows: (rows) => resume(Effect.succeed(rows)),
      onOk: () => resume(Effect.succeed([])),
      onMany: () => resume(Effect.succeed([])),
      onError: (error) => resume(Effect.fail(failedSetup(config, error)))
    }
    driver.query(sql, receiver)
  })
