/** Transactions: three statements that do not disturb each other, and transfers that do. */
import { closedLoop, metricsOf } from "../harness/load.ts"
import type { Case, Job, Metrics, Scenario } from "../harness/model.ts"
import { accounts, items } from "../harness/servers.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"

const workers = 32

const threeStatements = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  return metricsOf(
    await closedLoop(job, {
      style: subject.style,
      workers,
      keys: items,
      operation: subject.transaction!,
      isRight: (key, value) => value === key % 1000
    })
  )
}

const transfers = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  let attempts = 0
  const measured = await closedLoop(job, {
    style: subject.style,
    workers: 16,
    keys: items,
    operation: subject.transfer!,
    isRight: (_, value) => Number(value) >= 1,
    observe: (value) => {
      attempts += Number(value)
    }
  })
  return { ...metricsOf(measured), attempts: attempts / measured.count }
}

const columns: Case["columns"] = [
  { ...Columns.rate, label: "committed per second" },
  Columns.p50,
  Columns.p99,
  Columns.client,
  Columns.server
]

const scenario: Scenario = {
  name: "transaction",
  title: "Transactions",
  cases: [
    {
      name: "postgres",
      title: `PostgreSQL: BEGIN, SELECT, UPDATE, INSERT, COMMIT; ${workers} at a time on 8 connections`,
      servers: ["postgres"],
      reference: Who.sqlPg.id,
      limit: Who.limitPostgres.id,
      columns,
      prepare: { postgres: ["truncate entry", "vacuum account", "checkpoint"] },
      candidates: [
        Who.limitPostgres,
        Who.watertightPostgres,
        Who.watertightUnresolved,
        Who.watertightBatch,
        Who.multiplex,
        Who.sqlPg,
        Who.pgNamed,
        Who.pgPromise,
        Who.postgresJs,
        Who.knex,
        Who.kysely,
        Who.drizzlePostgres,
        Who.prisma,
        Who.slonik,
        Who.effect3
      ],
      run: threeStatements
    },
    {
      name: "mariadb",
      title: `MariaDB: START TRANSACTION, SELECT, UPDATE, INSERT, COMMIT; ${workers} at a time on 8 connections`,
      servers: ["mariadb"],
      reference: Who.mysql2.id,
      limit: Who.limitMariadb.id,
      columns,
      prepare: { mariadb: ["truncate entry"] },
      candidates: [
        Who.limitMariadb,
        Who.watertightMariadb,
        Who.watertightMysql2,
        Who.connector,
        Who.mysql2,
        Who.knex,
        Who.kysely,
        Who.drizzleMysql,
        Who.effect3Mysql
      ],
      run: threeStatements
    },
    {
      name: "mysql",
      title: `MySQL: START TRANSACTION, SELECT, UPDATE, INSERT, COMMIT; ${workers} at a time on 8 connections`,
      servers: ["mysql"],
      reference: Who.mysql2.id,
      columns,
      prepare: { mysql: ["truncate entry"] },
      candidates: [
        Who.watertightMariadb,
        Who.watertightMysql2,
        Who.connector,
        Who.mysql2,
        Who.knex,
        Who.kysely,
        Who.drizzleMysql,
        Who.effect3Mysql
      ],
      run: threeStatements
    },
    {
      name: "serializable",
      title:
        "PostgreSQL: SERIALIZABLE transfers between 50 accounts, repeated until committed; 16 at a time on 8 connections",
      servers: ["postgres"],
      reference: Who.pgNamed.id,
      columns: [...columns, { key: "attempts", label: "attempts each", format: "count", better: "lower" }],
      prepare: { postgres: ["update account set cents = 1000", "vacuum account"] },
      // Nothing may be lost and nothing doubled.
      verify: { postgres: `select sum(cents) = ${accounts * 1000} as ok from account` },
      candidates: [
        Who.watertightPostgres,
        Who.multiplex,
        Who.sqlPg,
        { ...Who.pgNamed, label: "pg, a retry loop written by hand" },
        { ...Who.postgresJs, label: "postgres.js, a retry loop written by hand" }
      ],
      run: transfers
    }
  ]
}

export default scenario
