/** How many short statements a client gets done: 64 fibers or loops at a time on 8 connections. */
import { closedLoop, metricsOf } from "../harness/load.ts"
import type { Case, Job, Metrics, Scenario, ServerName } from "../harness/model.ts"
import { items } from "../harness/servers.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"
import { pgbench } from "./pgbench.ts"

const workers = 64

const run = (what: "echo" | "byKey") => async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  return metricsOf(
    await closedLoop(job, {
      style: subject.style,
      workers,
      keys: items,
      operation: subject[what]!,
      isRight: what === "echo" ? (key, value) => value === key : (key, value) => value === `item ${key}`
    })
  )
}

const columns: Case["columns"] = [
  Columns.rate,
  Columns.p50,
  Columns.p95,
  Columns.p99,
  Columns.client,
  Columns.server
]

const postgres: Pick<Case, "servers" | "candidates" | "reference" | "limit" | "columns"> = {
  servers: ["postgres"],
  reference: Who.multiplex.id,
  limit: Who.limitPostgres.id,
  columns,
  candidates: [
    Who.limitPostgres,
    Who.watertightPostgres,
    Who.multiplex,
    Who.pgPool,
    Who.sqlPg,
    Who.pgNamed,
    Who.pgUnnamed,
    Who.pgPipeline,
    Who.pgPromise,
    Who.postgresJs,
    Who.postgresJs1,
    Who.knex,
    Who.kysely,
    Who.drizzlePostgres,
    Who.prisma,
    Who.slonik,
    Who.effect3
  ]
}

const mariadb: Pick<Case, "servers" | "candidates" | "reference" | "limit" | "columns"> = {
  servers: ["mariadb"],
  reference: Who.mysql2.id,
  limit: Who.limitMariadb.id,
  columns,
  candidates: [
    Who.limitMariadb,
    Who.watertightMariadb,
    Who.watertightMysql2,
    Who.connectorPipeline,
    Who.connector,
    Who.mysql2,
    Who.mysql2Callbacks,
    Who.knex,
    Who.kysely,
    Who.drizzleMysql,
    Who.effect3Mysql
  ]
}

/** The raw socket speaks to MariaDB only. */
const mysql: typeof mariadb = {
  ...mariadb,
  servers: ["mysql"],
  limit: undefined,
  candidates: mariadb.candidates.filter((candidate) => candidate !== Who.limitMariadb)
}

const titles: Readonly<Record<ServerName, string>> = { postgres: "PostgreSQL", mariadb: "MariaDB", mysql: "MySQL" }
const load = `${workers} at a time on 8 connections`

const scenario: Scenario = {
  name: "point",
  title: "Point queries",
  cases: [
    {
      ...postgres,
      name: "postgres-echo",
      title: `${titles.postgres}: SELECT $1::int, ${load}`,
      run: run("echo"),
      beside: [pgbench("echo")]
    },
    {
      ...postgres,
      name: "postgres-key",
      title: `${titles.postgres}: one row of 100,000 by primary key, ${load}`,
      run: run("byKey"),
      beside: [pgbench("byKey")]
    },
    { ...mariadb, name: "mariadb-echo", title: `${titles.mariadb}: SELECT ?, ${load}`, run: run("echo") },
    {
      ...mariadb,
      name: "mariadb-key",
      title: `${titles.mariadb}: one row of 100,000 by primary key, ${load}`,
      run: run("byKey")
    },
    { ...mysql, name: "mysql-echo", title: `${titles.mysql}: SELECT ?, ${load}`, run: run("echo") },
    {
      ...mysql,
      name: "mysql-key",
      title: `${titles.mysql}: one row of 100,000 by primary key, ${load}`,
      run: run("byKey")
    }
  ]
}

export default scenario
