/** A throwaway MySQL server. */
import * as Binaries from "./binaries.ts"
import * as Family from "./mysqlFamily.ts"
import * as ServerProcess from "./ServerProcess.ts"

export type { Options, Server as MysqlServer, Settings, TlsOptions } from "./mysqlFamily.ts"

/** What MySQL needs from this machine. */
export const requirement: Binaries.Requirement = {
  name: "MySQL",
  // That of MariaDB has this name too, as a link to `mariadbd`.
  programs: ["mysqld"],
  folders: () => [
    "/usr/sbin",
    "/usr/local/mysql/bin",
    ...Binaries.versioned("/opt/homebrew/opt", /^mysql(@[\d.]+)?$/, "bin"),
    ...Binaries.versioned("/usr/local/opt", /^mysql(@[\d.]+)?$/, "bin")
  ],
  debian: {
    name: "mysql",
    packages: ["mysql-server-core", "mysql-client-core"],
    programs: ["usr/sbin/mysqld", "usr/bin/mysql", "usr/bin/mysqladmin"],
    // No other release of Debian has it.
    release: "sid",
    baseOption: { name: "--basedir", programs: ["mysqld"] }
  },
  install: "from https://dev.mysql.com/downloads   or   brew install mysql",
  variable: "WATERTIGHT_TEST_MYSQL_URL"
}

// The folder for files that is built in does not exist where the server was unpacked.
const files = { secure_file_priv: "NULL", mysqlx: "OFF" }

const flavour: Family.Flavour = {
  requirement,
  template: "mysql",
  // As for MariaDB: a commit survives a SIGKILL of the server, and not a crash of the machine.
  settings: {
    ...files,
    innodb_flush_log_at_trx_commit: 2,
    innodb_flush_method: "nosync",
    sync_binlog: 0,
    innodb_redo_log_capacity: "8M",
    innodb_buffer_pool_size: "64M",
    innodb_buffer_pool_load_at_startup: false,
    innodb_buffer_pool_dump_at_shutdown: false,
    max_connections: 300,
    skip_name_resolve: true,
    // Functions of tests need not say what they do to the binary log.
    log_bin_trust_function_creators: true,
    // Of what it can measure, tests look at the state of transactions.
    performance_schema_instrument: ["%=OFF", "transaction=ON"]
  },
  createData: (program, target, identity) =>
    ServerProcess.run(program, [
      "--no-defaults",
      "--initialize-insecure",
      `--datadir=${target}`,
      ...Object.entries(files).map(([name, value]) => `--${name.replaceAll("_", "-")}=${value}`),
      // The template is copied for every server: small is fast.
      "--innodb-flush-method=nosync",
      "--innodb-redo-log-capacity=8M",
      "--disable-log-bin"
    ], { identity, timeout: 180 }),
  // What a member of a group writes without the group keeps it from coming back.
  beforeUsers: ["set sql_log_bin = 0;"],
  forgets: true
}

/** Starts a server; it ends with the scope, and with this process. */
export const make = (options?: Family.Options) => Family.make(flavour, options)
