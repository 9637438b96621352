import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Pool } from "watertight"
import { ConnectionLost } from "../../src/failure/ConnectionLost.ts"
import { driver as mariadbDriver } from "../../src/mariadb/driver/driver.ts"
import { Mariadb } from "../../src/mariadb/index.ts"
import { resolve } from "../../src/mysql-family/adapter/Config.ts"
import { makeConnect } from "../../src/mysql-family/adapter/connect.ts"
import type { MysqlOptions } from "../../src/mysql-family/adapter/MysqlOptions.ts"
import type { BulkMethod } from "../../src/mysql-family/bulk/BulkMethod.ts"
import type { Driver } from "../../src/mysql-family/driver/Driver.ts"
import { MysqlError } from "../../src/mysql-family/errors/errors.ts"
import type { Session } from "../../src/mysql-family/session/Session.ts"
import { driver as mysqlDriver } from "../../src/mysql/driver/driver.ts"
import { Mysql } from "../../src/mysql/index.ts"
import type { InvalidOptions } from "../../src/options/InvalidOptions.ts"
import { describeWith, leftOut } from "../support/index.ts"
import * as Servers from "./servers.ts"

/** A driver. A difference is a column, not a condition in a test. */
interface Client {
  readonly driver: Driver
  readonly module: typeof Mysql | typeof Mariadb
  /** How many statements of several fibers are under way on one connection. */
  readonly pipelines: boolean
  /** Whether it passes on what the server says of a write: the rows that were changed, and a line of text. */
  readonly tellsInfo: boolean
  /** How it can send rows in bulk. */
  readonly bulkMethods: ReadonlyArray<BulkMethod>
  /** Whether it can authenticate with ed25519. */
  readonly ed25519: boolean
}

/** What is tested: a driver on a server. */
export interface Subject extends Client {
  readonly name: string
  /** A part of names in the database. */
  readonly key: string
  readonly server: Servers.Kind
}

const clients: Readonly<Record<string, Client>> = {
  mysql2: {
    driver: mysqlDriver,
    module: Mysql,
    pipelines: false,
    tellsInfo: true,
    bulkMethods: ["load", "statements"],
    ed25519: false
  },
  mariadb: {
    driver: mariadbDriver,
    module: Mariadb,
    pipelines: true,
    tellsInfo: false,
    bulkMethods: ["batch", "statements"],
    ed25519: true
  }
}

const on = (server: Servers.Kind): ReadonlyArray<Subject> =>
  Object.entries(clients).map(([name, client]) => ({
    ...client,
    name: `${name} on ${server.name}`,
    key: `${name}_${server.shared}`,
    server
  }))

/** Both drivers on MariaDB. */
export const onMariadb = on(Servers.mariadb)

/** Both drivers on both servers. */
export const subjects: ReadonlyArray<Subject> = [...onMariadb, ...on(Servers.mysql)]

/** Like `describe`, for each subject, whose name takes the place of `$name`. */
export const describeEach = (
  name: string,
  body: (subject: Subject) => void,
  which: ReadonlyArray<Subject> = subjects
): void => {
  for (const subject of which) {
    describeWith(`url-${subject.server.shared}`)(name.replace("$name", subject.name), () => body(subject))
  }
}

/** `it.live`, or that it is left out, because the server of the subject lacks something. */
export const liveWith = (subject: Subject, ...features: ReadonlyArray<Servers.Feature>) =>
<E>(
  name: string,
  body: () => Effect.Effect<void, E, Scope.Scope>,
  timeout?: number
): void => {
  const reason = features.map((feature) => subject.server.lacks[feature]).find((reason) => reason !== undefined)
  if (reason === undefined) it.live(name, body, timeout)
  else it.live.skip(`${name}${leftOut}${reason}`, body, timeout)
}

/** `it.live` about what comes in the place of a feature, where the server of the subject lacks it. */
export const liveWithout = (subject: Subject, feature: Servers.Feature): ReturnType<typeof liveWith> => (...test) => {
  if (subject.server.lacks[feature] !== undefined) it.live(...test)
}

/** A layer for the ledger, which has no patience. */
export const layerOfLedger = (subject: Subject) => (url: string, pool: Pool.Options) =>
  // What the pool says of outages is not for those who read the results.
  Layer.provideMerge(
    subject.module.layer({
      url: Redacted.make(url),
      // A proxy cannot look for words in what it cannot read.
      sslmode: "disable",
      allowPublicKeyRetrieval: true,
      controlTimeout: "2 seconds",
      connectTimeout: "2 seconds",
      // A server of MySQL takes several seconds to start.
      resolveTimeout: "1 minute",
      pool
    }),
    Logger.layer([])
  )

/** A client on a new, empty database. */
export const onFresh = (subject: Subject, options: Parameters<Subject["module"]["layer"]>[0] = {}) =>
  Layer.unwrap(Effect.map(
    Effect.orDie(subject.server.fresh),
    (url) => subject.module.layer({ url: Redacted.make(url), pool: { max: 4 }, ...options })
  ))

/** What opens sessions as those of one adapter. */
export const connector = (
  subject: Subject,
  options: MysqlOptions = {}
): Effect.Effect<Effect.Effect<Session, SqlError, Scope.Scope>, InvalidOptions> =>
  Effect.map(
    resolve(subject.driver.module, {
      ...(options.url === undefined && options.host === undefined && options.socketPath === undefined
        ? { url: Redacted.make(subject.server.url()) }
        : undefined),
      ...options
    }),
    (config) => Effect.acquireRelease(makeConnect(subject.driver, config, () => {}), (session) => session.close)
  )

/** A session on the shared server, or wherever the options say. */
export const connect = (
  subject: Subject,
  options?: MysqlOptions
): Effect.Effect<Session, SqlError | InvalidOptions, Scope.Scope> =>
  Effect.flatMap(connector(subject, options), (session) => session)

export const run = (session: Session, sql: string, params: ReadonlyArray<unknown> = []) =>
  session.execute(sql, params, undefined)

/** The first column of the first row. */
export const one = (session: Session, sql: string, params: ReadonlyArray<unknown> = []): Effect.Effect<any, SqlError> =>
  Effect.map(session.executeValues(sql, params), (rows) => rows[0]?.[0])

/** A counter or a state of the session, as the server has it. */
export const statusOf = (subject: Subject, session: Session, name: string): Effect.Effect<any, SqlError> =>
  one(session, `select variable_value from ${subject.server.sessionStatus} where variable_name = ?`, [name])

let tables = 0

/** A new table, dropped with the scope. */
export const table = (
  session: Session,
  columns: string
): Effect.Effect<string, SqlError, Scope.Scope> => {
  const name = `t_${process.pid}_${tables++}`
  return Effect.acquireRelease(
    Effect.as(run(session, `create table ${name} (${columns}) engine = innodb character set utf8mb4`), name),
    () => Effect.ignore(Effect.timeout(run(session, `drop table if exists ${name}`), "2 seconds"))
  )
}

/** The typed failure of an effect that must fail with one, and with nothing else. */
export const failure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    assert.isTrue(Exit.isFailure(exit), "it was to fail")
    const cause = (exit as Exit.Failure<A, E>).cause
    assert.isFalse(Cause.hasDies(cause), `a defect: ${Cause.pretty(cause)}`)
    return Option.getOrThrow(Cause.findErrorOption(cause))
  })

export const sqlFailure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<SqlError, never, R> =>
  Effect.map(failure(effect), (error) => {
    assert.isTrue(isSqlError(error), String(error))
    return error as unknown as SqlError
  })

/** What the server said. */
export const serverError = (error: SqlError): MysqlError => {
  assert.instanceOf(error.reason.cause, MysqlError, String(error.message))
  return error.reason.cause as MysqlError
}

/** The evidence of a lost connection. */
export const lost = (error: SqlError): ConnectionLost => {
  assert.instanceOf(error.reason.cause, ConnectionLost, error.message)
  return error.reason.cause as ConnectionLost
}

/** Waits until a condition holds, for a few seconds. */
export const eventually = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E | Error, R> => {
  const loop = (left: number): Effect.Effect<void, E | Error, R> =>
    Effect.flatMap(condition, (holds) =>
      holds
        ? Effect.void
        : left === 0
        ? Effect.fail(new Error("it did not come about"))
        : Effect.andThen(Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 10))), loop(left - 1)))
  return loop(500)
}

/** Waits until the server works on a statement of a session. */
export const working = (observer: Session, session: Session): Effect.Effect<void, SqlError | Error> =>
  eventually(Effect.map(
    one(
      observer,
      // A KILL that comes while it is prepared does nothing to what runs after that.
      "select count(*) from information_schema.processlist where id = ? and command in ('Query', 'Execute')",
      [session.threadId]
    ),
    (count) => Number(count) > 0
  ))

export const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    const started = performance.now()
    return Effect.map(effect, () => performance.now() - started)
  })
