/** The servers that are measured against, with their data. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { MariadbServer, MysqlServer, PostgresServer, type ServerError } from "../../test/support/servers/index.ts"
import type { Endpoint, ServerName, Servers } from "./model.ts"

/** How many rows `item` has. */
export const items = 100_000
/** How many rows `account` has. */
export const accounts = 1000

export interface Running {
  readonly servers: Servers
  /** Their versions, for the record. */
  readonly versions: ReadonlyArray<string>
  /** Runs statements on a server, one after the other. */
  readonly execute: (server: ServerName, statements: ReadonlyArray<string>) => Effect.Effect<void, ServerError>
  /** Whether a query yields a row whose `ok` is true. */
  readonly holds: (server: ServerName, query: string) => Effect.Effect<boolean, ServerError>
}

export const start = Effect.fnUntraced(
  function*(names: ReadonlySet<ServerName>): Effect.fn.Return<Running, ServerError, Scope.Scope> {
    const [postgres, mariadb, mysql] = yield* Effect.all([
      names.has("postgres") ? startPostgres : Effect.undefined,
      names.has("mariadb") ? startMariadb : Effect.undefined,
      names.has("mysql") ? startMysql : Effect.undefined
    ], { concurrency: "unbounded" })
    const started = { postgres, mariadb, mysql }
    return {
      servers: { postgres: postgres?.endpoint, mariadb: mariadb?.endpoint, mysql: mysql?.endpoint },
      versions: [postgres, mariadb, mysql].flatMap((server) => server?.version ?? []),
      execute: (server, statements) =>
        Effect.forEach(statements, (statement) => started[server]!.execute(statement), { discard: true }),
      holds: (server, query) =>
        // The true of MySQL and MariaDB is 1.
        Effect.map(started[server]!.execute(query), ([row]) => row?.["ok"] === true || Number(row?.["ok"]) === 1)
    }
  }
)

interface Started {
  readonly endpoint: Endpoint
  readonly version: string
  readonly execute: (
    statement: string
  ) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, ServerError>
}

const startPostgres: Effect.Effect<Started, ServerError, Scope.Scope> = Effect.gen(function*() {
  const server = yield* PostgresServer.make({
    settings: {
      shared_buffers: "256MB",
      max_wal_size: "2GB",
      // It would start its work in the middle of somebody's turn.
      autovacuum: false
    }
  })
  yield* Effect.forEach(postgresData, (statement) => server.query(statement), { discard: true })
  const [row] = yield* server.query("show server_version")
  return {
    endpoint: {
      url: server.url,
      host: server.host,
      port: server.port,
      user: server.user,
      password: server.password,
      database: "postgres",
      pid: yield* server.pid
    },
    version: `PostgreSQL ${String(row?.["server_version"]).split(" ")[0]}`,
    execute: (statement) => server.query(statement)
  }
})

type FamilyServer = MariadbServer.MariadbServer | MysqlServer.MysqlServer

/** What both servers of the family have in common. */
const startFamily = Effect.fnUntraced(function*(
  name: string,
  starting: Effect.Effect<FamilyServer, ServerError, Scope.Scope>,
  data: ReadonlyArray<string>
): Effect.fn.Return<Started, ServerError, Scope.Scope> {
  const server = yield* starting
  yield* Effect.forEach(data, (statement) => server.query(statement, [], "test"), { discard: true })
  const [row] = yield* server.query("select version() as version")
  return {
    endpoint: {
      url: server.url,
      host: server.host,
      port: server.port,
      user: server.user,
      password: server.password,
      database: "test",
      pid: yield* server.pid
    },
    version: `${name} ${String(row?.["version"]).split("-")[0]}`,
    execute: (statement) => server.query(statement, [], "test")
  }
})

const familySettings = { innodb_buffer_pool_size: "256M", local_infile: true, max_allowed_packet: "64M" } as const

const startMariadb: Effect.Effect<Started, ServerError, Scope.Scope> = Effect.suspend(() =>
  startFamily("MariaDB", MariadbServer.make({ settings: familySettings }), familyData((count) => `seq_1_to_${count}`))
)

const startMysql: Effect.Effect<Started, ServerError, Scope.Scope> = Effect.suspend(() =>
  startFamily("MySQL", MysqlServer.make({ settings: familySettings }), [
    `create table numbers (seq int primary key)`,
    `insert into numbers with recursive n (seq) as (select 1 union all select seq + 1 from n where seq < ${items})
      select /*+ set_var(cte_max_recursion_depth = ${items}) */ seq from n`,
    ...familyData((count) => `numbers where seq <= ${count}`)
  ])
)

/** What is in the databases of PostgreSQL. */
export const postgresData = [
  "create table item (id int primary key, label text not null, amount int not null)",
  `insert into item select n, 'item ' || n, n % 1000 from generate_series(1, ${items}) n`,
  "create table account (id int primary key, cents int not null)",
  `insert into account select n, 1000 from generate_series(1, ${accounts}) n`,
  "create table entry (id bigint generated always as identity primary key, account int not null, cents int not null)",
  "create table bulk (id int, name text, price float8, at timestamptz, data jsonb)",
  "vacuum (analyze)",
  "checkpoint"
]

/** `numbers` is what has a column `seq` of 1 to a count. */
const familyData = (numbers: (count: number) => string): ReadonlyArray<string> => [
  "create table item (id int primary key, label varchar(100) not null, amount int not null)",
  `insert into item select seq, concat('item ', seq), seq % 1000 from ${numbers(items)}`,
  "create table account (id int primary key, cents int not null)",
  `insert into account select seq, 1000 from ${numbers(accounts)}`,
  "create table entry (id bigint auto_increment primary key, account int not null, cents int not null)",
  "create table bulk (id int, name text, price double, at datetime(3), data json)",
  "analyze table item, account"
]
