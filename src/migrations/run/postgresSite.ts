/** What is special to PostgreSQL where a migration is applied statement by statement. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Migration } from "../Migration.ts"
import * as MigrationsError from "../MigrationsError.ts"
import type { Rung } from "../plan/ladder.ts"
import { postgresWay } from "../sql/postgresWay.ts"
import type { Statement } from "../sql/split.ts"
import type { Probe, Subject } from "../sql/way.ts"
import type { Parts } from "./engine.ts"
import type { Journal } from "./journal.ts"
import type { Session } from "./session.ts"
import { now, type Site } from "./site.ts"

/** The limits of a migration, for its transaction only. */
export const limits = ({ directives }: Migration, rung: Rung): string =>
  `select pg_catalog.set_config('lock_timeout', '${directives.lockTimeout ?? rung.lockTimeout}', true), ` +
  `pg_catalog.set_config('statement_timeout', '${directives.statementTimeout ?? 0}', true)`

export const makeSite = (parts: Parts, session: Session, journal: Journal): Site => ({
  session,
  journal,
  ladder: parts.ladder,
  tell: parts.tell,
  wayOf: postgresWay,
  look: (probe) => look(session, probe),
  prelude: (migration, rung) => session.run(limits(migration, rung)),
  alone: (statement, way, { directives }, run) =>
    Effect.gen(function*() {
      // An index is built beside the work of others, which its waiting does not hold up: only the file limits it.
      yield* session.run(`set lock_timeout = ${directives.lockTimeout ?? 0}`)
      yield* session.run(`set statement_timeout = ${directives.statementTimeout ?? 0}`)
      const clear = way.builds !== undefined
        ? dropUnusable(session, way.builds.table, way.builds.index)
        : isReindex(statement)
        ? dropLeftOver(session)
        : Effect.void
      yield* clear
      yield* Effect.tapError(session.run(`/* ${tag(run)} */ ${statement.text}`), () => Effect.ignore(clear))
    }),
  settle: (run) => settle(session, run)
})

/** By this the statements of a run are known among all that the server runs. */
const tag = (run: string): string => `watertight ${run}`

const look = (session: Session, probe: Probe): Effect.Effect<string, SqlError> =>
  Effect.map(Effect.forEach(probe.subjects, (subject) => lookFor(session, subject)), (signs) => signs.join(""))

/** `1` if it is there, `i` if it is there and cannot be used, `0` if it is not. */
const lookFor = (session: Session, subject: Subject): Effect.Effect<string, SqlError> =>
  subject.kind === "database"
    ? Effect.map(
      session.values({ text: "select 1 from pg_catalog.pg_database where datname = $1", params: [subject.name] }),
      (rows) => rows.length > 0 ? "1" : "0"
    )
    : Effect.map(
      indexes(session, subject.of ?? { schema: undefined, name: "" }, subject.name),
      ([row]) => row === undefined ? "0" : row.valid ? "1" : "i"
    )

interface Place {
  readonly schema: string | undefined
  readonly name: string
}

/** An index by the table that it is of, or by its schema, or where names are looked up. */
const indexes = (
  session: Session,
  table: Place,
  index: string
): Effect.Effect<ReadonlyArray<{ readonly valid: boolean; readonly quoted: string }>, SqlError> =>
  Effect.map(
    session.values({
      text: `select i.indisvalid and i.indisready, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
        from pg_catalog.pg_index i
        join pg_catalog.pg_class c on c.oid = i.indexrelid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        join pg_catalog.pg_class t on t.oid = i.indrelid
        where c.relname = $1 and ($2 = '' or t.relname = $2)
          and (n.nspname = $3 or $3 = '' and (pg_catalog.pg_table_is_visible(t.oid) or $2 = '' and pg_catalog.pg_table_is_visible(c.oid)))`,
      params: [index, table.name, table.schema ?? ""]
    }),
    (rows) => rows.map((row) => ({ valid: row[0] === true, quoted: String(row[1]) }))
  )

/** An index whose building was cut off is there, costs every write, and serves nobody. */
const dropUnusable = (session: Session, table: Place, index: string): Effect.Effect<void, SqlError> =>
  Effect.flatMap(indexes(session, table, index), ([found]) =>
    found === undefined || found.valid
      ? Effect.void
      : session.run(`drop index concurrently if exists ${found.quoted}`))

const isReindex = ({ tokens }: Statement): boolean =>
  tokens[0]?.text === "REINDEX" && tokens.some(({ kind, text }) => kind === "word" && text === "CONCURRENTLY")

/** What a REINDEX CONCURRENTLY that was cut off has left beside the index, unless somebody still builds it. */
const dropLeftOver = (session: Session): Effect.Effect<void, SqlError> =>
  Effect.flatMap(
    session.values({
      text: `select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
        from pg_catalog.pg_index i
        join pg_catalog.pg_class c on c.oid = i.indexrelid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where not i.indisvalid and c.relname ~ '_cc(new|old)[0-9]*$' and n.nspname !~ '^pg_toast'
          and not exists (select from pg_catalog.pg_stat_progress_create_index p where p.index_relid = c.oid)`,
      params: []
    }),
    (rows) =>
      Effect.forEach(rows, ([name]) => session.run(`drop index concurrently if exists ${String(name)}`), {
        discard: true
      })
  )

/** The server goes on with a statement whose client is gone. */
const settle = (session: Session, run: string): Effect.Effect<void, SqlError | MigrationsError.MigrationsError> =>
  Effect.flatMap(now, (startedAt) => {
    const ask: Effect.Effect<void, SqlError | MigrationsError.MigrationsError> = Effect.gen(function*() {
      const [row] = yield* session.values({
        text: `select pid::text from pg_catalog.pg_stat_activity
          where state = 'active' and pid <> pg_backend_pid() and starts_with(query, $1)`,
        params: [`/* ${tag(run)} */`]
      })
      if (row === undefined) return
      const waitedMillis = (yield* now) - startedAt
      if (waitedMillis > settleLimit) {
        return yield* MigrationsError.failWith(
          new MigrationsError.Busy({
            waitedMillis,
            holder: `process ${row[0]} of the server, which still runs a statement of a process that has ended`
          })
        )
      }
      yield* Effect.sleep("200 millis")
      yield* ask
    })
    return ask
  })

/** How long a statement that was left behind is waited for, in milliseconds. An index may be large. */
const settleLimit = 3_600_000
