/** Who takes part, as the scenarios refer to them. */
import type { Candidate } from "../harness/model.ts"

const one = (id: string, label: string, module: string, options?: Candidate["options"]): Candidate => ({
  id,
  label,
  module,
  options
})

export const watertightPostgres = one("watertight", "Watertight", "watertight/postgres.ts")
export const watertightUnresolved = one(
  "watertight-unresolved",
  "Watertight, a lost COMMIT is not looked into",
  "watertight/postgres.ts",
  { resolve: "never" }
)
export const watertightBatch = one(
  "watertight-batch",
  "Watertight, `Batch.run`",
  "watertight/batch.ts"
)
export const multiplex = one("sql-pg-multiplex", "@effect/sql-pg, multiplex", "candidates/effect-sql-pg.ts", {
  multiplex: true
})
export const sqlPg = one("sql-pg", "@effect/sql-pg", "candidates/effect-sql-pg.ts")
export const pgPool = one("pg-pool-use", "@effect/sql-pg, PgPool.use without SqlClient", "candidates/effect-pg-pool.ts")
export const pgNamed = one("pg", "pg, pool, named statements", "candidates/pg.ts")
export const pgUnnamed = one("pg-unnamed", "pg, pool", "candidates/pg.ts", { named: false })
export const pgPipeline = one("pg-pipeline", "pg, 8 clients that pipeline", "candidates/pg-pipeline.ts")
export const pgPromise = one("pg-promise", "pg-promise", "candidates/pg-promise.ts")
export const postgresJs = one("postgres-js", "postgres.js", "candidates/postgres-js.ts")
export const postgresJs1 = one("postgres-js-1", "postgres.js, max_pipeline 1", "candidates/postgres-js.ts", {
  pipeline: 1
})
export const slonik = one("slonik", "slonik", "candidates/slonik.ts")
export const knex = one("knex", "knex", "candidates/knex.ts")
export const kysely = one("kysely", "kysely", "candidates/kysely.ts")
export const drizzlePostgres = one("drizzle", "drizzle-orm on pg", "candidates/drizzle-postgres.ts")
export const prisma = one("prisma", "Prisma over its adapter for pg", "candidates/prisma/candidate.ts")
export const effect3 = one("effect3", "Effect 3, @effect/sql-pg", "candidates/effect3/candidate.ts")
export const limitPostgres = one("limit", "raw socket, pipelined", "limit/postgres.ts")

export const watertightMariadb = one("watertight", "Watertight on the connector", "watertight/mariadb.ts")
export const watertightMysql2 = one("watertight-mysql2", "Watertight on mysql2", "watertight/mariadb.ts", {
  driver: "mysql2"
})
export const mysql2 = one("mysql2", "mysql2, pool, promises", "candidates/mysql2.ts")
export const mysql2Callbacks = one("mysql2-callbacks", "mysql2, pool, callbacks", "candidates/mysql2-callbacks.ts")
export const connector = one("mariadb", "mariadb connector, pool", "candidates/mariadb.ts")
export const connectorPipeline = one(
  "mariadb-pipeline",
  "mariadb connector, 8 connections that pipeline",
  "candidates/mariadb-pipeline.ts"
)
export const drizzleMysql = one("drizzle", "drizzle-orm on mysql2", "candidates/drizzle-mysql.ts")
export const effect3Mysql = one("effect3", "Effect 3, @effect/sql-mysql2", "candidates/effect3/candidate.ts")
export const limitMariadb = one("limit", "raw socket, pipelined", "limit/mariadb.ts")

export const watertightPool = one("watertight", "Watertight, Pool.use", "watertight/pool.ts")
export const watertightShare = one("watertight-share", "Watertight, Pool.share", "watertight/pool.ts", { how: "share" })
export const watertightReserve = one("watertight-reserve", "Watertight, Pool.reserve", "watertight/pool.ts", {
  how: "reserve"
})
export const effectPool = one("effect-pool", "Effect 4, Pool.use", "candidates/pools/effect.ts")
export const limitPool = one("limit", "an array and a queue", "limit/pool.ts")

/** Pools that can hold anything, and so can be measured without a database. */
export const pools: ReadonlyArray<Candidate> = [
  limitPool,
  watertightPool,
  effectPool,
  one("generic-pool", "generic-pool", "candidates/pools/generic-pool.ts"),
  one("pg-pool", "pg-pool", "candidates/pools/pg-pool.ts"),
  one("tarn", "tarn", "candidates/pools/tarn.ts")
]
