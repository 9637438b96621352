/**
 * Migrations on PostgreSQL and PGlite.
 *
 * A migration is one transaction with its entry in the journal, under an advisory lock of that transaction: it holds
 * through every pooler, and ends with the process. One without a transaction has a second connection whose transaction
 * has the lock, and whose snapshot nobody has to wait for. The lock is never waited for inside the server: a session that
 * waits there has a snapshot, and CREATE INDEX CONCURRENTLY of the one that holds the lock would wait for it.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { createHash, randomUUID } from "node:crypto"
import * as Outcome from "../../failure/Outcome.ts"
import * as Retry from "../../failure/Retry.ts"
import type { Migration, Program } from "../Migration.ts"
import * as MigrationsError from "../MigrationsError.ts"
import type { Rung } from "../plan/ladder.ts"
import { postgresWay } from "../sql/postgresWay.ts"
import { split, type Statement } from "../sql/split.ts"
import { climb } from "./climb.ts"
import type { Applied, Engine, Failure, Parts, Turn } from "./engine.ts"
import { type Journal, journalTable, type Place, type Query, type Row, toRow } from "./journal.ts"
import { limits, makeSite } from "./postgresSite.ts"
import { isPassing, Session } from "./session.ts"
import { now } from "./site.ts"
import { applyStatements, checkWays, wordsOf } from "./statements.ts"

/** Another process has the lock. */
const busy = Symbol.for("watertight/migrations/busy")

export const makePostgres = (parts: Parts): Engine => {
  const { sql } = parts
  const read = (journal: Journal): Effect.Effect<ReadonlyArray<Row>, SqlError> =>
    journal.place.hasEffectTable || journal.place.hasJournal
      ? Effect.map(values(sql, journal.readAll), (rows) => rows.map(toRow))
      : Effect.succeed([])
  return {
    locate: locate(parts),
    read,
    holder: holder(parts),
    prepare: (journal) =>
      Effect.matchEffect(
        locked(
          parts,
          keyOf(journal.place),
          Effect.forEach(journal.create, (text) => sql.unsafe(text).unprepared, { discard: true })
        ),
        {
          onFailure: (error) => error === busy ? Effect.succeed(false) : Effect.fail(error),
          onSuccess: () => Effect.succeed(true)
        }
      ),
    turn: (journal) => Effect.succeed(makeTurn(parts, journal))
  }
}

/** A statement of the journal on the connection of the transaction, or on one of the pool. */
const values = (
  sql: SqlClient.SqlClient,
  query: Query
): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> =>
  sql.unsafe(query.text, query.params as ReadonlyArray<never>).values

const locate = ({ sql, table }: Parts): Effect.Effect<Place, SqlError> =>
  Effect.map(
    values(sql, {
      text: `select coalesce((select n.nspname from pg_catalog.pg_class c
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where c.oid = coalesce(to_regclass(quote_ident($1)), to_regclass(quote_ident($2)))), current_schema(), 'public')::text as schema,
        to_regclass(quote_ident($1)) is not null, to_regclass(quote_ident($2)) is not null,
        exists (select 1 from pg_catalog.pg_attribute where attrelid = to_regclass(quote_ident($1))
          and attname = 'migration_id' and atttypid = 'int4'::regtype)`,
      params: [table, journalTable]
    }),
    ([row]) => ({
      dialect: "postgres",
      schema: String(row![0]),
      effectTable: table,
      hasEffectTable: row![1] === true,
      hasJournal: row![2] === true,
      hasSmallIds: row![3] === true
    })
  )

/** The advisory lock of a journal, as a signed number of 64 bits. */
const keyOf = (place: Place): string =>
  createHash("sha256").update(`watertight/migrations/${place.schema}/${place.effectTable}`).digest()
    .readBigInt64BE(0).toString()

const holder = ({ sql, table }: Parts): Effect.Effect<string | undefined> =>
  locate({ sql, table } as Parts).pipe(
    Effect.flatMap((place) =>
      values(sql, {
        text: `select a.pid::text, a.application_name, a.xact_start::text from pg_catalog.pg_locks l
          join pg_catalog.pg_stat_activity a on a.pid = l.pid
          where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
          and (l.classid::bigint << 32 | l.objid::bigint) = $1::text::bigint`,
        params: [keyOf(place)]
      })
    ),
    Effect.map(([row]) =>
      row === undefined ? undefined : `process ${row[0]} of the server, ${row[1]}, since ${row[2]}`
    ),
    Effect.catch(() => Effect.succeed(undefined))
  )

const tryLock = (key: string): string => `select pg_catalog.pg_try_advisory_xact_lock('${key}'::bigint)`

/** A transaction that only holds the lock is idle for as long as an index is built. */
const noIdleLimit = "set local idle_in_transaction_session_timeout = 0"

/** Does something in a transaction that has the lock, or fails with `busy`. */
const locked = <A, E, R>(
  { sql, transactions }: Parts,
  key: string,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError | typeof busy, R> =>
  transactions.run(
    Effect.flatMap(
      sql.unsafe(tryLock(key)).values,
      ([row]): Effect.Effect<A, E | typeof busy, R> => row![0] === true ? body : Effect.fail(busy)
    ),
    // Read committed, so that what is read after the lock was had has been committed before.
    { isolation: "read committed", access: "read write", nesting: "never", retry: Retry.never, name: "migration" }
  )

const makeTurn = (parts: Parts, journal: Journal): Turn => ({
  apply: (migration) => apply(parts, journal, migration),
  write: (queries) =>
    locked(parts, keyOf(journal.place), Effect.forEach(queries, (query) => values(parts.sql, query), { discard: true }))
      .pipe(
        Effect.as(true),
        Effect.catch((error) => error === busy ? Effect.succeed(false) : Effect.fail(error))
      )
})

/** What there is to be done. */
type Work =
  | { readonly _tag: "Statements"; readonly statements: ReadonlyArray<Statement>; readonly transaction: boolean }
  | { readonly _tag: "Program"; readonly program: Program; readonly transaction: boolean }

const prepare = (migration: Migration): Effect.Effect<Work, MigrationsError.MigrationsError, SqlClient.SqlClient> => {
  const { body, directives, file } = migration
  if (body._tag === "Lazy") {
    return Effect.map(body.load, ({ program, transaction }) => ({ _tag: "Program", program, transaction }))
  }
  const statements = split(body.text, "postgres")
  if (Result.isFailure(statements)) {
    return MigrationsError.failWith(new MigrationsError.InvalidFile({ file, ...statements.failure }))
  }
  const ways = statements.success.map(postgresWay)
  const alone = directives.transaction
    ? ways.findIndex((way, index) => way._tag === "Alone" && !isCall(statements.success[index]!))
    : -1
  if (alone >= 0) {
    return MigrationsError.failWith(
      new MigrationsError.InvalidFile({
        file,
        line: statements.success[alone]!.line,
        problem: "has a statement that cannot be in a transaction: put it into a file of its own that begins with " +
          "`-- watertight: no-transaction`"
      })
    )
  }
  return Effect.as(checkWays(migration, statements.success, ways), {
    _tag: "Statements",
    statements: statements.success,
    transaction: directives.transaction
  })
}

/** A procedure may be one that does not commit. */
const isCall = (statement: Statement): boolean => statement.tokens[0]!.text === "CALL"

const apply = Effect.fnUntraced(function*(
  parts: Parts,
  journal: Journal,
  migration: Migration
): Effect.fn.Return<Applied, Failure, SqlClient.SqlClient> {
  const work = yield* prepare(migration)
  if (work.transaction) {
    const applied = yield* asTransaction(parts, journal, migration, work)
    if (applied !== "begun") return applied
  }
  return yield* Effect.scoped(
    work._tag === "Statements"
      ? byStatement(parts, journal, migration, work.statements)
      : withoutTransaction(parts, journal, migration, work.program)
  )
})

const isComplete = (row: Row | undefined): boolean => row?.state === "applied" || row?.state === "baseline"

/** All of it with its entry in the journal, or nothing. `"begun"` if a part of it has been applied by itself before. */
const asTransaction = (
  parts: Parts,
  journal: Journal,
  migration: Migration,
  work: Work
): Effect.Effect<Applied | "begun", Failure, SqlClient.SqlClient> => {
  const { ladder, sql, tell } = parts
  const { id, name } = migration
  const attempt = (rung: Rung) =>
    locked(
      parts,
      keyOf(journal.place),
      Effect.gen(function*() {
        const startedAt = yield* now
        const row = (yield* values(sql, journal.readOne(id))).map(toRow)[0]
        if (isComplete(row)) return "already"
        if (row !== undefined) {
          if (work._tag === "Program" || row.hashes.length > 0 || row.atStatement !== undefined) return "begun"
          yield* values(sql, journal.forget(id)[0]!)
        }
        yield* tell({ _tag: "Started", id, name })
        yield* sql.unsafe(limits(migration, rung)).unprepared
        yield* work._tag === "Statements"
          ? runAll(sql, migration, work.statements)
          : Effect.mapError(Effect.catchDefect(work.program, Effect.fail), (cause) => failed(migration, cause))
        yield* values(sql, journal.recordForEffect(migration))
        yield* values(sql, journal.record(migration, randomUUID(), "applied", (yield* now) - startedAt))
        return "applied"
      })
    )
  return climb(ladder, attempt, {
    isPassing: (error) => {
      const found = error === busy
        ? undefined
        : Outcome.find(error instanceof MigrationsError.MigrationsError ? causeOf(error) : error)
      return found !== undefined && isPassing(found)
    },
    onRetry: (climbed) => tell({ _tag: "Blocked", id, name, ...climbed }),
    onLimit: (cause, climbed) => MigrationsError.failWith(new MigrationsError.Blocked({ id, name, ...climbed, cause }))
  }).pipe(
    Effect.catch((error): Effect.Effect<Applied | "begun", Failure> =>
      error === busy ? Effect.succeed("busy") : Effect.fail(error)
    )
  )
}

const causeOf = (error: MigrationsError.MigrationsError): unknown =>
  error.reason._tag === "Failed" ? error.reason.cause : undefined

const runAll = (
  sql: SqlClient.SqlClient,
  migration: Migration,
  statements: ReadonlyArray<Statement>
): Effect.Effect<void, MigrationsError.MigrationsError> =>
  Effect.forEach(
    statements,
    (statement, index) =>
      Effect.mapError(sql.unsafe(statement.text).unprepared, (cause) =>
        failed(migration, cause, { statement: index + 1, line: statement.line, words: wordsOf(statement) })),
    { discard: true }
  )

const failed = (
  { id, name }: Migration,
  cause: unknown,
  where: { readonly statement?: number; readonly line?: number; readonly words?: string } = {},
  applied: number | undefined = 0
): MigrationsError.MigrationsError =>
  MigrationsError.failWith(
    new MigrationsError.Failed({
      id,
      name,
      statement: where.statement,
      line: where.line,
      words: where.words,
      applied,
      cause
    })
  )

/**
 * Holds the lock on a connection of its own, until the scope closes. An embedded database has one connection, and so
 * nobody to keep out.
 */
const guard = (parts: Parts, key: string): Effect.Effect<boolean, SqlError, Scope.Scope> => {
  const { adapter } = parts
  if (adapter.maxConnections === 1) return Effect.succeed(true)
  return Effect.acquireRelease(adapter.connect, (connection) => connection.close).pipe(
    Effect.flatMap((connection) =>
      Effect.andThen(
        connection.begin({ isolation: "read committed" }),
        connection.executeValues(tryLock(key), []).pipe(
          // The portal of a SELECT keeps its snapshot until the next statement takes its place, and a snapshot is what
          // CREATE INDEX CONCURRENTLY waits for: this one, which has none, is not only for its limit.
          Effect.tap(() => connection.executeUnprepared(noIdleLimit, [], undefined))
        )
      )
    ),
    Effect.map(([row]) => row![0] === true),
    Effect.mapError((error) => Outcome.attach(error, "Statement", adapter.ruleOf))
  )
}

const byStatement = Effect.fnUntraced(function*(
  parts: Parts,
  journal: Journal,
  migration: Migration,
  statements: ReadonlyArray<Statement>
): Effect.fn.Return<Applied, Failure, Scope.Scope> {
  if (!(yield* guard(parts, keyOf(journal.place)))) return "busy"
  const session = new Session(yield* parts.pool.reserve, parts.adapter)
  const row = (yield* session.values(journal.readOne(migration.id))).map(toRow)[0]
  if (isComplete(row)) return "already"
  yield* parts.tell({ _tag: "Started", id: migration.id, name: migration.name })
  yield* applyStatements(makeSite(parts, session, journal), migration, statements, row)
  return "applied"
})

/** Code without a transaction: it is either begun or done, and nobody can tell how far it came. */
const withoutTransaction = Effect.fnUntraced(function*(
  parts: Parts,
  journal: Journal,
  migration: Migration,
  program: Program
): Effect.fn.Return<Applied, Failure, Scope.Scope | SqlClient.SqlClient> {
  const { id, name } = migration
  if (!(yield* guard(parts, keyOf(journal.place)))) return "busy"
  const row = (yield* values(parts.sql, journal.readOne(id))).map(toRow)[0]
  if (isComplete(row)) return "already"
  if (row !== undefined) {
    return yield* MigrationsError.failWith(
      new MigrationsError.Interrupted({ id, name, statement: undefined, words: undefined, applied: undefined })
    )
  }
  const run = randomUUID()
  const startedAt = yield* now
  yield* parts.tell({ _tag: "Started", id, name })
  yield* values(parts.sql, journal.claim(undefined, migration, run, undefined))
  yield* Effect.catchCause(program, (cause) => {
    const error = Option.getOrElse(Cause.findErrorOption(cause), () => Cause.squash(cause))
    const message = error instanceof Error ? error.message : String(error)
    return Cause.hasInterruptsOnly(cause)
      ? Effect.interrupt
      : Effect.andThen(
        Effect.ignore(values(parts.sql, journal.fail(id, run, message))),
        Effect.fail(failed(migration, error, {}, undefined))
      )
  })
  const finish = Effect.andThen(
    values(parts.sql, journal.finish(id, run, (yield* now) - startedAt)),
    values(parts.sql, journal.recordForEffect(migration))
  )
  yield* parts.transactions.run(finish, { nesting: "never" })
  return "applied"
})
