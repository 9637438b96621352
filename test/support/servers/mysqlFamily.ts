/**
 * Throwaway servers of MySQL and MariaDB: on a free port of 127.0.0.1, in a temporary folder, and gone with their scope.
 * They can be stopped, killed, paused and restarted. What differs between the two is a `Flavour`.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as mariadb from "mariadb"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Binaries from "./binaries.ts"
import * as Certificates from "./certificates.ts"
import { explain, ServerError, within } from "./ServerError.ts"
import * as ServerProcess from "./ServerProcess.ts"

/** What a throwaway server looks like. Everything has a default. */
export interface Options {
  /** System variables, with underscores or dashes, on top of those that make a test server fast. Asked at every start. */
  readonly settings?: Settings | (() => Settings) | undefined
  /** The folder with the data of a server that was stopped, to begin with. */
  readonly dataFrom?: string | undefined
  /** A fixed port instead of a free one. */
  readonly port?: number | undefined
  /** The password of the user `watertight`; `watertight` when nothing is said. */
  readonly password?: string | undefined
  /** TLS, with certificates made for this server. */
  readonly tls?: boolean | TlsOptions | undefined
}

/** System variables; a list where an option is given more than once. */
export type Settings = Readonly<Record<string, string | number | boolean | ReadonlyArray<string>>>

/** How a server with TLS behaves. */
export interface TlsOptions {
  /** Refuse the user's connections without TLS. */
  readonly required?: boolean | undefined
  /** Demand a client certificate of our authority. Implies `required`. */
  readonly clientCertificate?: boolean | undefined
  /** What the server's certificate is made out to; `localhost` and `127.0.0.1` when nothing is said. */
  readonly names?: ReadonlyArray<string> | undefined
}

/** A throwaway server and its controls. Every wait is bounded. */
export interface Server {
  readonly host: string
  /** The same after every restart. */
  readonly port: number
  /** A user with all privileges. */
  readonly user: string
  readonly password: string
  /** The URL of the database `test`. It says nothing of TLS. */
  readonly url: string
  /** The URL of another database of this server. */
  readonly databaseUrl: (database: string) => string
  readonly certificates: Certificates.Certificates | undefined
  readonly dataFolder: string
  /** The last lines of the server's log. */
  readonly log: Effect.Effect<string>
  /** The server's process id, while it runs. */
  readonly pid: Effect.Effect<number | undefined>
  /** Runs one statement as root, on a connection of its own through the Unix socket. */
  readonly query: (
    statement: string,
    parameters?: ReadonlyArray<unknown>,
    database?: string
  ) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, ServerError>
  /**
   * Logs a user in. MySQL remembers until it stops who has done so; whom it does not remember must send the password
   * through TLS or be given a key.
   */
  readonly logIn: (user: string, password: string) => Effect.Effect<void, ServerError>
  /** Starts a server that was stopped or killed, on the same port and data. */
  readonly start: Effect.Effect<void, ServerError>
  /** Ends the clients and shuts down in order. */
  readonly stop: Effect.Effect<void, ServerError>
  readonly restart: Effect.Effect<void, ServerError>
  /** `SIGKILL`. */
  readonly kill: Effect.Effect<void, ServerError>
  /** `SIGSTOP`: connections stay, and nothing answers any more. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Kills the server, and starts it with the data that it began with. */
  readonly startAfresh: Effect.Effect<void, ServerError>
}

/** What differs between MySQL and MariaDB. */
export interface Flavour {
  readonly requirement: Binaries.Requirement
  /** The name of its template of data. */
  readonly template: string
  /** What makes a throwaway server fast, and what it cannot run without. */
  readonly settings: Settings
  /** Makes a folder of data in which `root` has no password. */
  readonly createData: (
    program: string,
    target: string,
    identity: ServerProcess.Identity
  ) => Effect.Effect<unknown, ServerError>
  /** Comes before the statements that make the users, at each start. */
  readonly beforeUsers: ReadonlyArray<string>
  /** Whether it forgets at each stop who has logged in. */
  readonly forgets: boolean
}

const host = "127.0.0.1"
const user = "watertight"

/** The statements that make the user of the tests and its database. */
const initSql = (flavour: Flavour, password: string, requires: string): string =>
  [
    ...flavour.beforeUsers,
    "create database if not exists test;",
    `create user if not exists '${user}'@'%' identified by '${password.replaceAll("'", "''")}' ${requires};`,
    `grant all privileges on *.* to '${user}'@'%' with grant option;`,
    ""
  ].join("\n")

/** Runs statements as `root`, each over a connection of its own. */
const queryOver = (socketPath: string): Server["query"] => (statement, parameters = [], database) =>
  Effect.acquireUseRelease(
    Effect.tryPromise(() =>
      mariadb.createConnection({
        socketPath,
        user: "root",
        connectTimeout: 5000,
        ...(database === undefined ? {} : { database })
      })
    ),
    (connection) => Effect.tryPromise(() => connection.query(statement, [...parameters])),
    (connection) => Effect.sync(() => connection.destroy())
  ).pipe(
    Effect.mapError(({ cause }) => new ServerError({ message: `${statement}: ${explain(cause)}`, cause })),
    Effect.map((rows): ReadonlyArray<Readonly<Record<string, unknown>>> => Array.isArray(rows) ? rows : []),
    within("30 seconds", () => `No answer in 30 s: ${statement}`)
  )

/** Starts a server; it ends with the scope, and with this process. */
export const make = Effect.fnUntraced(
  function*(flavour: Flavour, options: Options = {}): Effect.fn.Return<Server, ServerError, Scope.Scope> {
    const { name } = flavour.requirement
    const program = yield* Binaries.locate(flavour.requirement)
    const identity = ServerProcess.identityOf("mysql", "nobody")
    const folder = yield* ServerProcess.temporaryFolder(identity)
    const dataFolder = path.join(folder, "data")
    const socket = path.join(folder, "server.sock")
    const logFile = path.join(folder, "server.log")
    const password = options.password ?? "watertight"
    const { dataFrom } = options
    const fill = dataFrom === undefined
      ? ServerProcess.copyTemplate({
        name: flavour.template,
        program,
        target: dataFolder,
        identity,
        create: (target) => flavour.createData(program, target, identity)
      })
      : ServerProcess.run("cp", ["-Rp", dataFrom, dataFolder], { identity })
    yield* fill
    const tls = options.tls === true ? {} : options.tls === false ? undefined : options.tls
    const certificates = tls === undefined ? undefined : yield* Certificates.make({
      folder: path.join(folder, "tls"),
      identity,
      names: tls.names ?? ["DNS:localhost", `IP:${host}`],
      user
    })

    // Runs at every start before the first client is let in.
    const initFile = path.join(folder, "init.sql")
    const requires = tls?.clientCertificate === true ? "require x509" : tls?.required === true ? "require ssl" : ""
    fs.writeFileSync(initFile, initSql(flavour, password, requires))

    let process: ServerProcess.ServerProcess | undefined
    let port = 0

    const settings = (): ReadonlyArray<string> =>
      Object.entries({
        ...flavour.settings,
        ...(certificates === undefined ? {} : {
          ssl_ca: certificates.ca,
          ssl_cert: certificates.serverCertificate,
          ssl_key: certificates.serverKey
        }),
        ...(typeof options.settings === "function" ? options.settings() : options.settings),
        datadir: dataFolder,
        // A server that starts removes the temporary tables of all others in the same folder.
        tmpdir: folder,
        bind_address: host,
        port,
        socket,
        pid_file: path.join(folder, "server.pid"),
        // The users come with the data.
        ...(dataFrom === undefined ? { init_file: initFile } : {})
      }).flatMap(([name, value]) =>
        (Array.isArray(value) ? value : [value]).map((each) => `--${name.replaceAll("_", "-")}=${wordOf(each)}`)
      )

    const query = queryOver(socket)

    const logIn: Server["logIn"] = (user, password) =>
      Effect.tryPromise(() =>
        mariadb.createConnection({
          host,
          port,
          user,
          password,
          connectTimeout: 5000,
          allowPublicKeyRetrieval: true
        })
      )
        .pipe(
          Effect.andThen((connection) => Effect.sync(() => connection.destroy())),
          Effect.mapError(({ cause }) => new ServerError({ message: `Logging in: ${explain(cause)}`, cause }))
        )

    const isRunning = () => process !== undefined && process.isRunning()

    const start = Effect.gen(function*() {
      if (isRunning()) {
        return
      }
      process = yield* ServerProcess.spawn(program, ["--no-defaults", ...settings()], {
        identity,
        cwd: folder,
        logFile,
        quit: "SIGKILL"
      })
      yield* ServerProcess.awaitReady(process, query("select 1"), { name, logFile, timeout: 60 })
      if (flavour.forgets && requires === "") yield* logIn(user, password)
    })

    const stop = Effect.suspend(() => {
      if (process === undefined || !process.isRunning()) {
        return Effect.void
      }
      process.signal("SIGTERM")
      return Effect.andThen(process.resume, process.exited)
    }).pipe(
      within("20 seconds", () => `${name} still runs 20 s after SIGTERM\n${ServerProcess.tailOf(logFile)}`)
    )

    const kill = Effect.suspend(() => process === undefined || !process.isRunning() ? Effect.void : process.kill)

    // Before the first start, so that nothing can fall between the start and the finalizer. The data is thrown away:
    // there is nothing to shut down in order.
    yield* Effect.addFinalizer(() => Effect.orDie(kill))

    const startOnFreePort = Effect.gen(function*() {
      port = yield* ServerProcess.freePort
      yield* start
    })
    if (options.port === undefined) {
      // Somebody else may take the port between our look and the server's start.
      yield* Effect.retry(startOnFreePort, { times: 5, while: (error) => /Address already in use/.test(error.message) })
    } else {
      port = options.port
      yield* start
    }

    const databaseUrl = (database: string) =>
      `mysql://${user}:${encodeURIComponent(password)}@${host}:${port}/${encodeURIComponent(database)}`

    return {
      host,
      port,
      user,
      password,
      url: databaseUrl("test"),
      databaseUrl,
      certificates,
      dataFolder,
      log: Effect.sync(() => ServerProcess.tailOf(logFile)),
      pid: Effect.sync(() => isRunning() ? process?.pid : undefined),
      query,
      logIn,
      start,
      stop,
      restart: Effect.andThen(stop, start),
      kill,
      pause: Effect.suspend(() => process?.pause ?? Effect.void),
      resume: Effect.suspend(() => process?.resume ?? Effect.void),
      startAfresh: kill.pipe(
        Effect.andThen(Effect.sync(() => fs.rmSync(dataFolder, { recursive: true, force: true }))),
        Effect.andThen(fill),
        Effect.andThen(start)
      )
    }
  }
)

const wordOf = (value: string | number | boolean): string | number => value === true ? 1 : value === false ? 0 : value

/** A copy of the data of a server that was stopped, for others to begin with. It goes with the scope. */
export const copyData = Effect.fnUntraced(
  function*({ dataFolder }: Server): Effect.fn.Return<string, ServerError, Scope.Scope> {
    const identity = ServerProcess.identityOf("mysql", "nobody")
    const copy = path.join(yield* ServerProcess.temporaryFolder(identity), "data")
    yield* ServerProcess.run("cp", ["-Rp", dataFolder, copy], { identity })
    // Each server of MySQL makes an identity for itself.
    fs.rmSync(path.join(copy, "auto.cnf"), { force: true })
    return copy
  }
)
