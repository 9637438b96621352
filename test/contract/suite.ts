/** What the sections of the contract are written with. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Capability, Dialect, Services } from "./dialects/dialects.ts"

/** The URL of the database that the tests of a file share. */
export class Place extends Context.Service<Place, string>()("test/contract/Place") {}

type Add = <E>(name: string, body: () => Effect.Effect<void, E, Services | Place | Scope.Scope>) => void

/** Adds a test; one that needs something is left out where that is not to be had. */
export interface Test extends Add {
  readonly needing: (...capabilities: ReadonlyArray<Capability>) => Add
}

export type Section = (test: Test, dialect: Dialect) => void

/** How many connections a database has, at most. */
export const connections = 4

let tables = 0

/** Makes a table of one's own, and names it. */
export const table = (columns: string): Effect.Effect<string, SqlError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const name = `t${++tables}`
    yield* sql.unsafe(`create table ${name} (${columns})`)
    return name
  })

/** The numbers in the first column of a table, in order. */
export const ids = (table: string): Effect.Effect<ReadonlyArray<number>, SqlError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql`select id from ${sql(table)} order by id`.values
    return rows.map((row) => Number(row[0]))
  })

const running = (dialect: Dialect, text: string, until: (sessions: ReadonlyArray<unknown>) => boolean) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    while (true) {
      const sessions = (yield* sql.unsafe(dialect.running(text)).values).map((row) => row[0])
      if (until(sessions)) return sessions
      yield* Effect.sleep("5 millis")
    }
  })

/** Waits until another session runs a statement that contains a text, and says which. */
export const whenRunning = (dialect: Dialect, text: string): Effect.Effect<unknown, SqlError, SqlClient.SqlClient> =>
  Effect.map(running(dialect, text, (sessions) => sessions.length > 0), (sessions) => sessions[0])

/** Waits until no other session does. */
export const whenStopped = (dialect: Dialect, text: string): Effect.Effect<void, SqlError, SqlClient.SqlClient> =>
  Effect.asVoid(running(dialect, text, (sessions) => sessions.length === 0))
