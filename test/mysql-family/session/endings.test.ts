/**
 * Who ends what on MySQL and MariaDB, and what that proves: each way to end a statement or a session, at each kind of
 * work. The rows tell whether what is said of them is true.
 *
 * | way                | what the server says                         | what it proves                                  |
 * | ------------------ | -------------------------------------------- | ----------------------------------------------- |
 * | `KILL QUERY`       | 1317, and the session goes on                | the statement was undone                        |
 * | `KILL CONNECTION`  | nothing                                      | nothing, unless the kernel has not taken it     |
 * | shutdown           | MySQL says 1053, MariaDB nothing             | nothing                                         |
 * | `wait_timeout`     | MySQL says 4031, MariaDB nothing             | MySQL: it has begun with nothing                |
 */
import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { Database, Outcome, Retry, Transaction } from "watertight"
import { isFailure } from "../../../src/breaker/isFailure.ts"
import * as Evidence from "../../../src/failure/Evidence.ts"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import { connect, describeEach, eventually, one, run, sqlFailure, type Subject } from "../support.ts"

interface Setting {
  readonly subject: Subject
  readonly sql: SqlClient.SqlClient
  readonly transactions: Context.Context<Transaction.Manager>
  /** Sees what is committed. */
  readonly observer: Session
  readonly id: number
  readonly end: Effect.Effect<unknown>
}

const running = ({ id, observer }: Setting) =>
  eventually(Effect.map(
    one(
      observer,
      `select count(*) from information_schema.processlist where id = ${id} and info is not null and info not like 'DO%'`
    ),
    (count) => Number(count) > 0
  ))

/** Ends it in the middle of that. */
const inTheMiddle = (setting: Setting, work: Effect.Effect<unknown, SqlError>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(sqlFailure(work), { startImmediately: true })
    yield* running(setting)
    // A kill that comes while the statement is still being prepared hits nothing.
    yield* Effect.repeat(Effect.andThen(setting.end, Effect.sync(() => fiber.pollUnsafe() !== undefined)), {
      schedule: Schedule.spaced("50 millis"),
      until: (isOver) => isOver
    })
    return yield* Fiber.join(fiber)
  })

const insert = ({ sql }: Setting) => sql`insert into t (n) values (1)`
const endless = ({ sql, subject }: Setting) => sql.unsafe(subject.server.endless)
const transaction = ({ transactions }: Setting, work: Effect.Effect<unknown, SqlError>) =>
  Effect.provideContext(Transaction.run(work, { resolve: "never" }), transactions)

/** What is under way when the end comes. All of it would write. */
const works: { readonly [work: string]: (setting: Setting) => Effect.Effect<SqlError, unknown> } = {
  "a write": (setting) =>
    inTheMiddle(setting, setting.sql.unsafe(`insert into t (n) ${setting.subject.server.endless}`)),
  "a write that waits for a row": (setting) =>
    Effect.gen(function*() {
      yield* setting.observer.begin({})
      yield* run(setting.observer, "update t set n = 0 where id = 1")
      const error = yield* inTheMiddle(setting, setting.sql`update t set n = 1 where id = 1`)
      yield* setting.observer.rollback
      return error
    }),
  "a transaction": (setting) =>
    inTheMiddle(setting, transaction(setting, Effect.andThen(insert(setting), endless(setting)))),
  "a transaction between two statements": (setting) =>
    sqlFailure(transaction(setting, Effect.andThen(Effect.andThen(insert(setting), setting.end), insert(setting)))),
  "a transaction before its COMMIT": (setting) =>
    sqlFailure(transaction(setting, Effect.andThen(insert(setting), setting.end)))
}

interface Expected {
  readonly outcomes: ReadonlyArray<Outcome.Outcome>
  readonly endedBy: ReadonlyArray<Evidence.EndedBy | undefined>
  readonly ready: boolean
}

const answered: Expected = { outcomes: ["NotApplied"], endedBy: [undefined], ready: true }
const silent = (...outcomes: ReadonlyArray<Outcome.Outcome>): Expected => ({
  outcomes,
  endedBy: ["Silence", "Network"],
  ready: false
})

const ways: {
  readonly [way: string]: {
    readonly statement: (id: number) => string
    readonly expected: { readonly [work: string]: Expected }
  }
} = {
  "KILL QUERY": {
    statement: (id) => `kill query ${id}`,
    expected: { "a write": answered, "a write that waits for a row": answered, "a transaction": answered }
  },
  "KILL CONNECTION": {
    statement: (id) => `kill connection ${id}`,
    expected: {
      // Where it is still being prepared, nothing of it has been sent.
      "a write": silent("Unknown", "NotSent"),
      "a write that waits for a row": silent("Unknown", "NotSent"),
      "a transaction": silent("NotApplied"),
      "a transaction between two statements": silent("NotApplied"),
      // Whether it was taken is a matter of microseconds.
      "a transaction before its COMMIT": silent("Unknown", "NotApplied")
    }
  }
}

const options = { retry: Retry.never, breaker: false, pool: { max: 1 } } as const

const opened = Effect.fnUntraced(function*(subject: Subject, url: string, end: (id: number, by: Session) => string) {
  const observer = yield* connect(subject, { url: Redacted.make(url) })
  const ender = yield* connect(subject, { url: Redacted.make(url) })
  yield* run(observer, "create table t (id int primary key auto_increment, n int)")
  yield* run(observer, "insert into t (n) values (0)")
  const services = yield* Layer.build(
    Layer.fresh(Layer.provideMerge(subject.module.layer({ url: Redacted.make(url), ...options }), Logger.layer([])))
  )
  const sql = Context.get(services, SqlClient.SqlClient)
  const [[id]] = (yield* sql`select connection_id()`.values) as [[unknown]]
  const setting: Setting = {
    subject,
    sql,
    transactions: services,
    observer,
    id: Number(id),
    end: Effect.exit(run(ender, end(Number(id), ender)))
  }
  return setting
})

const check = (error: SqlError, expected: Expected): void => {
  const { endedBy, ready } = Evidence.of(error)
  assert.include(expected.outcomes, Outcome.of(error)?.outcome, error.message)
  assert.include(expected.endedBy, endedBy, error.message)
  assert.strictEqual(ready, expected.ready)
  assert.strictEqual(isFailure(error), endedBy !== undefined && Evidence.of(error).sent, error.message)
}

describeEach("the ends of $name", (subject) => {
  for (const [way, { expected, statement }] of Object.entries(ways)) {
    it.live(`${way}: what is said of each work is what became of it`, () =>
      Effect.gen(function*() {
        for (const [work, what] of Object.entries(expected)) {
          yield* Effect.scoped(Effect.gen(function*() {
            const setting = yield* opened(subject, yield* subject.server.fresh, statement)
            const error = yield* works[work]!(setting)
            check(error, what)
            const rows = Number(yield* one(setting.observer, "select count(*) from t where n <> 0"))
            if (Outcome.of(error)?.outcome !== "Unknown") assert.strictEqual(rows, 0, work)
          }))
        }
      }), 60_000)
  }

  it.live(
    "reports that are killed one after another: the circuit stays closed, for the server takes new sessions",
    () =>
      Effect.gen(function*() {
        const url = yield* subject.server.fresh
        const observer = yield* connect(subject, { url: Redacted.make(url) })
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const { breaker } = yield* Database.Database
          for (let report = 0; report < 12; report++) {
            const killed = yield* Effect.forkChild(sqlFailure(sql.unsafe(subject.server.endless)), {
              startImmediately: true
            })
            const kill = Effect.gen(function*() {
              const ids = yield* observer.executeValues(
                "select id from information_schema.processlist where db = database() and id <> connection_id()",
                []
              )
              for (const [id] of ids) yield* Effect.exit(run(observer, `kill connection ${id}`))
              return killed.pollUnsafe() !== undefined
            })
            yield* Effect.repeat(kill, { schedule: Schedule.spaced("20 millis"), until: (isOver) => isOver })
            yield* Fiber.join(killed)
          }
          assert.strictEqual((yield* breaker!.state)._tag, "Closed")
        }).pipe(Effect.provide(Layer.provideMerge(
          subject.module.layer({ url: Redacted.make(url), retry: Retry.never, pool: { max: 1 } }),
          Logger.layer([])
        )))
      }),
    60_000
  )

  it.live(
    "shutdown: MySQL says so, MariaDB closes without a word, and neither proves anything",
    () =>
      Effect.gen(function*() {
        for (const work of ["a write", "a transaction"]) {
          yield* Effect.scoped(Effect.gen(function*() {
            const server = yield* subject.server.make()
            const setting = yield* opened(subject, server.url, () => "shutdown")
            const error = yield* works[work]!(setting)
            const says = subject.server.name === "MySQL"
            assert.strictEqual(Outcome.of(error)?.outcome, work === "a write" ? "Unknown" : "NotApplied", error.message)
            assert.include(says ? ["Server"] : ["Silence", "Network"], Evidence.of(error).endedBy, error.message)
            // A process that stood still meanwhile has learned nothing, and machines of tests do stand still.
            assert.isTrue(isFailure(error) || Evidence.of(error).stalledMillis > 0)
          }))
        }
      }),
    90_000
  )

  it.live(
    "wait_timeout while this process stands still: the next write is not done twice, and counts nowhere",
    () =>
      Effect.gen(function*() {
        const url = yield* subject.server.fresh
        const observer = yield* connect(subject, { url: Redacted.make(url) })
        yield* run(observer, "create table t (n int)")
        const session = yield* connect(subject, { url: Redacted.make(url), sessionVariables: { wait_timeout: 1 } })
        yield* run(session, "do 1")
        yield* Effect.map(Clock.currentTimeMillis, () => {
          const until = performance.now() + 2_500
          while (performance.now() < until);
        })
        const error = yield* sqlFailure(run(session, "insert into t values (1)"))
        const evidence = Evidence.of(error)
        if (subject.server.name === "MySQL") {
          assert.isFalse(evidence.sent, error.message)
          assert.strictEqual(evidence.code, 4031)
        } else {
          assert.include(["Silence", "Network"], evidence.endedBy, error.message)
        }
        assert.strictEqual(Number(yield* one(observer, "select count(*) from t")), 0)
      }),
    30_000
  )
})
