/**
 * Code on a database whose definitions commit. Its statements are not known before, so they are journaled as they come:
 * what can be rolled back is in a transaction, which is committed with its entries before a definition runs.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Result from "effect/Result"
import * as SqlClient from "effect/sql/SqlClient"
import type * as SqlConnection from "effect/sql/SqlConnection"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { randomUUID } from "node:crypto"
import * as Outcome from "../../failure/Outcome.ts"
import type { Migration, Program } from "../Migration.ts"
import * as MigrationsError from "../MigrationsError.ts"
import { shortHash } from "../plan/checksum.ts"
import { split } from "../sql/split.ts"
import type { Way } from "../sql/way.ts"
import type { Failure, Parts } from "./engine.ts"
import type { Row } from "./journal.ts"
import { now, type Site } from "./site.ts"

/** Runs code, from where a process before has ended. */
export const applyProgram = Effect.fnUntraced(function*(
  site: Site,
  migration: Migration,
  program: Program,
  row: Row | undefined,
  parts: Parts
): Effect.fn.Return<void, Failure, SqlClient.SqlClient> {
  const { id, name } = migration
  const { journal, session, tell } = site
  const startedAt = yield* now
  const run = randomUUID()
  const finished = [...row?.hashes ?? []]
  if (row !== undefined) {
    // What changed rows cannot be run again, and what it answered then is not known any more.
    if (finished.some((hash) => hash.startsWith("t:"))) {
      return yield* MigrationsError.failWith(
        new MigrationsError.Interrupted({ id, name, statement: undefined, words: undefined, applied: row.done })
      )
    }
    yield* tell({ _tag: "Resumed", id, name, done: finished.length })
  }
  yield* session.change(journal.claim(row, migration, run, undefined))
  const connection = new JournaledConnection(site, migration, run, finished, row)
  const client = yield* clientOn(connection, parts)
  yield* Effect.provideService(program, SqlClient.SqlClient, client).pipe(
    Effect.catchCause((cause) => failed(connection, cause))
  )
  yield* connection.finish(Effect.andThen(
    session.change(journal.finish(id, run, (yield* now) - startedAt)),
    session.change(journal.recordForEffect(migration))
  ))
})

/** A client whose statements all go over one connection, and whose transactions are savepoints on it. */
const clientOn = (
  connection: SqlConnection.Connection,
  { adapter, sql }: Parts
): Effect.Effect<SqlClient.SqlClient> =>
  SqlClient.make({
    acquirer: Effect.succeed(connection),
    transactionAcquirer: Effect.succeed(connection),
    compiler: adapter.compiler,
    transformRows: adapter.transformRows as never,
    driver: sql.driver,
    spanAttributes: adapter.spanAttributes,
    beginTransaction: "SAVEPOINT watertight_migration",
    commit: "RELEASE SAVEPOINT watertight_migration",
    rollback: "ROLLBACK TO SAVEPOINT watertight_migration"
  }).pipe(Effect.provide(Reactivity.layer))

const failed = (connection: JournaledConnection, cause: Cause.Cause<unknown>): Effect.Effect<never, Failure> => {
  const { migration, run, site } = connection
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  const error = Option.getOrElse(Cause.findErrorOption(cause), () => Cause.squash(cause))
  if (connection.interrupted !== undefined) return connection.interrupted
  if (!site.session.isAlive) {
    const lost = Outcome.find(error)
    return lost === undefined ? Effect.die(error) : Effect.fail(lost)
  }
  const message = error instanceof Error ? error.message : String(error)
  return connection.rollback.pipe(
    Effect.andThen(site.session.change(site.journal.fail(migration.id, run, message))),
    Effect.andThen(MigrationsError.failWith(
      new MigrationsError.Failed({
        id: migration.id,
        name: migration.name,
        statement: connection.hashes.length + 1,
        line: undefined,
        words: undefined,
        applied: connection.hashes.length,
        cause: error
      })
    ))
  )
}

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** The connection of a migration, which writes down what goes over it. */
class JournaledConnection implements SqlConnection.Connection {
  readonly site: Site
  readonly migration: Migration
  readonly run: string
  /** What is applied for certain. */
  readonly hashes: Array<string>
  /** What is in the transaction that is open. */
  private open: Array<string> = []
  /** What a process before has applied, and has not come up yet. */
  private readonly ahead: Array<string>
  /** What was under way when a process before ended, and has not come up yet. */
  private inFlight: { readonly hash: string; readonly before: string | undefined } | undefined
  /** Set when it came up, and nobody can tell whether it was applied. */
  interrupted: MigrationsError.MigrationsError | undefined

  constructor(site: Site, migration: Migration, run: string, finished: Array<string>, row: Row | undefined) {
    this.site = site
    this.migration = migration
    this.run = run
    this.hashes = finished
    this.ahead = [...finished]
    if (row?.atHash !== undefined) this.inFlight = { hash: row.atHash, before: row.atBefore }
  }

  private get raw() {
    return this.site.session.connection
  }

  private get begin(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => this.raw.inTransaction ? Effect.void : this.raw.begin({}))
  }

  /** Commits what is open, with its entries. */
  private get save(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      if (!this.raw.inTransaction) return Effect.void
      const next = [...this.hashes, ...this.open]
      const { journal, session } = this.site
      const entries = this.open.length === 0
        ? Effect.void
        : session.change(journal.advance(this.migration.id, this.run, next.length, next))
      return Effect.andThen(entries, Effect.uninterruptible(this.raw.commit)).pipe(
        Effect.tap(() => Effect.sync(() => this.keep(next)))
      )
    })
  }

  private keep(hashes: ReadonlyArray<string>): void {
    this.hashes.splice(0, this.hashes.length, ...hashes)
    this.open = []
  }

  /** Commits the rest together with what ends the migration. */
  finish(end: Effect.Effect<unknown, SqlError>): Effect.Effect<void, SqlError> {
    return this.begin.pipe(Effect.andThen(end), Effect.andThen(this.save))
  }

  get rollback(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.open = []
      return this.raw.inTransaction ? Effect.ignore(this.raw.rollback) : Effect.void
    })
  }

  private statement<A>(
    sql: string,
    params: ReadonlyArray<unknown>,
    nothing: A,
    run: Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    return Effect.suspend(() => {
      // A definition has committed what a savepoint could have undone.
      if (!this.raw.inTransaction && /^\s*release\s+savepoint\b/i.test(sql)) return Effect.succeed(nothing)
      if (!this.raw.inTransaction && /^\s*rollback\s+to\b/i.test(sql)) {
        return refusal("what a nested transaction did before its definition is committed and cannot be undone")
      }
      const way = this.wayOf(sql)
      if (way._tag === "Refused") return refusal(`the statement ${way.problem}`)
      const hash = shortHash(JSON.stringify([sql, params.map(String)]))
      if (way._tag === "Session") return run
      if (way._tag === "Transaction") {
        return Effect.tap(Effect.andThen(this.begin, run), () =>
          Effect.sync(() => {
            if (!way.reads) this.open.push(`t:${hash}`)
          }))
      }
      const known = this.ahead.indexOf(`a:${hash}`)
      if (known >= 0) {
        this.ahead.splice(0, known + 1)
        return Effect.succeed(nothing)
      }
      return this.alone(way, hash, sql, nothing, run)
    })
  }

  private alone<A>(
    way: Extract<Way, { readonly _tag: "Alone" }>,
    hash: string,
    sql: string,
    nothing: A,
    run: Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    const { migration, run: id, site } = this
    const { journal, session } = site
    return Effect.gen({ self: this }, function*() {
      yield* this.save
      if (this.inFlight?.hash === hash && (yield* this.wasApplied(way, sql))) {
        yield* this.advance(hash)
        return nothing
      }
      const before = way.probe === undefined ? undefined : yield* site.look(way.probe)
      yield* session.change(journal.begin(migration.id, id, this.hashes.length + 1, hash, before))
      const result = yield* run
      yield* this.advance(hash)
      return result
    })
  }

  private advance(hash: string): Effect.Effect<void, SqlError> {
    const next = [...this.hashes, `a:${hash}`]
    const { journal, session } = this.site
    return Effect.map(
      session.change(journal.advance(this.migration.id, this.run, next.length, next)),
      () => this.keep(next)
    )
  }

  /** Whether the statement that was under way was applied. */
  private wasApplied(way: Extract<Way, { readonly _tag: "Alone" }>, sql: string): Effect.Effect<boolean, SqlError> {
    const before = this.inFlight!.before
    this.inFlight = undefined
    if (way.repeatable) return Effect.succeed(false)
    const { probe } = way
    if (probe === undefined) return this.giveUp(sql)
    return Effect.flatMap(this.site.look(probe), (state) =>
      state === probe.done
        ? Effect.succeed(before !== probe.done)
        : state === before
        ? Effect.succeed(false)
        : this.giveUp(sql))
  }

  private giveUp(sql: string): Effect.Effect<never, SqlError> {
    this.interrupted = MigrationsError.failWith(
      new MigrationsError.Interrupted({
        id: this.migration.id,
        name: this.migration.name,
        statement: this.hashes.length + 1,
        words: sql.replace(/\s+/g, " ").slice(0, 60),
        applied: this.hashes.length
      })
    )
    return refusal(this.interrupted.message)
  }

  private wayOf(sql: string): Way {
    // Nested transactions are savepoints, as a client makes them.
    if (/^\s*(?:savepoint|release\s+savepoint|rollback\s+to)\b/i.test(sql)) return { _tag: "Transaction", reads: true }
    const statements = split(sql, "mysql")
    const [statement] = Result.isSuccess(statements) ? statements.success : []
    return statement === undefined ? { _tag: "Transaction", reads: false } : this.site.wayOf(statement)
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.statement(sql, params, [], this.raw.execute(sql, params, transformRows))
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.statement<unknown>(
      sql,
      params,
      { affectedRows: 0, insertId: 0, warningStatus: 0 },
      this.raw.executeRaw(sql, params)
    )
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.statement(sql, params, [], this.raw.executeValues(sql, params))
  }
  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.statement(sql, params, [], this.raw.executeValuesUnprepared(sql, params))
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.statement(sql, params, [], this.raw.executeUnprepared(sql, params, transformRows))
  }
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    const way = this.wayOf(sql)
    return way._tag === "Transaction" && way.reads
      ? this.raw.executeStream(sql, params, transformRows)
      : Stream.fromEffect(refusal("only what reads can be a stream in a migration"))
  }
}

const refusal = (problem: string): Effect.Effect<never, SqlError> =>
  Effect.fail(
    new SqlError({ reason: new UnknownError({ cause: new Error(problem), message: problem, operation: "execute" }) })
  )
