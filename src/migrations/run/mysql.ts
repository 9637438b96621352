/**
 * Migrations on MySQL and MariaDB.
 *
 * A definition commits, so a migration is no transaction there: it is applied statement by statement, with a journal.
 * One session has the lock and does the work, so that the work cannot outlive the lock: the server keeps the lock as
 * long as it runs a statement of a client that is gone.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { createHash } from "node:crypto"
import * as Outcome from "../../failure/Outcome.ts"
import type { Migration } from "../Migration.ts"
import * as MigrationsError from "../MigrationsError.ts"
import { mysqlWay } from "../sql/mysqlWay.ts"
import { split } from "../sql/split.ts"
import type { Probe, Subject } from "../sql/way.ts"
import type { Applied, Engine, Failure, Parts, Turn } from "./engine.ts"
import { type Journal, journalTable, type Place, type Row, toRow } from "./journal.ts"
import { applyProgram } from "./program.ts"
import { Session } from "./session.ts"
import type { Site } from "./site.ts"
import { applyStatements } from "./statements.ts"

export const makeMysql = (parts: Parts): Engine => {
  const { sql } = parts
  const read = (journal: Journal): Effect.Effect<ReadonlyArray<Row>, SqlError> =>
    journal.place.hasEffectTable || journal.place.hasJournal
      ? Effect.map(sql.unsafe(journal.readAll.text).values, (rows) => rows.map(toRow))
      : Effect.succeed([])
  return {
    locate: locate(parts),
    read,
    holder: holder(parts),
    prepare: (journal) =>
      Effect.scoped(Effect.flatMap(takeLock(parts, journal.place), (session) =>
        session === undefined
          ? Effect.succeed(false)
          : Effect.as(Effect.forEach(journal.create, (text) => session.run(text), { discard: true }), true))),
    turn: (journal) =>
      Effect.map(
        takeLock(parts, journal.place),
        (session) => session === undefined ? undefined : makeTurn(parts, session, journal)
      )
  }
}

const locate = ({ sql, table }: Parts): Effect.Effect<Place, SqlError> =>
  Effect.flatMap(
    sql.unsafe(
      `select database(),
        (select count(*) from information_schema.tables where table_schema = database() and table_name = ?),
        (select count(*) from information_schema.tables where table_schema = database() and table_name = ?),
        (select count(*) from information_schema.columns where table_schema = database() and table_name = ?
          and column_name = 'migration_id' and data_type = 'int')`,
      [table, journalTable, table]
    ).values,
    ([row]) =>
      Effect.succeed<Place>({
        dialect: "mysql",
        schema: String(row![0]),
        effectTable: table,
        hasEffectTable: Number(row![1]) > 0,
        hasJournal: Number(row![2]) > 0,
        hasSmallIds: Number(row![3]) > 0
      })
  )

/** Names of locks are those of the whole server, and not longer than 64 characters. */
const lockOf = (place: Place): string =>
  `watertight_${
    createHash("sha256").update(`migrations/${place.schema}/${place.effectTable}`).digest("hex").slice(0, 40)
  }`

const holder = (parts: Parts): Effect.Effect<string | undefined> =>
  locate(parts).pipe(
    Effect.flatMap((place) => parts.sql.unsafe("select is_used_lock(?)", [lockOf(place)]).values),
    Effect.map(([row]) => row?.[0] === null || row === undefined ? undefined : `connection ${row[0]} of the server`),
    Effect.catch(() => Effect.succeed(undefined))
  )

/** A session of its own that has the lock, until the scope closes. `undefined` if another process has it. */
const takeLock = (parts: Parts, place: Place): Effect.Effect<Session | undefined, Failure, Scope.Scope> => {
  const { adapter } = parts
  return Effect.gen(function*() {
    const connection = yield* Effect.acquireRelease(
      Effect.mapError(adapter.connect, (error) => Outcome.attach(error, "Connect", adapter.ruleOf)),
      (connection) => connection.close
    )
    const session = new Session(connection, adapter)
    const name = lockOf(place)
    const [row] = yield* session.values({ text: "select get_lock(?, 0)", params: [name] })
    if (Number(row?.[0]) !== 1) return undefined
    // A proxy may give each statement another session.
    const [mine] = yield* session.values({ text: "select is_used_lock(?) = connection_id()", params: [name] })
    if (Number(mine?.[0]) !== 1) {
      return yield* MigrationsError.failWith(
        new MigrationsError.Refused({
          problem: "a proxy gives each statement another session, so no lock can be held through it: migrate over a " +
            "connection to the server itself"
        })
      )
    }
    return session
  })
}

const makeTurn = (parts: Parts, session: Session, journal: Journal): Turn => {
  const site = makeSite(parts, session, journal)
  return {
    apply: (migration) => apply(site, journal, migration, parts),
    write: (queries) =>
      Effect.as(session.transaction(Effect.forEach(queries, (query) => session.change(query), { discard: true })), true)
  }
}

const apply = Effect.fnUntraced(function*(
  site: Site,
  journal: Journal,
  migration: Migration,
  parts: Parts
): Effect.fn.Return<Applied, Failure, SqlClient.SqlClient> {
  const { session, tell } = site
  const row = (yield* session.values(journal.readOne(migration.id))).map(toRow)[0]
  if (row?.state === "applied" || row?.state === "baseline") return "already"
  const { body, file, id, name } = migration
  yield* tell({ _tag: "Started", id, name })
  if (body._tag === "Lazy") {
    yield* applyProgram(site, migration, (yield* body.load).program, row, parts)
    return "applied"
  }
  const statements = split(body.text, "mysql")
  if (Result.isFailure(statements)) {
    return yield* MigrationsError.failWith(new MigrationsError.InvalidFile({ file, ...statements.failure }))
  }
  yield* applyStatements(site, migration, statements.success, row)
  return "applied"
})

const makeSite = (parts: Parts, session: Session, journal: Journal): Site => ({
  session,
  journal,
  ladder: parts.ladder,
  tell: parts.tell,
  wayOf: mysqlWay,
  look: (probe) => look(session, journal.place, probe),
  prelude: () => Effect.void,
  alone: (statement, _, { directives }, _run, rung) =>
    Effect.gen(function*() {
      // The server counts in seconds, and a second is the least.
      const seconds = Math.max(1, Math.ceil((directives.lockTimeout ?? rung.lockTimeout) / 1000))
      yield* session.run(`set session lock_wait_timeout = ${seconds}`)
      yield* session.run(statement.text)
    }),
  // The lock could not have been had while the server ran a statement of the session that had it.
  settle: () => Effect.void
})

const look = (session: Session, place: Place, probe: Probe): Effect.Effect<string, SqlError> =>
  Effect.map(
    Effect.forEach(probe.subjects, (subject) => session.values(query(subject, place))),
    (found) => found.map((rows) => rows.length > 0 ? "1" : "0").join("")
  )

const query = (subject: Subject, place: Place): { readonly text: string; readonly params: ReadonlyArray<string> } => {
  const schema = subject.of?.schema ?? place.schema
  const table = subject.of?.name ?? ""
  const { name } = subject
  const from = (view: string, condition: string, ...params: ReadonlyArray<string>) => ({
    text: `select 1 from information_schema.${view} where ${condition} limit 1`,
    params
  })
  switch (subject.kind) {
    case "table":
      return from("tables", "table_schema = ? and table_name = ?", schema, name)
    case "column":
      return from("columns", "table_schema = ? and table_name = ? and column_name = ?", schema, table, name)
    case "index":
      return from("statistics", "table_schema = ? and table_name = ? and index_name = ?", schema, table, name)
    case "constraint":
      return from(
        "table_constraints",
        "table_schema = ? and table_name = ? and constraint_name = ?",
        schema,
        table,
        name
      )
    case "routine":
      return from("routines", "routine_schema = ? and routine_name = ?", schema, name)
    case "trigger":
      return from("triggers", "trigger_schema = ? and trigger_name = ?", schema, name)
    case "event":
      return from("events", "event_schema = ? and event_name = ?", schema, name)
    case "database":
      return from("schemata", "schema_name = ?", name)
  }
}
