/** The outage behind each rule of the linter, once on a real server, and that the safe way has none. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import mysql2 from "mysql2/promise"
import pg from "pg"
import { Lint } from "watertight/migrations"
import { fromText } from "../../src/migrations/Migration.ts"
import { describeWith, freshDatabase } from "../support/index.ts"
import * as Outages from "./outages.ts"

/** A session, as the driver has it: nothing is repeated or reset. */
interface Session {
  readonly id: number
  readonly run: (statement: string) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, Failed>
}

/** A statement failed, with the server's code. */
interface Failed {
  readonly code: unknown
}

const rowCount = 1000

/** The only value of an answer. */
const value = (session: Session, statement: string) => Effect.map(session.run(statement), ([row]) => row?.[0])

const until = <A, E, R>(effect: Effect.Effect<A, E, R>, isThere: (value: A) => boolean) =>
  Effect.repeat(effect, { until: isThere })

/** Whether the linter says this of the files, each of which may have several statements. */
const found = (files: ReadonlyArray<string>, dialect: Lint.Dialect) =>
  Lint.checkAll(
    files.map((file, id) =>
      Result.getOrThrow(
        fromText(
          { id, name: "x", file: `${id}_x.sql` },
          /concurrently/.test(file) ? `-- watertight: no-transaction\n${file}` : file
        )
      )
    ),
    dialect
  ).map(({ rule }) => rule)

const titleOf = ({ bad, outage, rule }: Outages.Outage) =>
  `${rule}: ${bad.join("; ")} → the program ${typeof outage === "string" ? outage : `fails with ${outage.fails}`}`

const connectPostgres = (url: string) =>
  Effect.gen(function*() {
    const client = new pg.Client({ connectionString: url })
    client.on("error", () => {})
    yield* Effect.acquireRelease(
      Effect.promise(() => client.connect()),
      () => Effect.promise(() => client.end())
    )
    const session: Session = {
      id: 0,
      run: (statement) =>
        Effect.map(
          Effect.tryPromise({
            try: () => client.query<Array<unknown>>({ text: statement, rowMode: "array" }),
            catch: (error): Failed => error as Failed
          }),
          ({ rows }) => rows
        )
    }
    return { ...session, id: Number(yield* value(session, "select pg_backend_pid()")) }
  })

/** A table with many rows, and sessions of a migration, of the program, of a long read, and of who looks at them. */
const postgresScene = Effect.gen(function*() {
  const url = yield* freshDatabase("postgresql")
  const [migration, program, reader, observer] = yield* Effect.all([
    connectPostgres(url),
    connectPostgres(url),
    connectPostgres(url),
    connectPostgres(url)
  ])
  yield* observer.run(`create table b (id int primary key);
    create table a (id int primary key, v int, k int, b int);
    insert into b select generate_series(1, ${rowCount});
    insert into a select n, n, n, n from generate_series(1, ${rowCount}) n`)
  const blockersOf = (session: Session) =>
    Effect.map(
      value(observer, `select pg_blocking_pids(${session.id})`),
      (pids) => pids as ReadonlyArray<number>
    )
  return { migration, program, reader, observer, blockersOf }
})

type PostgresScene = Effect.Success<typeof postgresScene>

/** Begins a migration and leaves it open: what it has locked, and whether it went through all rows for it. */
const beginPostgres = Effect.fnUntraced(function*({ migration }: PostgresScene, statements: ReadonlyArray<string>) {
  yield* migration.run("begin")
  const work = Effect.map(
    migration.run(`select pg_relation_filenode('a'), coalesce(sum(seq_tup_read), 0) from pg_stat_xact_user_tables`),
    ([row]) => ({ file: row![0], read: Number(row![1]) })
  )
  const before = yield* work
  for (const statement of statements) yield* migration.run(statement)
  const after = yield* work
  return { isLong: after.read - before.read >= rowCount || after.file !== before.file }
})

/** A statement of the program at the time of a migration that is not committed: whether it waits for its end. */
const whilePostgres = Effect.fnUntraced(function*(scene: PostgresScene, statement: string) {
  const { blockersOf, migration, program } = scene
  const running = yield* Effect.forkChild(
    Effect.ensuring(program.run(`begin; ${statement}; rollback`), Effect.void),
    { startImmediately: true }
  )
  const blockers = yield* until(
    Effect.map(blockersOf(program), (pids) => ({ pids, isDone: running.pollUnsafe() !== undefined })),
    ({ isDone, pids }) => isDone || pids.includes(migration.id)
  )
  return { running, waits: !blockers.isDone }
})

/** A migration without a transaction: a transaction that was there before it keeps it running. */
const concurrently = Effect.fnUntraced(function*(
  { blockersOf, migration, program, reader }: PostgresScene,
  statement: string,
  statements: ReadonlyArray<string>
) {
  yield* reader.run("begin isolation level repeatable read; select from a")
  const running = yield* Effect.forkChild(migration.run(statement), { startImmediately: true })
  yield* until(blockersOf(migration), (pids) => pids.includes(reader.id))
  for (const each of statements) yield* program.run(`begin; ${each}; rollback`)
  assert.isUndefined(running.pollUnsafe(), "it ran while the program went on")
  yield* reader.run("commit")
  yield* Fiber.join(running)
})

const bad = {
  waits: (scene: PostgresScene, { bad, program }: Outages.Outage) =>
    Effect.gen(function*() {
      for (const statement of program) {
        const { isLong } = yield* beginPostgres(scene, bad)
        assert.isTrue(isLong, "it goes through all rows")
        const { running, waits } = yield* whilePostgres(scene, statement)
        assert.isTrue(waits, `${statement} waits`)
        assert.isUndefined(running.pollUnsafe(), `${statement} waits until the end`)
        yield* scene.migration.run("rollback")
        yield* Fiber.join(running)
      }
    }),
  queues: ({ blockersOf, migration, program, reader }: PostgresScene, outage: Outages.Outage) =>
    Effect.gen(function*() {
      for (const statement of outage.program) {
        yield* reader.run("begin; select from a limit 1")
        const changing = yield* Effect.forkChild(
          migration.run(`begin; ${outage.bad.join("; ")}; rollback`),
          { startImmediately: true }
        )
        yield* until(blockersOf(migration), (pids) => pids.includes(reader.id))
        const running = yield* Effect.forkChild(program.run(`begin; ${statement}; rollback`), {
          startImmediately: true
        })
        yield* until(blockersOf(program), (pids) => pids.includes(migration.id))
        assert.isUndefined(running.pollUnsafe())
        yield* reader.run("commit")
        yield* Fiber.join(changing)
        yield* Fiber.join(running)
      }
    })
}

describeWith("url-postgresql")("outages: PostgreSQL", () => {
  for (const outage of Outages.postgres) {
    it.live(titleOf(outage), () =>
      Effect.scoped(Effect.gen(function*() {
        const scene = yield* postgresScene
        const { migration, observer, program } = scene
        for (const statement of outage.given ?? []) yield* observer.run(statement)
        assert.include(found([outage.bad.join(";\n")], "postgres"), outage.rule)
        assert.deepStrictEqual(found(outage.safe, "postgres"), [])
        if (typeof outage.outage === "string") yield* bad[outage.outage](scene, outage)
        else {
          for (const statement of outage.program) {
            yield* program.run(`begin; ${statement}; rollback`)
            yield* migration.run(`begin; ${outage.bad.join("; ")}; commit`)
            const { code } = yield* Effect.flip(program.run(statement))
            assert.strictEqual(code, outage.outage.fails)
          }
          // As it was before, for the safe way.
          yield* observer.run("drop table a; create table a (id int primary key, v int, k int, b int)")
        }
        const statements = outage.next ?? outage.program
        for (const statement of outage.safe) {
          if (/concurrently/.test(statement)) {
            yield* concurrently(scene, statement, statements)
            continue
          }
          const { isLong } = yield* beginPostgres(scene, [statement])
          for (const each of statements) {
            // Who waits behind a change of the catalogue alone waits for a moment.
            if (!isLong) continue
            const { running, waits } = yield* whilePostgres(scene, each)
            assert.isFalse(waits, `${each} waits for ${statement}`)
            yield* Fiber.join(running)
          }
          yield* migration.run("commit")
        }
        for (const statement of statements) yield* program.run(`begin; ${statement}; rollback`)
      })), 60_000)
  }
})

const connectMysql = (url: string) =>
  Effect.gen(function*() {
    const connection = yield* Effect.acquireRelease(
      Effect.promise(() => mysql2.createConnection(url.replace(/^\w+:/, "mysql:"))),
      (connection) => Effect.sync(() => connection.destroy())
    )
    const session: Session = {
      id: 0,
      run: (statement) =>
        Effect.map(
          Effect.tryPromise({
            try: () => connection.query({ sql: statement, rowsAsArray: true }),
            catch: (error): Failed => ({ code: (error as { readonly errno: number }).errno })
          }),
          ([rows]) => (Array.isArray(rows) ? rows : []) as ReadonlyArray<ReadonlyArray<unknown>>
        )
    }
    return { ...session, id: Number(yield* value(session, "select connection_id()")) }
  })

const mysqlScene = (server: "mysql" | "mariadb", rows: number) =>
  Effect.gen(function*() {
    const url = yield* freshDatabase(server)
    const [migration, program, observer] = yield* Effect.all([
      connectMysql(url),
      connectMysql(url),
      connectMysql(url)
    ])
    const makeA = "create table a (id int primary key, v int, w_0 varchar(200) default 'x')"
    yield* observer.run("create table b (id int primary key)")
    yield* observer.run(makeA)
    yield* observer.run(`insert into b values ${Array.from({ length: rowCount }, (_, n) => `(${n + 1})`).join()}`)
    yield* observer.run(
      `insert into a (id, v, w_0) select x.id + ${rowCount} * (y.id - 1), x.id, repeat('x', 150) from b x, b y
        where y.id <= ${rows / rowCount}`
    )
    // Without statistics the server may read, and lock, all rows where a few would do.
    yield* observer.run("analyze table a")
    /** What a session does, and whether it waits for a lock of a table or a row. */
    const stateOf = (session: Session) =>
      Effect.map(
        observer.run(
          `select p.state, p.info, (select count(*) from information_schema.innodb_trx t
            where t.trx_mysql_thread_id = ${session.id} and t.trx_state = 'LOCK WAIT')
            from information_schema.processlist p where p.id = ${session.id}`
        ),
        ([row]) => ({
          state: String(row?.[0] ?? ""),
          isRunning: row?.[1] !== null && row?.[1] !== undefined,
          waits: /waiting for table metadata lock/i.test(String(row?.[0])) || Number(row?.[2]) > 0
        })
      )
    return { migration, program, observer, stateOf, makeA }
  })

type MysqlScene = Effect.Success<ReturnType<typeof mysqlScene>>

/** What a session does while it goes through the rows of a table. */
const atWork = /copy|alter/i

/**
 * What a statement of the program does while a migration goes through all rows: `undefined` if that was over before
 * anybody could look.
 */
const whileMysql = Effect.fnUntraced(function*(
  { migration, program, stateOf }: MysqlScene,
  statements: ReadonlyArray<string>,
  statement: string
) {
  const changing = yield* Effect.forkChild(Effect.forEach(statements, migration.run), { startImmediately: true })
  const isOver = () => changing.pollUnsafe() !== undefined
  // Neither before it has its locks nor when it waits for the last one.
  yield* until(stateOf(migration), ({ state }) => isOver() || atWork.test(state))
  if (isOver()) return undefined
  // Its answer may be here before that of the migration: what the server says counts.
  const running = yield* Effect.forkChild(
    program.run(statement).pipe(
      Effect.andThen(stateOf(migration)),
      Effect.map(({ state }) => !atWork.test(state))
    ),
    { startImmediately: true }
  )
  const seen = yield* until(
    Effect.map(stateOf(program), ({ waits }) => ({ waits, isOver: isOver() })),
    ({ isOver, waits }) => waits || isOver || running.pollUnsafe() !== undefined
  )
  yield* Fiber.join(changing)
  const wasOver = yield* Fiber.join(running)
  return !seen.waits && wasOver ? undefined : { waits: seen.waits, wasOver }
})

/** The same for a migration that keeps its locks until it commits. */
const untilCommit: typeof whileMysql = Effect.fnUntraced(function*({ migration, program, stateOf }, bad, statement) {
  yield* migration.run("begin")
  for (const each of bad) yield* migration.run(each)
  const running = yield* Effect.forkChild(program.run(statement), { startImmediately: true })
  const isDone = () => running.pollUnsafe() !== undefined
  const { waits } = yield* until(stateOf(program), ({ waits }) => waits || isDone())
  const wasOver = !isDone()
  yield* migration.run("commit")
  yield* Fiber.join(running)
  return { waits, wasOver }
})

/** Tries it with more rows until there was time to look. */
const withEnoughRows = <A, E, R>(
  server: "mysql" | "mariadb",
  attempt: (scene: MysqlScene) => Effect.Effect<A | undefined, E, R>
) =>
  Effect.gen(function*() {
    for (const rows of [50_000, 200_000, 800_000]) {
      const seen = yield* Effect.scoped(Effect.flatMap(mysqlScene(server, rows), attempt))
      if (seen !== undefined) return seen
    }
    return assert.fail("it was over before anybody could look")
  })

for (const server of ["mysql", "mariadb"] as const) {
  describeWith(`url-${server}`)(`outages: ${server}`, () => {
    for (const outage of Outages.mysql) {
      it.live(titleOf(outage), () =>
        Effect.gen(function*() {
          assert.include(found([outage.bad.join(";\n")], "mysql"), outage.rule)
          assert.deepStrictEqual(found(outage.safe, "mysql"), [])
          const { fails } = typeof outage.outage === "string" ? { fails: undefined } : outage.outage
          const [statement] = outage.program
          if (fails === undefined) {
            const while_ = outage.rule === "backfill" ? untilCommit : whileMysql
            const seen = yield* withEnoughRows(server, (scene) => while_(scene, outage.bad, statement!))
            assert.isTrue(seen.waits, `${statement} waits`)
            assert.isTrue(seen.wasOver, `${statement} waits until the end`)
          }
          yield* Effect.scoped(Effect.gen(function*() {
            const { makeA, migration, observer, program } = yield* mysqlScene(server, rowCount)
            const rolledBack = (statement: string) =>
              Effect.forEach(["begin", statement, "rollback"], program.run, { discard: true })
            if (fails !== undefined) {
              yield* rolledBack(statement!)
              for (const each of outage.bad) yield* migration.run(each)
              assert.strictEqual((yield* Effect.flip(program.run(statement!))).code, fails)
              for (const each of ["drop table if exists a", "drop table if exists c", makeA]) yield* observer.run(each)
            }
            // What is rolled back holds its locks until then, as a migration does that is not one statement.
            yield* migration.run("begin")
            for (const each of outage.safe) {
              const code = yield* migration.run(each).pipe(
                Effect.as(undefined),
                Effect.catch(({ code }) => Effect.succeed(code))
              )
              if (outage.refused === undefined) assert.isUndefined(code, each)
              else assert.include(outage.refused, code as number)
            }
            for (const each of outage.next ?? outage.program) yield* rolledBack(each)
            yield* migration.run("rollback")
          }))
        }), 240_000)
    }
  })
}

const outages = { postgres: Outages.postgres, mysql: Outages.mysql }

describe("outages", () => {
  it("each rule has one, on each of its databases", () => {
    for (const { dialects, id } of Lint.rules) {
      for (const dialect of dialects) {
        assert.isTrue(outages[dialect].some(({ rule }) => rule === id), `${dialect} ${id}`)
      }
    }
  })
})
