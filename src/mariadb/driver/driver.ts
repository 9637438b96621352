/** The MariaDB connector: its callback API, its single connections, and none of its pool. */
import * as mariadb from "mariadb/callback"
import { defaultAuthorities } from "../../mysql-family/driver/authorities.ts"
import { guardData, guarded, Trouble } from "../../mysql-family/driver/boundary.ts"
import { toldOnce } from "../../mysql-family/driver/connecting.ts"
import type { ConnectOptions, Driver } from "../../mysql-family/driver/Driver.ts"
import { throwless } from "../../mysql-family/driver/throwless.ts"
import { Writes } from "../../node/Writes.ts"
import type { Connection } from "./connector.ts"
import { MariadbConnection } from "./MariadbConnection.ts"
import { guardPackets, innerOf } from "./packets.ts"

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
  const tell = toldOnce(options.socket, trouble, done)
  // The socket is connected, which the connector waits to hear.
  queueMicrotask(() => options.socket.emit("connect"))
  connection.connect(guarded((error: unknown) => {
    if (error !== null && error !== undefined) return tell(error, undefined)
    connection.on("error", trouble.report)
    guardPackets(inner, trouble)
    // With compression there is another listener by now.
    if (inner.socket !== undefined) guardData(inner.socket, trouble.report)
    const socket = inner.socket ?? options.socket
    const writes = new Writes(socket, tls !== undefined)
    tell(
      undefined,
      throwless(
        new MariadbConnection(connection, inner, socket, writes, options.preparedStatements, trouble),
        trouble
      )
    )
  }, trouble.report))
}

export const driver: Driver = { name: "mariadb", module: "Mariadb", canPipeline: true, tellsWritten: false, connect }
