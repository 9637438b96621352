/** The driver `mysql2`: its callback API, its single connections, and none of its pool. */
import mysql2 from "mysql2"
import type { Connection } from "mysql2"
import type { Socket } from "node:net"
import { guardData, Trouble } from "../../mysql-family/driver/boundary.ts"
import { toldOnce } from "../../mysql-family/driver/connecting.ts"
import { type ConnectOptions, type Driver, InsecurePassword } from "../../mysql-family/driver/Driver.ts"
import { throwless } from "../../mysql-family/driver/throwless.ts"
import { Mysql2Connection } from "./Mysql2Connection.ts"
import { guardPackets, type Inner } from "./packets.ts"

/** A socket that knows the name that was asked for: TLS verifies against it where there is no other. */
const named = (socket: Socket, host: string): Socket => {
  const hidden = socket as Socket & { _host?: string | null }
  hidden._host ??= host
  return socket
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
  const tell = toldOnce(options.socket, trouble, done)
  connection.on("error", trouble.report)
  connection.on("connect", (handshake: { readonly serverVersion?: string }) => {
    // With TLS or compression there is another listener by now.
    guardData(inner.stream, trouble.report)
    tell(
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
