/**
 * A throwaway PostgreSQL server: started from local binaries on a free port of 127.0.0.1, in a temporary folder, and
 * gone with its scope. It can be stopped, killed, paused, restarted, followed by a standby and promoted.
 */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Binaries from "./binaries.ts"
import * as Certificates from "./certificates.ts"
import { explain, live, ServerError, within } from "./ServerError.ts"
import * as ServerProcess from "./ServerProcess.ts"

/** What a throwaway server looks like. Everything has a default. */
export interface Options {
  /** Settings of `postgresql.conf`, on top of those that make a test server fast. */
  readonly settings?: Readonly<Record<string, string | number | boolean>> | undefined
  /** A fixed port instead of a free one. */
  readonly port?: number | undefined
  /** The superuser's password. With one, connections over TCP need it; without, everybody is trusted. */
  readonly password?: string | undefined
  /** How the password is asked for. `scram-sha-256` when nothing is said. */
  readonly authentication?: "scram-sha-256" | "md5" | "password" | undefined
  /** TLS, with certificates made for this server. */
  readonly tls?: boolean | TlsOptions | undefined
}

/** How a server with TLS behaves. */
export interface TlsOptions {
  /** Refuse connections without TLS. */
  readonly required?: boolean | undefined
  /** Demand a client certificate made out to the user. Implies `required`. */
  readonly clientCertificate?: boolean | undefined
  /** What the server's certificate is made out to; `localhost` and `127.0.0.1` when nothing is said. */
  readonly names?: ReadonlyArray<string> | undefined
}

/**
 * How PostgreSQL is asked to stop: `smart` waits until the last client has left, `fast` ends the clients and then shuts
 * down in order, `immediate` leaves at once and recovers at the next start.
 */
export type StopMode = "smart" | "fast" | "immediate"

/** Whom a standby follows, and how. */
export interface Source {
  readonly host: string
  readonly port: number
  /** The name of the standby in `pg_stat_replication` and `synchronous_standby_names`. */
  readonly name?: string | undefined
}

/** A throwaway PostgreSQL server and its controls. Every wait is bounded. */
export interface PostgresServer {
  readonly host: string
  /** The same after every restart. */
  readonly port: number
  readonly user: string
  readonly password: string | undefined
  /** The URL of the database `postgres`. It says nothing of TLS. */
  readonly url: string
  /** The URL of another database of this server. */
  readonly databaseUrl: (database: string) => string
  readonly certificates: Certificates.Certificates | undefined
  readonly dataFolder: string
  /** The server's major version. */
  readonly version: number
  /** The last lines of the server's log. */
  readonly log: Effect.Effect<string>
  /** The postmaster's process id, while the server runs. */
  readonly pid: Effect.Effect<number | undefined>
  /**
   * Runs one statement as superuser, on a connection of its own through the Unix socket: it needs no password, no TLS,
   * and no proxy, and leaves nothing behind.
   */
  readonly query: (
    statement: string,
    parameters?: ReadonlyArray<unknown>,
    database?: string
  ) => Effect.Effect<ReadonlyArray<PgConnection.Row>, ServerError>
  /** Starts a server that was stopped or killed, on the same port and data. */
  readonly start: Effect.Effect<void, ServerError>
  readonly stop: (mode?: StopMode) => Effect.Effect<void, ServerError>
  readonly restart: (mode?: StopMode) => Effect.Effect<void, ServerError>
  /** `SIGKILL` for the postmaster and every backend at once. */
  readonly kill: Effect.Effect<void, ServerError>
  /** `SIGSTOP`: connections stay, and nothing answers any more. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** A read-only standby that follows this server. */
  readonly standby: (options?: {
    readonly settings?: Options["settings"]
    readonly from?: Source | undefined
  }) => Effect.Effect<PostgresServer, ServerError, Scope.Scope>
  /** Throws the data of this server away and makes it a standby of another one, on the same port. */
  readonly follow: (from: Source) => Effect.Effect<void, ServerError>
  /** Makes a standby a server of its own; returns when it takes writes. */
  readonly promote: Effect.Effect<void, ServerError>
}

/** What PostgreSQL needs from this machine. */
export const requirement: Binaries.Requirement = {
  name: "PostgreSQL",
  programs: ["postgres"],
  folders: () => [
    ...Binaries.versioned("/usr/lib/postgresql", /^\d/, "bin"),
    ...Binaries.versioned("/usr", /^pgsql-\d/, "bin"),
    "/usr/local/pgsql/bin",
    ...Binaries.versioned("/opt/homebrew/opt", /^postgresql(@\d+)?$/, "bin"),
    ...Binaries.versioned("/usr/local/opt", /^postgresql(@\d+)?$/, "bin"),
    ...Binaries.versioned("/Applications/Postgres.app/Contents/Versions", /^\d/, "bin")
  ],
  debian: {
    name: "postgresql",
    packages: ["postgresql"],
    programs: ["usr/lib/postgresql/*/bin"]
  },
  npm: true,
  install: "apt-get install postgresql   or   brew install postgresql",
  variable: "WATERTIGHT_TEST_POSTGRES_URL"
}

/** The program that makes a standby. The build out of npm has none. */
export const canFollow: Effect.Effect<string, ServerError> = Effect.flatMap(Binaries.locate(requirement), (program) => {
  const file = path.join(path.dirname(program), "pg_basebackup")
  return fs.existsSync(file) ? Effect.succeed(file) : Effect.fail(
    new ServerError({ message: `${path.dirname(program)} has no pg_basebackup, without which there is no standby` })
  )
})

const host = "127.0.0.1"
const user = "postgres"
const settingsFile = "watertight.conf"

const signals = { smart: "SIGTERM", fast: "SIGINT", immediate: "SIGQUIT" } as const

/** Starts a server; it ends with the scope, and with this process. */
export const make = Effect.fnUntraced(
  function*(options: Options = {}): Effect.fn.Return<PostgresServer, ServerError, Scope.Scope> {
    const programs = path.dirname(yield* Binaries.locate(requirement))
    const identity = ServerProcess.identityOf("postgres", "nobody")
    const folder = yield* ServerProcess.temporaryFolder(identity)
    const dataFolder = path.join(folder, "data")
    yield* ServerProcess.copyTemplate({
      name: "postgres",
      program: programs,
      target: dataFolder,
      identity,
      create: (target) => createData(programs, target, identity)
    })
    const tls = options.tls === true ? {} : options.tls === false ? undefined : options.tls
    const certificates = tls === undefined ? undefined : yield* Certificates.make({
      folder: path.join(folder, "tls"),
      identity,
      names: tls.names ?? ["DNS:localhost", `IP:${host}`],
      user
    })
    fs.writeFileSync(path.join(dataFolder, "pg_hba.conf"), hostRules(options, tls))
    const server = yield* open({
      programs,
      identity,
      folder,
      dataFolder,
      port: options.port,
      password: options.password,
      certificates,
      settings: {
        ...(certificates === undefined ? {} : {
          ssl: true,
          ssl_ca_file: certificates.ca,
          ssl_cert_file: certificates.serverCertificate,
          ssl_key_file: certificates.serverKey
        }),
        ...(options.authentication === undefined || options.authentication === "password" ? {} : {
          password_encryption: options.authentication
        }),
        ...options.settings
      }
    })
    if (options.password !== undefined) {
      yield* server.query(`alter role ${user} password '${options.password.replaceAll("'", "''")}'`)
    }
    return server
  }
)

const createData = Effect.fnUntraced(function*(
  programs: string,
  target: string,
  identity: ServerProcess.Identity
): Effect.fn.Return<void, ServerError> {
  const names = ["-U", user, "--auth=trust", "--encoding=UTF8", "--locale=C"]
  // Small WAL files: the template is copied for every server, and 15 of its 39 MB would be an empty one.
  const speed = ["--no-sync", "--wal-segsize=1"]
  yield* ServerProcess.run(path.join(programs, "initdb"), ["-D", target, ...names, ...speed], { identity })
  fs.appendFileSync(path.join(target, "postgresql.conf"), `\ninclude '${settingsFile}'\n`)
})

// The Unix socket is always trusted: it is the tests' own way in, and lies in a folder that only they can reach. So are
// standbys, of which nobody tests how they log in.
const hostRules = (options: Options, tls: TlsOptions | undefined): string => {
  const method = options.password === undefined ? "trust" : options.authentication ?? "scram-sha-256"
  const kind = tls?.required === true || tls?.clientCertificate === true ? "hostssl" : "host"
  const certificate = tls?.clientCertificate === true ? "clientcert=verify-full" : ""
  return [
    "local all all trust",
    "local replication all trust",
    `host replication all ${host}/32 trust`,
    `${kind} all all ${host}/32 ${method} ${certificate}`,
    ""
  ].join("\n")
}

// What makes a throwaway server fast. Nothing here weakens what a client is promised as long as the machine itself
// stays up: a commit is in the system's cache before it is confirmed, so it survives a SIGKILL of every process.
const fastSettings = {
  fsync: false,
  full_page_writes: false,
  shared_buffers: "32MB",
  max_connections: 300,
  max_wal_size: "256MB",
  wal_keep_size: "64MB",
  log_line_prefix: "%m [%p] "
}

interface Data {
  readonly programs: string
  readonly identity: ServerProcess.Identity
  readonly folder: string
  readonly dataFolder: string
  readonly port: number | undefined
  readonly password: string | undefined
  readonly certificates: Certificates.Certificates | undefined
  readonly settings: Readonly<Record<string, string | number | boolean>>
}

/** Asks a server as its superuser, on a connection of its own. The host may be the folder of its Unix socket. */
export const ask =
  (address: { readonly host: string; readonly port: number }): PostgresServer["query"] =>
  (statement, parameters = [], database = "postgres") =>
    PgConnection.make({ ...address, username: user, database, ssl: false, connectTimeout: "5 seconds" }).pipe(
      Effect.flatMap((connection) => connection.query(statement, parameters)),
      Effect.map((result) => result.rows),
      Effect.scoped,
      Effect.mapError((cause) => new ServerError({ message: `${statement}: ${explain(cause)}`, cause })),
      within("30 seconds", () => `No answer in 30 s: ${statement}`)
    )

/** Runs a server on a data folder that is ready. */
const open = Effect.fnUntraced(function*(data: Data): Effect.fn.Return<PostgresServer, ServerError, Scope.Scope> {
  const logFile = path.join(data.folder, "server.log")
  let process: ServerProcess.ServerProcess | undefined
  let port = 0

  const takePort = (chosen: number) => {
    port = chosen
    const settings = {
      ...fastSettings,
      ...data.settings,
      listen_addresses: host,
      port,
      unix_socket_directories: data.folder
    }
    fs.writeFileSync(
      path.join(data.dataFolder, settingsFile),
      Object.entries(settings).map(([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'\n`).join("")
    )
  }

  const query: PostgresServer["query"] = (...question) => ask({ host: data.folder, port })(...question)

  const isRunning = () => process !== undefined && process.isRunning()

  const start = Effect.gen(function*() {
    if (isRunning()) {
      return
    }
    process = yield* ServerProcess.spawn(path.join(data.programs, "postgres"), ["-D", data.dataFolder], {
      identity: data.identity,
      cwd: data.folder,
      logFile,
      quit: signals.immediate
    })
    yield* ServerProcess.awaitReady(process, query("select 1"), { name: "PostgreSQL", logFile, timeout: 30 })
  })

  const stop = Effect.fnUntraced(function*(mode: StopMode = "fast"): Effect.fn.Return<void, ServerError> {
    if (process === undefined || !process.isRunning()) {
      return
    }
    process.signal(signals[mode])
    yield* process.resume
    yield* process.exited.pipe(
      within("20 seconds", () => `PostgreSQL still runs 20 s after a ${mode} stop\n${ServerProcess.tailOf(logFile)}`)
    )
  })

  const kill = Effect.suspend(() => process === undefined || !process.isRunning() ? Effect.void : process.kill)

  // Before the first start, so that nothing can fall between the start and the finalizer.
  yield* Effect.addFinalizer(() => stop("immediate").pipe(Effect.catch(() => kill), Effect.orDie))

  const startOnFreePort = Effect.gen(function*() {
    takePort(yield* ServerProcess.freePort)
    yield* start
  })
  if (data.port === undefined) {
    // Somebody else may take the port between our look and the server's start.
    yield* Effect.retry(startOnFreePort, { times: 5, while: (error) => /Address already in use/.test(error.message) })
  } else {
    takePort(data.port)
    yield* start
  }

  const databaseUrl = (database: string) =>
    `postgres://${user}${data.password === undefined ? "" : ":" + encodeURIComponent(data.password)}@${host}:${port}/${
      encodeURIComponent(database)
    }`

  return {
    host,
    port,
    user,
    password: data.password,
    url: databaseUrl("postgres"),
    databaseUrl,
    certificates: data.certificates,
    dataFolder: data.dataFolder,
    version: Number(fs.readFileSync(path.join(data.dataFolder, "PG_VERSION"), "utf8").trim()),
    log: Effect.sync(() => ServerProcess.tailOf(logFile)),
    pid: Effect.sync(() => isRunning() ? process?.pid : undefined),
    query,
    start,
    stop,
    restart: (mode) => Effect.andThen(stop(mode), start),
    kill,
    pause: Effect.suspend(() => process?.pause ?? Effect.void),
    resume: Effect.suspend(() => process?.resume ?? Effect.void),
    standby: ({ from = { host, port }, settings } = {}) => standbyOf(data, from, settings),
    follow: Effect.fnUntraced(function*(from: Source) {
      yield* stop("immediate")
      fs.rmSync(data.dataFolder, { recursive: true, force: true })
      yield* copyFrom(data, from)
      takePort(port)
      yield* start
    }),
    promote: query("select pg_promote(true, 20)").pipe(
      Effect.flatMap(() => query("select pg_is_in_recovery() as following")),
      Effect.flatMap(([row]) =>
        row?.["following"] === false
          ? Effect.void
          : Effect.fail(new ServerError({ message: "The standby is still in recovery 20 s after pg_promote" }))
      )
    )
  }
})

const standbyOf = Effect.fnUntraced(function*(
  primary: Data,
  from: Source,
  settings: Options["settings"]
): Effect.fn.Return<PostgresServer, ServerError, Scope.Scope> {
  const folder = yield* ServerProcess.temporaryFolder(primary.identity)
  const standby = { ...primary, folder, dataFolder: path.join(folder, "data") }
  yield* copyFrom(standby, from)
  return yield* open({ ...standby, port: undefined, settings: { ...primary.settings, ...settings } })
}, live)

/** Fills the data folder of a standby. */
const copyFrom = (standby: Data, { host, name = "standby", port }: Source) => {
  const from = ["-d", `host=${host} port=${port} user=${user} application_name=${name}`]
  const how = ["-R", "-X", "stream", "-c", "fast", "--no-sync", "--no-manifest"]
  return ServerProcess.run(path.join(standby.programs, "pg_basebackup"), ["-D", standby.dataFolder, ...from, ...how], {
    identity: standby.identity
  })
}
