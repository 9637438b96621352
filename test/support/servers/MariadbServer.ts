/** A throwaway MariaDB server. */
import * as Effect from "effect/Effect"
import * as path from "node:path"
import * as Binaries from "./binaries.ts"
import * as Family from "./mysqlFamily.ts"
import { ServerError } from "./ServerError.ts"
import * as ServerProcess from "./ServerProcess.ts"

export type { Options, Server as MariadbServer, Settings, TlsOptions } from "./mysqlFamily.ts"

/** What MariaDB needs from this machine. */
export const requirement: Binaries.Requirement = {
  name: "MariaDB",
  programs: ["mariadbd"],
  folders: () => [
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local/sbin",
    "/usr/local/mysql/bin",
    ...Binaries.versioned("/opt/homebrew/opt", /^mariadb(@[\d.]+)?$/, "bin"),
    ...Binaries.versioned("/usr/local/opt", /^mariadb(@[\d.]+)?$/, "bin")
  ],
  debian: {
    name: "mariadb",
    packages: ["mariadb-server-core", "mariadb-client-core", "mariadb-server", "galera-4"],
    programs: [
      "usr/sbin/mariadbd",
      "usr/bin/mariadb",
      "usr/bin/mariadb-install-db",
      "usr/bin/my_print_defaults",
      "usr/bin/resolveip",
      // What a node of a cluster copies the data of another one with, and what that script asks.
      "usr/bin/rsync",
      "usr/bin/ps",
      "usr/bin/ss"
    ],
    baseOption: { name: "--basedir", programs: ["mariadbd", "mariadb-install-db"] }
  },
  install: "apt-get install mariadb-server   or   brew install mariadb",
  variable: "WATERTIGHT_TEST_MARIADB_URL"
}

const createData = (program: string, target: string, identity: ServerProcess.Identity) => {
  const installer = Binaries.which(["mariadb-install-db", "mysql_install_db"], [
    path.dirname(program),
    path.join(path.dirname(program), "../bin"),
    path.join(path.dirname(program), "../scripts")
  ])
  return installer === undefined
    ? Effect.fail(new ServerError({ message: `Found ${program} but not mariadb-install-db, which belongs to it` }))
    : ServerProcess.run(installer, [
      "--no-defaults",
      `--datadir=${target}`,
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      // The template is copied for every server: small is fast.
      "--innodb-flush-method=nosync",
      "--innodb-log-file-size=8M"
    ], { identity, timeout: 180 })
}

const flavour: Family.Flavour = {
  requirement,
  template: "mariadb",
  // A commit is handed to the system before it is confirmed (innodb_flush_log_at_trx_commit = 2), so it survives a
  // SIGKILL of the server; only a crash of the machine could lose it.
  settings: {
    innodb_flush_log_at_trx_commit: 2,
    innodb_flush_method: "nosync",
    innodb_buffer_pool_size: "64M",
    max_connections: 300,
    skip_name_resolve: true,
    performance_schema: false
  },
  createData,
  beforeUsers: [],
  forgets: false
}

/** Starts a server; it ends with the scope, and with this process. */
export const make = (options?: Family.Options) => Family.make(flavour, options)
