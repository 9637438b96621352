/**
 * The table of errors: every number that a server can be made to answer with here, provoked, with its class,
 * what may be repeated, and what becomes of the connection and of the transaction that it stands in.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { Outcome } from "watertight"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import type { Feature, Kind } from "../servers.ts"
import {
  connect,
  describeEach,
  liveWith,
  one,
  run,
  serverError,
  sqlFailure,
  type Subject,
  table,
  working
} from "../support.ts"

interface Row {
  readonly errno: number
  /** What the server needs for it. */
  readonly needs?: Feature
  readonly tag: SqlError["reason"]["_tag"]
  readonly scope: Outcome.Scope
  /** Whether the transaction that it stood in is still open. */
  readonly survives: boolean
  readonly provoke: (session: Session, name: string, subject: Subject) => Effect.Effect<SqlError, unknown, Scope.Scope>
}

const failing = (sql: (name: string) => string) => (session: Session, name: string) =>
  sqlFailure(run(session, sql(name)))

const rowsOf = (server: Kind): ReadonlyArray<Row> => [
  {
    errno: 1062,
    tag: "UniqueViolation",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `insert into ${t} values (1, 2)`)
  },
  {
    errno: 1048,
    tag: "ConstraintError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `insert into ${t} values (null, 2)`)
  },
  {
    errno: 1364,
    tag: "ConstraintError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `insert into ${t} (v) values (2)`)
  },
  {
    errno: 1452,
    tag: "ConstraintError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `insert into ${t}_child values (2, 99)`)
  },
  {
    errno: 1451,
    tag: "ConstraintError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `delete from ${t} where id = 1`)
  },
  {
    errno: server.errnos.check,
    tag: "ConstraintError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `insert into ${t}_child values (-1, 1)`)
  },
  {
    errno: 1406,
    tag: "UnknownError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `insert into ${t}_text values ('too long')`)
  },
  {
    errno: 1264,
    tag: "UnknownError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `insert into ${t} values (99999999999, 1)`)
  },
  {
    errno: 1366,
    tag: "UnknownError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `insert into ${t} values ('a', 1)`)
  },
  { errno: 1064, tag: "SqlSyntaxError", scope: "Never", survives: true, provoke: failing(() => "selec 1") },
  {
    errno: 1054,
    tag: "SqlSyntaxError",
    scope: "Never",
    survives: true,
    provoke: failing((t) => `select nothing from ${t}`)
  },
  {
    errno: 1146,
    tag: "SqlSyntaxError",
    scope: "Never",
    survives: true,
    provoke: failing(() => "select * from nowhere")
  },
  {
    errno: 1305,
    tag: "SqlSyntaxError",
    scope: "Never",
    survives: true,
    provoke: failing(() => "select no_function()")
  },
  {
    errno: 1222,
    tag: "UnknownError",
    scope: "Never",
    survives: true,
    provoke: failing(() => "select 1 union select 1, 2")
  },
  {
    errno: 1242,
    tag: "UnknownError",
    scope: "Never",
    survives: true,
    provoke: failing(() => "select (select 1 union select 2)")
  },
  { errno: 1644, tag: "UnknownError", scope: "Never", survives: true, provoke: failing((t) => `call ${t}_signal()`) },
  {
    errno: 1213,
    tag: "DeadlockError",
    scope: "Transaction",
    survives: false,
    provoke: (session, name, subject) =>
      Effect.gen(function*() {
        const other = yield* connect(subject)
        yield* other.begin({})
        for (const id of [2, 3, 4]) yield* run(other, `update ${name} set v = 9 where id = ${id}`)
        yield* run(session, `update ${name} set v = 9 where id = 1`)
        const waiting = yield* Effect.forkChild(run(other, `update ${name} set v = 9 where id = 1`))
        yield* working(yield* connect(subject), other)
        const error = yield* sqlFailure(run(session, `update ${name} set v = 9 where id = 2`))
        yield* Fiber.join(waiting)
        yield* other.rollback
        return error
      })
  },
  {
    errno: 1020,
    needs: "snapshot isolation",
    tag: "SerializationError",
    scope: "Transaction",
    survives: false,
    provoke: (session, name, subject) =>
      Effect.gen(function*() {
        yield* session.rollback
        yield* run(session, "set innodb_snapshot_isolation = on")
        yield* session.begin({ isolation: "repeatable read" })
        yield* run(session, `select * from ${name}`)
        const other = yield* connect(subject)
        yield* run(other, `update ${name} set v = 5 where id = 1`)
        return yield* sqlFailure(run(session, `update ${name} set v = 6 where id = 1`))
      })
  },
  {
    errno: 1205,
    tag: "LockTimeoutError",
    scope: "Statement",
    survives: true,
    provoke: (session, name, subject) =>
      Effect.gen(function*() {
        const other = yield* connect(subject)
        yield* other.begin({})
        yield* run(other, `update ${name} set v = 5 where id = 1`)
        yield* run(session, "set innodb_lock_wait_timeout = 1")
        const error = yield* sqlFailure(run(session, `update ${name} set v = 6 where id = 1`))
        yield* other.rollback
        return error
      })
  },
  {
    errno: server.errnos.nowait,
    tag: "LockTimeoutError",
    scope: "Statement",
    survives: true,
    provoke: (session, name, subject) =>
      Effect.gen(function*() {
        const other = yield* connect(subject)
        yield* other.begin({})
        yield* run(other, `update ${name} set v = 5 where id = 1`)
        const error = yield* sqlFailure(run(session, `select * from ${name} where id = 1 for update nowait`))
        yield* other.rollback
        return error
      })
  },
  {
    errno: 1317,
    tag: "UnknownError",
    scope: "Never",
    survives: true,
    provoke: (session, _, subject) =>
      Effect.gen(function*() {
        const other = yield* connect(subject)
        const killer = yield* Effect.forkChild(
          Effect.andThen(working(other, session), run(other, `kill query ${session.threadId}`))
        )
        const error = yield* sqlFailure(run(session, server.endless))
        yield* Fiber.join(killer)
        return error
      })
  },
  {
    errno: server.errnos.timeLimit,
    tag: "StatementTimeoutError",
    scope: "Never",
    survives: true,
    provoke: (session) =>
      Effect.andThen(
        run(session, `set ${server.timeLimit.variable} = ${server.timeLimit.of(0.05)}`),
        sqlFailure(run(session, server.endless))
      )
  },
  {
    errno: 1792,
    tag: "UnknownError",
    scope: "OtherNode",
    survives: true,
    provoke: (session, name) =>
      Effect.gen(function*() {
        yield* session.rollback
        yield* session.begin({ access: "read only" })
        return yield* sqlFailure(run(session, `insert into ${name} values (77, 1)`))
      })
  },
  {
    errno: 1412,
    tag: "UnknownError",
    scope: "Transaction",
    survives: true,
    provoke: (session, name, subject) =>
      Effect.gen(function*() {
        yield* session.rollback
        yield* session.begin({ isolation: "repeatable read" })
        yield* run(session, `select * from ${name}`)
        const other = yield* connect(subject)
        yield* run(other, `alter table ${name}_text add column n int, algorithm = copy`)
        return yield* sqlFailure(run(session, `select * from ${name}_text`))
      })
  },
  {
    errno: 1243,
    tag: "UnknownError",
    scope: "Statement",
    survives: true,
    provoke: failing(() => "execute nothing")
  },
  {
    errno: 1568,
    tag: "UnknownError",
    scope: "Never",
    survives: true,
    provoke: failing(() => "set transaction read only")
  },
  {
    errno: 1153,
    tag: "UnknownError",
    scope: "Never",
    survives: true,
    provoke: (session) =>
      // Larger than `max_allowed_packet`: it is refused before it is sent, so the session and the transaction go on.
      sqlFailure(run(session, "select length(?)", ["x".repeat(server.tooLarge)]))
  }
]

/** What a server refuses to users who may do little. */
const refusals: ReadonlyArray<
  readonly [errno: number, tag: SqlError["reason"]["_tag"], user: "app" | "exporter", statement: string]
> = [
  [1142, "AuthorizationError", "app", "select * from mysql.user"],
  [1143, "AuthorizationError", "app", "select b from secret"],
  [1044, "AuthorizationError", "app", "use mysql"],
  [1227, "AuthorizationError", "app", "set global max_connections = 1"],
  // The number of a server that does not write, about something else.
  [1290, "UnknownError", "exporter", "select 1 into outfile '/nowhere/at_all'"]
]

describeEach("errors over $name", (subject) => {
  for (const row of rowsOf(subject.server)) {
    liveWith(subject, ...(row.needs === undefined ? [] : [row.needs]))(
      `${row.errno} is a ${row.tag}, to be repeated: ${row.scope}`,
      () =>
        Effect.gen(function*() {
          const session = yield* connect(subject)
          const adapter = yield* subject.module.makeAdapter({ url: Redacted.make(subject.server.url()) })
          const name = yield* table(session, "id int primary key, v int")
          yield* run(session, `insert into ${name} values (1, 0), (2, 0), (3, 0), (4, 0)`)
          yield* Effect.acquireRelease(
            Effect.gen(function*() {
              yield* run(
                session,
                `create table ${name}_child (id int primary key check (id > 0), parent int, foreign key (parent) references ${name} (id)) engine = innodb`
              )
              yield* run(session, `insert into ${name}_child values (1, 1)`)
              yield* run(session, `create table ${name}_text (t varchar(3)) engine = innodb`)
              yield* session.executeUnprepared(
                `create procedure ${name}_signal() begin signal sqlstate '45000' set message_text = 'no'; end`,
                [],
                undefined
              )
            }),
            () =>
              Effect.orDie(Effect.scoped(Effect.gen(function*() {
                session.destroy("the test is over")
                const cleaner = yield* connect(subject)
                yield* run(cleaner, `drop table ${name}_child, ${name}_text`)
                yield* run(cleaner, `drop procedure ${name}_signal`)
                yield* run(cleaner, `drop table ${name}`)
              })))
          )

          yield* session.begin({})
          const error = yield* row.provoke(session, name, subject)
          assert.strictEqual(error.reason._tag, row.tag, error.message)
          if (row.errno !== 1153) assert.strictEqual(serverError(error).errno, row.errno)
          Outcome.attach(error, "InTransaction", adapter.ruleOf)
          assert.strictEqual(Outcome.of(error)?.scope, row.scope)

          // What follows shows whether the transaction is what we take it for.
          const next = yield* Effect.exit(run(session, subject.server.inTransaction))
          assert.strictEqual(next._tag, row.survives ? "Success" : "Failure")
          if (session.isClosed) return
          assert.strictEqual(session.inTransaction, row.survives)
          if (row.survives) {
            assert.strictEqual(yield* one(session, subject.server.inTransaction), 1)
            yield* session.rollback
          }
          if (!session.isReady) yield* session.reset
          assert.strictEqual(yield* one(session, subject.server.inTransaction), 0)
          assert.isTrue(session.isReady)
        }),
      30_000
    )
  }

  it.live("of the server shutting down", () =>
    Effect.gen(function*() {
      const server = yield* subject.server.make()
      const session = yield* connect(subject, { url: Redacted.make(server.url) })
      const adapter = yield* subject.module.makeAdapter({ url: Redacted.make(server.url) })
      const fiber = yield* Effect.forkChild(sqlFailure(run(session, subject.server.endless)), {
        startImmediately: true
      })
      yield* working(yield* connect(subject, { url: Redacted.make(server.url) }), session)
      yield* server.stop
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.reason._tag, "ConnectionError")
      assert.isFalse(error.isRetryable)
      Outcome.attach(error, "Statement", adapter.ruleOf)
      assert.isTrue(Outcome.isUnknown(error))
      assert.isTrue(session.isClosed)
    }), 30_000)

  it.live("name the constraint as the statement that made it does", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key, mail varchar(20), constraint mail_once unique (mail)")
      yield* run(session, `insert into ${name} values (1, 'a')`)
      for (const [values, constraint] of [["(1, 'b')", "PRIMARY"], ["(2, 'a')", "mail_once"]] as const) {
        for (const execute of [session.execute, session.executeUnprepared]) {
          const { reason } = yield* sqlFailure(
            execute.call(session, `insert into ${name} values ${values}`, [], undefined)
          )
          assert.strictEqual(reason._tag === "UniqueViolation" ? reason.constraint : reason._tag, constraint)
        }
      }
    }))

  it.live("of a server that refuses", () =>
    Effect.gen(function*() {
      const server = yield* subject.server.make({ settings: { secure_file_priv: "/tmp", max_user_connections: 50 } })
      const peers = subject.server.lacks.unix_socket === undefined
      for (
        const statement of [
          "create user app identified by 'app'",
          ...(peers ? ["create user peer identified via unix_socket"] : []),
          "create user single identified by 'app' with max_user_connections 1",
          "create table own (id int primary key)",
          "create table secret (a int, b int)",
          "grant all on test.own to app",
          "grant select (a) on test.secret to app",
          "create user exporter identified by 'app'",
          "grant all on test.own to exporter",
          "grant file on *.* to exporter",
          "grant all on test.* to single"
        ]
      ) yield* server.query(statement, [], "test")
      for (const user of ["app", "exporter", "single"]) yield* server.logIn(user, "app")
      const urlOf = (user: string, database = "test") =>
        Redacted.make(`mysql://${user}:app@${server.host}:${server.port}/${database}`)
      const { ruleOf } = yield* subject.module.makeAdapter({ url: urlOf("app") })
      const verdictOf = (error: SqlError, phase: Outcome.Phase) => Outcome.of(Outcome.attach(error, phase, ruleOf))!

      const session = yield* connect(subject, { url: urlOf("app") })
      const exporter = yield* connect(subject, { url: urlOf("exporter") })
      let retired = 0
      for (const each of [session, exporter]) each.onRetire(() => retired++)
      for (const [errno, tag, user, statement] of refusals) {
        const error = yield* sqlFailure(run(user === "app" ? session : exporter, statement))
        assert.deepStrictEqual([serverError(error).errno, error.reason._tag], [errno, tag], error.message)
        assert.deepInclude(verdictOf(error, "Statement"), { outcome: "NotApplied", scope: "Never" })
      }
      assert.strictEqual(retired, 0)

      yield* server.query("set global read_only = 1")
      const error = yield* sqlFailure(run(session, "insert into own values (1)"))
      assert.strictEqual(serverError(error).errno, 1290)
      assert.deepInclude(verdictOf(error, "Statement"), { outcome: "NotApplied", scope: "OtherNode" })
      assert.strictEqual(retired, 1)

      const refused = (user: string, database?: string) =>
        Effect.map(sqlFailure(Effect.scoped(connect(subject, { url: urlOf(user, database) }))), (error) => [
          serverError(error).errno,
          error.reason._tag,
          verdictOf(error, "Connect").scope
        ])
      assert.deepStrictEqual(yield* refused("app", "mysql"), [1044, "AuthorizationError", "Never"])
      if (peers) assert.deepStrictEqual(yield* refused("peer"), [1698, "AuthenticationError", "Never"])
      yield* connect(subject, { url: urlOf("single") })
      assert.deepStrictEqual(yield* refused("single"), [1226, "ConnectionError", "Connect"])
      yield* server.query("set global max_user_connections = 1")
      assert.deepStrictEqual(yield* refused("app"), [1203, "ConnectionError", "Connect"])
    }), 30_000)
})
