/**
 * A database for each test, in the time that copying a small one takes.
 *
 * **When to use**
 *
 * Use `layer` where a test needs a database of its own, as production has it: with its isolation levels, its keys and
 * its locks. Use `rollback` where tests may share one and only their writes must go.
 *
 * **Details**
 *
 * `layer` migrates a template once, and gives each build of the layer a copy of it, which is dropped with the scope. On
 * PostgreSQL the server copies files (`create database … template …`); on MySQL and MariaDB the tables are made and
 * filled anew. A template with a `version` stays on the server and serves later runs and other processes. One without a
 * version serves this layer, and is dropped by a run that comes an hour later.
 *
 * **Example** (A database per test file)
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect, Redacted } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Postgres } from "watertight/postgres"
 * import { TestDatabase } from "watertight/testing"
 *
 * const migrate = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table person (id int primary key)`)
 *
 * const Live = TestDatabase.layer({
 *   url: Redacted.make("postgres://postgres@localhost/postgres"),
 *   database: (url) => Postgres.layer({ url }),
 *   migrate
 * })
 *
 * it.layer(Live)("people", (it) => {
 *   it.effect("are counted", () =>
 *     Effect.gen(function*() {
 *       const sql = yield* SqlClient.SqlClient
 *       yield* sql`insert into person values (1)`
 *       assert.lengthOf(yield* sql`select id from person`, 1)
 *     }).pipe(TestDatabase.rollback))
 * })
 * ```
 *
 * @since 0.2.0
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { rmSync } from "node:fs"
import * as files from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import * as Retry from "../failure/Retry.ts"
import * as Transaction from "../transaction/Transaction.ts"
import { cloneMysql } from "./cloneMysql.ts"

/**
 * How test databases are made.
 *
 * @category options
 * @since 0.2.0
 */
export interface Options<Out, E, R, EM, RM> {
  /** A database on the server, as a user who may create databases. What is in it is not touched. */
  readonly url: Redacted.Redacted<string>
  /** The layer of a database, as the program has it, for another URL. */
  readonly database: (url: Redacted.Redacted<string>) => Layer.Layer<Out | SqlClient, E, R>
  /** Makes what the tests need: tables, and rows that all of them read. */
  readonly migrate: Effect.Effect<unknown, EM, RM>
  /**
   * A text that changes when `migrate` does, for example the checksum of the migrations. The template stays on the server
   * and is used again for the same text. Default: none; the template is made anew for this layer.
   */
  readonly version?: string | undefined
}

/**
 * A layer whose every build has a database of its own, a copy of the migrated template. It is dropped with the scope.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = <Out, E, R, EM, RM>(
  options: Options<Out, E, R, EM, RM>
): Layer.Layer<Out | SqlClient, E | EM | SqlError, R | Exclude<RM, Out | SqlClient>> => {
  let template: string | undefined
  return Layer.unwrap(Effect.gen(function*() {
    const admin = yield* administrator(options)
    if (template === undefined) template = yield* makeTemplate(admin, options)
    const name = yield* newName("watertight_test")
    yield* Effect.acquireRelease(
      copy(admin, template, name),
      () => Effect.ignore(drop(admin, name))
    )
    // Layers of one program are shared by reference: each build needs one of its own.
    return Layer.fresh(options.database(withDatabase(options.url, name)))
  })) as Layer.Layer<Out | SqlClient, E | EM | SqlError, R | Exclude<RM, Out | SqlClient>>
}

/**
 * How embedded test databases are made.
 *
 * @category options
 * @since 0.2.0
 */
export interface EmbeddedOptions<Out, E, R, EM, RM> {
  /** The layer of an embedded database that keeps its data in a folder, such as `Pglite.layer({ dataDir })`. */
  readonly database: (folder: string) => Layer.Layer<Out | SqlClient, E, R>
  /** Makes what the tests need: tables, and rows that all of them read. */
  readonly migrate: Effect.Effect<unknown, EM, RM>
}

/**
 * The same without a server: a layer whose every build has an embedded database of its own, a copy of the migrated one.
 *
 * **Details**
 *
 * The template is started and migrated once for this layer. A copy is a folder that is gone with the scope, and starts in
 * less than half of the time, because it need not be made from nothing.
 *
 * **Example** (A database per test file)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Pglite } from "watertight/pglite"
 * import { TestDatabase } from "watertight/testing"
 *
 * const Live = TestDatabase.embedded({
 *   database: (dataDir) => Pglite.layer({ dataDir }),
 *   migrate: Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table person (id int primary key)`)
 * })
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const embedded = <Out, E, R, EM, RM>(
  options: EmbeddedOptions<Out, E, R, EM, RM>
): Layer.Layer<Out | SqlClient, E | EM, R | Exclude<RM, Out | SqlClient>> => {
  let template: string | undefined
  const newFolder = Effect.acquireRelease(
    Effect.promise(() => files.mkdtemp(path.join(os.tmpdir(), "watertight-test-"))),
    (folder) => Effect.promise(() => files.rm(folder, { recursive: true, force: true }))
  )
  return Layer.unwrap(Effect.gen(function*() {
    if (template === undefined) {
      const made = yield* Effect.promise(() => files.mkdtemp(path.join(os.tmpdir(), "watertight-template-")))
      process.once("exit", () => rmSync(made, { recursive: true, force: true }))
      yield* options.migrate.pipe(Effect.provide(Layer.fresh(options.database(made))))
      template = made
    }
    const folder = yield* newFolder
    yield* Effect.promise(() => files.cp(template!, folder, { recursive: true }))
    return Layer.fresh(options.database(folder))
  })) as Layer.Layer<Out | SqlClient, E | EM, R | Exclude<RM, Out | SqlClient>>
}

/**
 * Runs an effect in a transaction that is rolled back, whatever the effect does.
 *
 * **Details**
 *
 * Transactions inside become savepoints, whatever isolation, nesting or idempotency key they ask for, so that the program
 * under test needs no change. The exit is that of the effect.
 *
 * **Gotchas**
 *
 * What the program does only at COMMIT does not happen: deferred constraints, `afterCommit`, notifications. A transaction
 * that fails is not repeated. On MySQL and MariaDB a statement that commits by itself, such as DDL, is refused. Use a
 * database of its own, with `layer`, where that matters.
 *
 * @category combinators
 * @since 0.2.0
 */
export const rollback = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R | SqlClient | Transaction.Manager> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const manager = yield* Transaction.Manager
    let exit: Exit.Exit<A, E> | undefined
    const inside: Transaction.Manager = {
      ...manager,
      run: (effect) => sql.withTransaction(effect)
    }
    const body = Effect.provideService(self, Transaction.Manager, inside)
    const undone = yield* Effect.exit(
      manager.run(
        Effect.flatMap(Effect.exit(body), (ended) => {
          exit = ended
          return Effect.fail(new Undo())
        }),
        { retry: Retry.never }
      )
    )
    if (exit !== undefined) return yield* exit
    // The transaction could not begin.
    return yield* Exit.isFailure(undone) ? Effect.failCause(undone.cause as Cause.Cause<SqlError>) : Effect.interrupt
  })

/** Ends the transaction of `rollback`. */
class Undo {
  readonly _tag = "Undo"
}

/** The client of the server, on the database of the URL. It lives as long as the scope. */
const administrator = <Out, E, R>(
  { database, url }: {
    readonly url: Redacted.Redacted<string>
    readonly database: Options<Out, E, R, any, any>["database"]
  }
) => Effect.flatMap(Layer.build(Layer.fresh(database(url))), (context) => Effect.provide(SqlClient, context))

const makeTemplate = <Out, E, R, EM, RM>(admin: SqlClient, options: Options<Out, E, R, EM, RM>) =>
  Effect.gen(function*() {
    const { version } = options
    const hour = Math.floor((yield* Clock.currentTimeMillis) / 3_600_000)
    if (version === undefined) yield* dropOld(admin, hour)
    const key = version === undefined ? undefined : `watertight_template_${hash(version)}`
    const known = key === undefined ? undefined : yield* published(admin, key)
    if (known !== undefined) return known
    // It has a name that nobody asks for until it is whole: a process that dies meanwhile leaves no half a template.
    const name = yield* newName(key === undefined ? `${temporary}${hour}` : unpublished)
    yield* create(admin, name)
    yield* options.migrate.pipe(
      Effect.provide(Layer.fresh(options.database(withDatabase(options.url, name)))),
      Effect.tapCause(() => Effect.ignore(drop(admin, name)))
    )
    return key === undefined ? name : yield* publish(admin, name, key)
  })

/** What the names of templates with a version begin with, until or, on MySQL and MariaDB, also when they are whole. */
const unpublished = "watertight_made"

/** The template that has been published under a key. */
const published = (sql: SqlClient, key: string): Effect.Effect<string | undefined, SqlError> =>
  sql.onDialectOrElse({
    mysql: () =>
      Effect.map(
        sql`select schema_name from information_schema.schemata where left(schema_name, ${
          key.length + 1
        }) = ${`${key}_`}`
          .values,
        ([row]) => row === undefined ? undefined : `${unpublished}_${String(row[0]).slice(key.length + 1)}`
      ),
    orElse: () =>
      Effect.map(sql`select 1 from pg_database where datname = ${key}`, (rows) => rows.length > 0 ? key : undefined)
  })

/**
 * Publishes a template that is whole, in one step; of two who do so at a time, both have one.
 *
 * PostgreSQL copies a database in one step. MySQL and MariaDB do not, and know no other name for a database: there an
 * empty database says with its name where the template is.
 */
const publish = (sql: SqlClient, name: string, key: string): Effect.Effect<string, SqlError> =>
  sql.onDialectOrElse({
    mysql: () => Effect.as(create(sql, `${key}_${name.slice(unpublished.length + 1)}`), name),
    orElse: () =>
      copy(sql, name, key).pipe(
        Effect.catch((error) =>
          Effect.flatMap(published(sql, key), (there) => there === undefined ? Effect.fail(error) : Effect.void)
        ),
        Effect.andThen(Effect.ignore(drop(sql, name))),
        Effect.as(key)
      )
  })

/** What the names of templates without a version begin with. The hour in which they were made follows. */
const temporary = "watertight_temporary_"

/** Drops what runs of earlier hours have left. A process that ends has no time to do it itself. */
const dropOld = (sql: SqlClient, hour: number): Effect.Effect<void, SqlError> =>
  Effect.gen(function*() {
    const rows = yield* sql.onDialectOrElse({
      mysql: () => sql`select schema_name from information_schema.schemata`.values,
      orElse: () => sql`select datname from pg_database`.values
    })
    for (const [name] of rows) {
      const made = new RegExp(`^${temporary}(\\d+)_`).exec(String(name))?.[1]
      if (made !== undefined && Number(made) < hour - 1) yield* Effect.ignore(drop(sql, String(name)))
    }
  })

const create = (sql: SqlClient, name: string): Effect.Effect<void, SqlError> =>
  Effect.asVoid(sql`create database ${sql(name)}`)

const drop = (sql: SqlClient, name: string): Effect.Effect<void, SqlError> =>
  Effect.asVoid(sql.onDialectOrElse({
    mysql: () => sql`drop database if exists ${sql(name)}`,
    // Connections that a test has left open do not keep it.
    orElse: () => sql`drop database if exists ${sql(name)} with (force)`
  }))

const copy = (sql: SqlClient, from: string, to: string): Effect.Effect<void, SqlError> =>
  sql.onDialectOrElse({
    mysql: () => Effect.andThen(create(sql, to), cloneMysql(sql, from, to)),
    // The server refuses while the connections of the migration are still going away.
    orElse: () =>
      Effect.asVoid(sql`create database ${sql(to)} template ${sql(from)}`).pipe(
        Effect.retry({ schedule: Retry.fullJitter({ base: "20 millis", cap: "200 millis", times: 50 }), while: isBusy })
      )
  })

const isBusy = (error: SqlError): boolean => (error.reason.cause as { readonly code?: unknown })?.code === "55006"

const newName = (prefix: string): Effect.Effect<string> =>
  Effect.map(Random.next, (random) => `${prefix}_${random.toString(36).slice(2, 12)}`)

/** FNV-1a: a name, not a proof. */
const hash = (text: string): string => {
  let value = 0x811c9dc5
  for (const character of text) value = Math.imul(value ^ character.codePointAt(0)!, 0x01000193) >>> 0
  return value.toString(36)
}

const withDatabase = (url: Redacted.Redacted<string>, name: string): Redacted.Redacted<string> => {
  const changed = new URL(Redacted.value(url))
  changed.pathname = `/${name}`
  return Redacted.make(changed.href)
}
