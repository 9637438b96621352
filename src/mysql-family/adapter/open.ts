/** Opens a connection: the socket, what the server says first, TLS, and the driver's handshake. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import { connect as connectSocket, type Socket } from "node:net"
import { dial } from "../../node/dial.ts"
import { askPassword } from "../../options/password.ts"
import type { Address, SideConnection } from "../driver/Canceller.ts"
import { type Driver, insecure, type TlsOptions } from "../driver/Driver.ts"
import { ruleOfError } from "../errors/errno.ts"
import { connectError, describe, MysqlError, refusedError, serverErrorOf } from "../errors/errors.ts"
import type { Resolved } from "./Config.ts"
import { type Greeting, readGreeting } from "./greeting.ts"

/** Connects and authenticates. Whatever is not finished when it is interrupted is destroyed. */
export const open = Effect.fnUntraced(
  function*(driver: Driver, config: Resolved, address: Address): Effect.fn.Return<SideConnection, SqlError> {
    const password = yield* Effect.mapError(
      askPassword(config.password),
      (problem) => connectError(config.name, problem, undefined)
    )
    const socket = openSocket(config, address)
    return yield* Effect.onExit(
      Effect.gen(function*() {
        const greeting = yield* greetingOf(config, socket)
        const tls = yield* tlsOf(config, greeting)
        const connection = yield* authenticate(driver, config, { address, socket, password, tls })
        return { driver: connection, socket }
      }),
      (exit) => exit._tag === "Success" ? Effect.void : Effect.sync(() => socket.destroy())
    )
  }
)

const openSocket = (config: Resolved, address: Address): Socket => {
  const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: config.keepAlive }
  const socket = "path" in address
    ? connectSocket({ path: address.path, ...options })
    : dial(address.host, address.port, config.resolving, options)
  // An error that has no other listener must not end the process.
  socket.on("error", () => {})
  return socket
}

const greetingOf = (config: Resolved, socket: Socket): Effect.Effect<Greeting, SqlError> =>
  Effect.callback((resume) => {
    readGreeting(
      socket,
      (error, greeting) => resume(error === undefined ? Effect.succeed(greeting) : Effect.fail(refused(config, error)))
    )
  })

/** What is to be encrypted, with the certificates as they are now. */
const tlsOf = (config: Resolved, { offersTls }: Greeting): Effect.Effect<TlsOptions | undefined, SqlError> => {
  const plan = config.tls
  // A server that refuses the connection does so without TLS.
  if (plan === undefined || !offersTls && !plan.isRequired) return Effect.succeed(undefined)
  const material = plan.material()
  return Result.isSuccess(material)
    ? Effect.succeed({
      verify: plan.verify,
      verifyName: plan.verifyName,
      isDemanded: plan.isRequired,
      material: material.success
    })
    : Effect.fail(connectError(config.name, `\`${material.failure.option}\` ${material.failure.problem}`, undefined))
}

interface Opened {
  readonly address: Address
  readonly socket: Socket
  readonly password: string | undefined
  readonly tls: TlsOptions | undefined
}

const authenticate = (
  driver: Driver,
  config: Resolved,
  { address, password, socket, tls }: Opened
): Effect.Effect<SideConnection["driver"], SqlError> =>
  Effect.callback((resume) => {
    // Where a driver does not accept an option it throws.
    try {
      driver.connect({
        socket,
        host: config.host,
        port: config.port,
        socketPath: "path" in address ? address.path : undefined,
        user: config.username,
        password,
        database: config.database,
        tls,
        compress: config.compress,
        allowPublicKeyRetrieval: config.allowPublicKeyRetrieval,
        connectAttributes: { program_name: config.applicationName },
        preparedStatements: config.preparedStatementCacheSize
      }, (error, connection) => {
        resume(connection === undefined ? Effect.fail(refused(config, error)) : Effect.succeed(connection))
      })
      socket.resume()
    } catch (error) {
      resume(Effect.fail(connectError(config.name, `the driver refused: ${describe(error)}`, error, false)))
    }
  })

// ---------------------------------------------------------------------------------------------------------------------
// What went wrong
// ---------------------------------------------------------------------------------------------------------------------

const refused = (config: Resolved, error: unknown): SqlError => {
  const serverError = serverErrorOf(error)
  if (serverError !== undefined) {
    const scope = ruleOfError(serverError, false)?.scope
    // A password that is asked for every time may be another one the next time.
    const mayChange = Effect.isEffect(config.password) && (serverError.errno === 1045 || serverError.errno === 1698)
    return refusedError(
      config.name,
      serverError.errno === secureTransportRequired ? withHint(serverError, tlsHint) : serverError,
      mayChange || scope === "Connect" || scope === "TransactionOnNewConnection"
    )
  }
  const problem = insecure(error) ? insecurePassword(config) : unsupportedPlugin(error) ? unsupported : describe(error)
  return connectError(config.name, `cannot connect: ${problem}`, error, !isMisconfigured(error))
}

const secureTransportRequired = 3159

const tlsHint = "set `sslmode` to \"prefer\", or to \"verify-full\" to check the certificate too"

const withHint = (error: MysqlError, hint: string): MysqlError =>
  new MysqlError({
    errno: error.errno,
    code: error.code,
    sqlState: error.sqlState,
    message: `${error.message}: ${hint}`
  })

const insecurePassword = (config: Resolved): string =>
  "the server wants the password itself, which needs a connection that is encrypted: " +
  (config.tls === undefined ? tlsHint : "the server offers no TLS, so switch it on there") +
  ", or trust the key that the server sends with `allowPublicKeyRetrieval: true`"

const unsupported = "the server wants a way to authenticate that this driver does not have: " +
  "`watertight/mariadb` has ed25519 and PARSEC"

const unsupportedPlugin = (error: unknown): boolean => {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown }
  return code === "AUTH_SWITCH_PLUGIN_ERROR" && String(message).includes("unknown plugin")
}

/** Failures that only a person can do something about: certificates, and ways to authenticate. */
const isMisconfigured = (error: unknown): boolean => {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown }
  return insecure(error) ||
    typeof code === "string" && /SSL|TLS|CERT|SELF_SIGNED|LEAF_SIGNATURE|AUTH_|_AUTH|PLUGIN/.test(code) ||
    typeof message === "string" && /self.signed|certificate/i.test(message)
}
