/** Where migrations are applied to see what they make: an embedded PostgreSQL, or a database that is dropped again. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { randomBytes } from "node:crypto"
import { reachOf } from "../../drift/reach.ts"
import * as Introspection from "../../introspection/Introspection.ts"
import type { Migration } from "../../migrations/Migration.ts"
import * as Migrations from "../../migrations/Migrations.ts"
import type { MigrationsError } from "../../migrations/MigrationsError.ts"
import type { InvalidOptions } from "../../options/InvalidOptions.ts"
import { type Database, databaseOf } from "../database.ts"
import { describe, Usage } from "../problems.ts"
import type { Progress } from "../progress.ts"

type Failure = SqlError | InvalidOptions | MigrationsError | Usage

/** What a migration reaches beyond its database. */
class Reach {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/**
 * Makes a shadow and applies the migrations in it. It is gone with the scope.
 *
 * - `auto`: PGlite for PostgreSQL, and a database on the server where PGlite cannot do it; a database on the server for
 *   MySQL and MariaDB.
 * - `pglite`, `database`: that one.
 * - a URL: a database on that server, where migrations may do what they like.
 */
export const shadow = (
  live: Redacted.Redacted,
  where: string,
  migrations: ReadonlyArray<Migration>,
  bar: Progress
): Effect.Effect<Database, Failure, Scope.Scope> =>
  Effect.gen(function*() {
    if (where === "pglite") return yield* embedded(migrations, bar)
    if (where === "database") return yield* throwaway(live, true, migrations, bar)
    if (where !== "auto") return yield* throwaway(Redacted.make(where), false, migrations, bar)
    if (!/^(?:postgres|pglite)/.test(Redacted.value(live))) return yield* throwaway(live, true, migrations, bar)
    const isEmbedded = Redacted.value(live).startsWith("pglite")
    return yield* embedded(migrations, bar).pipe(
      Effect.catch((error) =>
        isEmbedded
          ? Effect.fail(error)
          : Effect.andThen(
            bar.line(`… PGlite cannot do it, so a database on the server is made: ${describe(error).message}`),
            throwaway(live, true, migrations, bar)
          )
      )
    )
  })

const apply = (database: Database, migrations: ReadonlyArray<Migration>, bar: Progress) => {
  let done = 0
  const onEvent = (event: Migrations.Event): Effect.Effect<void> =>
    event._tag === "Started"
      ? bar.now(`${event.id}_${event.name}, in the shadow`)
      : event._tag === "Applied"
      ? bar.of(migrations.length, ++done)
      : Effect.void
  return Effect.andThen(
    bar.of(migrations.length, 0),
    Migrations.run({ loader: Effect.succeed(migrations), onEvent }).pipe(Effect.provideContext(database))
  )
}

/** Builds a layer for the whole scope, so that what runs in it finds the same database. */
const build = (url: Redacted.Redacted): Effect.Effect<Database, Failure, Scope.Scope> =>
  Effect.flatMap(databaseOf(url), (layer) => Layer.build(layer))

const embedded = Effect.fnUntraced(function*(
  migrations: ReadonlyArray<Migration>,
  bar: Progress
): Effect.fn.Return<Database, Failure, Scope.Scope> {
  yield* bar.now("PGlite starts")
  const database = yield* build(Redacted.make("pglite:"))
  yield* apply(database, migrations, bar)
  return database
})

const throwaway = Effect.fnUntraced(function*(
  server: Redacted.Redacted,
  isGuarded: boolean,
  migrations: ReadonlyArray<Migration>,
  bar: Progress
): Effect.fn.Return<Database, Failure, Scope.Scope> {
  const isPostgres = Redacted.value(server).startsWith("postgres")
  const dialect = isPostgres ? "postgres" : "mysql"
  const others = isGuarded ? yield* Effect.scoped(othersOf(server)) : new Set<string>()
  if (isGuarded) {
    for (const { body, file } of migrations) {
      const reach = body._tag === "Sql" ? reachOf(body.text, dialect, others) : undefined
      if (reach !== undefined) return yield* refuse(`${file} reaches ${reach}`)
    }
  }
  yield* bar.now("a database is made for the shadow")
  const name = `watertight_shadow_${randomBytes(6).toString("hex")}`
  const url = new URL(Redacted.value(server))
  const home = decodeURIComponent(url.pathname.slice(1))
  yield* Effect.acquireRelease(
    Effect.scoped(execute(server, yield* createText(server, isPostgres, name, home))),
    () =>
      Effect.scoped(execute(server, `drop database ${name}${isPostgres ? " with (force)" : ""}`)).pipe(
        Effect.catch((error) =>
          Console.error(`warning: the database ${name} is still there: ${describe(error).message}`)
        )
      )
  )
  url.pathname = `/${name}`
  const database = yield* build(Redacted.make(url.href))
  // Code can send anything, so each of its statements is looked at.
  const guard: Statement.Transformer = (statement) => {
    const reach = reachOf(statement.compile(true)[0], dialect, others)
    return reach === undefined ? Effect.succeed(statement) : Effect.die(new Reach(reach))
  }
  yield* apply(database, migrations, bar).pipe(
    isGuarded ? Effect.provideService(Statement.CurrentTransformer, guard) : (self) => self,
    Effect.catchDefect((defect) =>
      defect instanceof Reach ? refuse(`a migration in code reaches ${defect.text}`) : Effect.die(defect)
    )
  )
  return database
})

const refuse = (problem: string): Effect.Effect<never, Usage> =>
  Effect.fail(
    new Usage({
      problem: `${problem}, which a shadow on the same server would change: ` +
        "name a server where it may, with `--shadow <URL>`"
    })
  )

const execute = (server: Redacted.Redacted, statement: string): Effect.Effect<void, Failure, Scope.Scope> =>
  Effect.flatMap(build(server), (database) =>
    Effect.asVoid(
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement).unprepared).pipe(
        Effect.provideContext(database)
      )
    ))

/** The databases of a server, its own among them. */
const othersOf = (server: Redacted.Redacted): Effect.Effect<ReadonlySet<string>, Failure, Scope.Scope> =>
  Effect.flatMap(build(server), (database) =>
    Effect.map(
      Effect.flatMap(Introspection.Introspection, (db) => db.databases).pipe(Effect.provideContext(database)),
      (names) => new Set([...names.map((name) => name.toLowerCase()), "mysql", "sys"])
    ))

/** The statement that makes the database, with the letters and the order of the live one. */
const createText = Effect.fnUntraced(function*(
  server: Redacted.Redacted,
  isPostgres: boolean,
  name: string,
  home: string
): Effect.fn.Return<string, Failure, Scope.Scope> {
  if (isPostgres) return `create database ${name} template template0`
  const rows = yield* Effect.flatMap(
    build(server),
    (database) =>
      Effect.flatMap(
        SqlClient.SqlClient,
        (sql) =>
          sql<{ charset: string; collation: string }>`select default_character_set_name as charset,
        default_collation_name as collation from information_schema.schemata where schema_name = ${home}`
      ).pipe(
        Effect.provideContext(database)
      )
  )
  const [row] = rows
  return `create database ${name}${row === undefined ? "" : ` character set ${row.charset} collate ${row.collation}`}`
})
