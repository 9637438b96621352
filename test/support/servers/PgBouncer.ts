/** A throwaway PgBouncer in front of a PostgreSQL server; it ends with the scope. */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Binaries from "./binaries.ts"
import { type ServerError, within } from "./ServerError.ts"
import * as ServerProcess from "./ServerProcess.ts"

/** What PgBouncer needs from this machine. */
export const requirement: Binaries.Requirement = {
  name: "PgBouncer",
  programs: ["pgbouncer"],
  folders: () => ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"],
  debian: { name: "pgbouncer", packages: ["pgbouncer"], programs: ["usr/sbin/pgbouncer"] },
  install: "apt-get install pgbouncer   or   brew install pgbouncer"
}

/** Starts one in front of the server of a URL, and answers the URL through it. */
export const make = Effect.fnUntraced(function*(
  url: string,
  mode: "session" | "transaction",
  settings: { readonly [name: string]: number | string } = {}
): Effect.fn.Return<string, ServerError, Scope.Scope> {
  const program = yield* Binaries.locate(requirement)
  const identity = ServerProcess.identityOf("postgres", "nobody")
  const folder = yield* ServerProcess.temporaryFolder(identity)
  const port = yield* ServerProcess.freePort
  const server = new URL(url)
  const logFile = path.join(folder, "pgbouncer.log")
  const config = path.join(folder, "pgbouncer.ini")
  fs.writeFileSync(path.join(folder, "users.txt"), `"${server.username}" ""\n`)
  fs.writeFileSync(
    config,
    `[databases]
* = host=${server.hostname} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${path.join(folder, "users.txt")}
pool_mode = ${mode}
default_pool_size = ${mode === "transaction" ? 2 : 4}
max_client_conn = 200
server_reset_query = discard all
${Object.entries(settings).map(([name, value]) => `${name} = ${value}`).join("\n")}
`
  )
  const child = yield* ServerProcess.spawn(program, [config], { identity, cwd: folder, logFile, quit: "SIGINT" })
  yield* Effect.addFinalizer(() =>
    Effect.andThen(
      Effect.sync(() => child.signal("SIGINT")),
      child.exited.pipe(
        within("10 seconds", () => "PgBouncer still runs"),
        Effect.catch(() => Effect.orDie(child.kill))
      )
    )
  )
  const through = new URL(url)
  through.hostname = "127.0.0.1"
  through.port = String(port)
  yield* ServerProcess.awaitReady(
    child,
    Effect.scoped(PgConnection.make({ url: Redacted.make(through.href), ssl: false, connectTimeout: "2 seconds" })),
    { name: "PgBouncer", logFile, timeout: 15 }
  )
  return through.href
})
