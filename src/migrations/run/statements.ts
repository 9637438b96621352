/**
 * Applies a migration statement by statement, so that a crash at any point can be told afterwards.
 *
 * A statement that can be rolled back is in one transaction with its entry in the journal. Before one that cannot, the
 * journal says that it is under way, and what the catalogue shows of it; afterwards, that it is done. A process that
 * takes over looks at both.
 */
import * as Effect from "effect/Effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { randomUUID } from "node:crypto"
import type { Migration } from "../Migration.ts"
import * as MigrationsError from "../MigrationsError.ts"
import { shortHash } from "../plan/checksum.ts"
import type { Statement } from "../sql/split.ts"
import type { Way } from "../sql/way.ts"
import { climb } from "./climb.ts"
import type { Query, Row } from "./journal.ts"
import { isPassing } from "./session.ts"
import { now, type Site } from "./site.ts"

type Failure = SqlError | MigrationsError.MigrationsError

/** Where the work on a migration stands. */
interface Work {
  readonly site: Site
  readonly migration: Migration
  readonly run: string
  readonly statements: ReadonlyArray<Statement>
  readonly ways: ReadonlyArray<Way>
  readonly hashes: Array<string>
}

/** Applies the statements that are not applied yet. `row` is what the journal says of it. */
export const applyStatements = Effect.fnUntraced(function*(
  site: Site,
  migration: Migration,
  statements: ReadonlyArray<Statement>,
  row: Row | undefined
): Effect.fn.Return<void, Failure> {
  const startedAt = yield* now
  const ways = statements.map(site.wayOf)
  yield* checkWays(migration, statements, ways)
  const finished = row?.hashes ?? []
  yield* checkPrefix(migration, statements, finished)
  const work: Work = { site, migration, run: randomUUID(), statements, ways, hashes: [...finished] }
  const takesOver = row?.atStatement !== undefined
  if (row !== undefined && takesOver) yield* site.settle(row.run)
  const isDone = row !== undefined && takesOver ? yield* wasApplied(work, row) : false
  yield* fenced(work, site.journal.claim(row, migration, work.run, statements.length))
  if (row !== undefined) {
    yield* site.tell({ _tag: "Resumed", id: migration.id, name: migration.name, done: finished.length })
  }
  if (isDone) yield* advance(work, finished.length)
  yield* replay(work)
  for (let index = work.hashes.length; index < statements.length; index++) yield* step(work, index)
  const { session } = site
  yield* session.transaction(Effect.andThen(
    fenced(work, site.journal.finish(migration.id, work.run, (yield* now) - startedAt)),
    session.change(site.journal.recordForEffect(migration))
  ))
})

/** Refuses a statement that cannot be part of a migration before any is run. */
export const checkWays = (
  migration: Migration,
  statements: ReadonlyArray<Statement>,
  ways: ReadonlyArray<Way>
): Effect.Effect<void, MigrationsError.MigrationsError> => {
  const index = ways.findIndex((way) => way._tag === "Refused")
  const way = ways[index]
  return way?._tag !== "Refused" ? Effect.void : MigrationsError.failWith(
    new MigrationsError.InvalidFile({ file: migration.file, line: statements[index]!.line, problem: way.problem })
  )
}

/** What is applied must still be what it was; what comes after it may be edited. */
const checkPrefix = (
  migration: Migration,
  statements: ReadonlyArray<Statement>,
  finished: ReadonlyArray<string>
): Effect.Effect<void, MigrationsError.MigrationsError> => {
  const index = finished.findIndex((hash, at) => {
    const statement = statements[at]
    return statement === undefined || !hash.endsWith(shortHash(statement.text))
  })
  return index < 0 ? Effect.void : changed(migration, index)
}

const changed = (migration: Migration, index: number): MigrationsError.MigrationsError =>
  MigrationsError.failWith(
    new MigrationsError.Changed({ id: migration.id, name: migration.name, statement: index + 1 })
  )

/** Whether the statement that was under way when a process ended was applied. */
const wasApplied = Effect.fnUntraced(function*(work: Work, row: Row): Effect.fn.Return<boolean, Failure> {
  const { migration, site, statements, ways } = work
  const index = row.atStatement! - 1
  const statement = statements[index]
  const way = ways[index]
  if (statement === undefined || row.atHash !== shortHash(statement.text)) return yield* changed(migration, index)
  const unknown = MigrationsError.failWith(
    new MigrationsError.Interrupted({
      id: migration.id,
      name: migration.name,
      statement: row.atStatement,
      words: wordsOf(statement),
      applied: row.done
    })
  )
  if (way?._tag !== "Alone") return yield* unknown
  if (way.repeatable) return false
  if (way.probe === undefined) return yield* unknown
  const state = yield* site.look(way.probe)
  // Where it was so before, the statement has something to say about that, and says it when it is run.
  if (state === way.probe.done) return row.atBefore !== way.probe.done
  // An index that cannot be used is dropped and built again.
  return state === row.atBefore || state.includes("i") ? false : yield* unknown
})

/** Changes the row of this run, or stops: another process has taken it over. */
const fenced = (work: Work, query: Query): Effect.Effect<void, Failure> =>
  Effect.flatMap(work.site.session.change(query), (count) =>
    count === 1 ? Effect.void : MigrationsError.failWith(
      new MigrationsError.Overtaken({ id: work.migration.id, name: work.migration.name })
    ))

/** Writes down that one more statement is applied. */
const advance = (work: Work, index: number): Effect.Effect<void, Failure> =>
  Effect.suspend(() => {
    const { hashes, migration, run, site, statements, ways } = work
    const kind = ways[index]!._tag === "Transaction" ? "t" : "a"
    const next = [...hashes.slice(0, index), `${kind}:${shortHash(statements[index]!.text)}`]
    return Effect.map(fenced(work, site.journal.advance(migration.id, run, index + 1, next)), () => {
      hashes.splice(0, hashes.length, ...next)
    })
  })

/** Settings are gone with the session that had them. */
const replay = (work: Work): Effect.Effect<void, Failure> =>
  Effect.forEach(
    work.statements.slice(0, work.hashes.length).filter((_, index) => work.ways[index]!._tag === "Session"),
    (statement) => work.site.session.run(statement.text),
    { discard: true }
  )

/** One statement. */
const step = (work: Work, index: number): Effect.Effect<void, Failure> => {
  const { migration, site, statements, ways } = work
  const statement = statements[index]!
  const way = ways[index]!
  const attempt = way._tag === "Alone"
    ? alone(work, index, way)
    : way._tag === "Session"
    ? Effect.andThen(site.session.run(statement.text), advance(work, index))
    : climb(site.ladder, (rung) =>
      site.session.transaction(Effect.all([
        site.prelude(migration, rung),
        site.session.run(statement.text),
        advance(work, index)
      ], { discard: true })), passing(work))
  return Effect.catchIf(attempt, isSqlError, (error) => failed(work, index, error))
}

const alone = (
  work: Work,
  index: number,
  way: Extract<Way, { readonly _tag: "Alone" }>
): Effect.Effect<void, Failure> => {
  const { migration, run, site, statements } = work
  const statement = statements[index]!
  return Effect.gen(function*() {
    const before = way.probe === undefined ? undefined : yield* site.look(way.probe)
    yield* fenced(work, site.journal.begin(migration.id, run, index + 1, shortHash(statement.text), before))
    yield* climb(site.ladder, (rung) => site.alone(statement, way, migration, run, rung), passing(work))
    yield* advance(work, index)
  })
}

/** What is done about statements that do not get their locks. */
const passing = (work: Work) => ({
  isPassing: (error: Failure) => isSqlError(error) && work.site.session.isAlive && isPassing(error),
  onRetry: (climbed: { readonly attempts: number; readonly waitedMillis: number }) =>
    work.site.tell({ _tag: "Blocked", id: work.migration.id, name: work.migration.name, ...climbed }),
  onLimit: (error: Failure, climbed: { readonly attempts: number; readonly waitedMillis: number }) =>
    MigrationsError.failWith(
      new MigrationsError.Blocked({ id: work.migration.id, name: work.migration.name, ...climbed, cause: error })
    )
})

/** The server has refused a statement: that is written down. If the connection is gone nobody knows, and it is not. */
const failed = (work: Work, index: number, error: SqlError): Effect.Effect<never, Failure> => {
  const { hashes, migration, run, site, statements } = work
  if (!site.session.isAlive) return Effect.fail(error)
  const statement = statements[index]!
  return Effect.andThen(
    fenced(work, site.journal.fail(migration.id, run, error.message)),
    MigrationsError.failWith(
      new MigrationsError.Failed({
        id: migration.id,
        name: migration.name,
        statement: index + 1,
        line: statement.line,
        words: wordsOf(statement),
        applied: hashes.length,
        cause: error
      })
    )
  )
}

/** The first words of a statement, for messages. */
export const wordsOf = (statement: Statement): string => {
  const line = statement.text.replace(/\s+/g, " ")
  return line.length <= 60 ? line : `${line.slice(0, 60)}…`
}
