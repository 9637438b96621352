/** The databases that migrations are tested on. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Mariadb } from "watertight/mariadb"
import { Migrations, type MigrationsError } from "watertight/migrations"
import { Mysql } from "watertight/mysql"
import { Pglite } from "watertight/pglite"
import { Postgres } from "watertight/postgres"
import { freshDatabase, type SharedServer } from "../support/index.ts"

/** A layer over a database at a URL. */
export const layerAt = (url: string) => {
  const options = { url: Redacted.make(url) }
  return url.startsWith("postgres")
    ? Postgres.layer(options)
    : url.startsWith("mariadb")
    ? Mariadb.layer(options)
    : Mysql.layer(options)
}

/** It takes seconds to start, so all tests of a file have the same, and find it empty. */
const pglite = ManagedRuntime.make(Pglite.layer())

const emptyPglite = Layer.effectContext(Effect.flatMap(pglite.contextEffect, (context) =>
  Effect.as(
    Effect.provideContext(
      Effect.flatMap(SqlClient.SqlClient, (sql) =>
        Effect.andThen(
          sql.unsafe("drop schema public cascade").unprepared,
          sql.unsafe("create schema public").unprepared
        )),
      context
    ),
    context
  )))

const emptyOn = (server: SharedServer, scheme: string) =>
  Layer.unwrap(Effect.map(freshDatabase(server), (url) => layerAt(url.replace(/^\w+:/, `${scheme}:`))))

/** Each has an empty database of its own. */
export const databases = [
  {
    name: "PostgreSQL",
    needs: ["url-postgresql"],
    isPostgres: true,
    layer: emptyOn("postgresql", "postgres")
  },
  { name: "PGlite", needs: [], isPostgres: true, layer: emptyPglite },
  { name: "MariaDB", needs: ["url-mariadb"], isPostgres: false, layer: emptyOn("mariadb", "mariadb") },
  { name: "MariaDB over mysql2", needs: ["url-mariadb"], isPostgres: false, layer: emptyOn("mariadb", "mysql") },
  { name: "MySQL", needs: ["url-mysql"], isPostgres: false, layer: emptyOn("mysql", "mysql") },
  { name: "MySQL over mariadb", needs: ["url-mysql"], isPostgres: false, layer: emptyOn("mysql", "mariadb") }
] as const

/** The tables of the current schema, in order, without those of the migrations themselves. */
export const tables = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const schema = sql.onDialectOrElse({ pg: () => "current_schema()", orElse: () => "database()" })
  const rows = yield* sql.unsafe(
    `select table_name from information_schema.tables where table_schema = ${schema} order by table_name`
  ).values
  return rows.map(([name]) => String(name)).filter((name) => !/^(?:effect_sql|watertight)_migrations$/.test(name))
})

/** The ids in the table of Effect's `Migrator`. */
export const recorded = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql.unsafe("select migration_id from effect_sql_migrations order by migration_id").values
  return rows.map(([id]) => Number(id))
})

/** Applies migrations that are part of the test. */
export const migrate = (
  migrations: Parameters<typeof Migrations.fromRecord>[0],
  options: Partial<Migrations.Options> = {}
) => Migrations.run({ loader: Migrations.fromRecord(migrations), onEvent: () => Effect.void, ...options })

/** The reason why migrations were refused or failed. */
export const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    const { _tag, reason } = error as unknown as MigrationsError.MigrationsError
    return _tag === "MigrationsError" ? reason : { _tag: String(error) } as never
  })

/** The text of a migration. */
export const text = (content: string) => ({ _tag: "Sql" as const, text: content })
