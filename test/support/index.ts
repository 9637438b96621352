/** The front door of the test support: tests import from here and nowhere deeper. */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as mariadb from "mariadb"
import { randomBytes } from "node:crypto"
import { type SharedServer, sharedUrl } from "./needs.ts"
import { explain, live, ServerError } from "./servers/ServerError.ts"

export * as FaultProxy from "../../src/testing/FaultProxy.ts"
export * as Browser from "./browser.ts"
export { leftOut } from "./leftOut.ts"
export { describeWith, type Need, type SharedServer, sharedUrl, whyLeftOut } from "./needs.ts"
export * from "./seed.ts"
export * from "./servers/index.ts"
export { explain, live } from "./servers/ServerError.ts"
export * as Terminal from "./terminal.ts"

/** The URL of the PostgreSQL server that all tests share, as a superuser. What a test changes there, others see. */
export const postgresUrl = (): string => sharedUrl("postgresql")

/** The URL of the MariaDB server that all tests share, as a user with all privileges. */
export const mariadbUrl = (): string => sharedUrl("mariadb")

/** The URL of the MySQL server that all tests share, as a user with all privileges. */
export const mysqlUrl = (): string => sharedUrl("mysql")

/**
 * The URL of a new, empty database on a shared server. It is dropped with the scope, also when connections to it are
 * still open.
 */
export const freshDatabase = (
  server: SharedServer = "postgresql"
): Effect.Effect<string, ServerError, Scope.Scope> =>
  Effect.suspend(() => {
    const name = `test_${randomBytes(6).toString("hex")}`
    const url = new URL(sharedUrl(server))
    const [execute, drop] = server === "postgresql"
      ? [executePostgres, `drop database ${name} with (force)`]
      : [executeMysql, `drop database ${name}`]
    const fresh = new URL(url)
    fresh.pathname = `/${name}`
    return Effect.as(
      Effect.acquireRelease(execute(url, `create database ${name}`), () => Effect.orDie(execute(url, drop))),
      fresh.href
    )
  })

const executePostgres = (url: URL, statement: string): Effect.Effect<void, ServerError> =>
  PgConnection.make({ url: Redacted.make(url.href) }).pipe(
    Effect.flatMap((connection) => connection.query(statement)),
    Effect.scoped,
    Effect.asVoid,
    Effect.mapError((cause) => new ServerError({ message: `${statement}: ${explain(cause)}`, cause })),
    live
  )

const executeMysql = (url: URL, statement: string): Effect.Effect<void, ServerError> =>
  Effect.acquireUseRelease(
    Effect.tryPromise(() =>
      mariadb.createConnection({
        host: url.hostname,
        port: Number(url.port || 3306),
        user: decodeURIComponent(url.username),
        password: decodeURIComponent(url.password),
        allowPublicKeyRetrieval: true,
        connectTimeout: 10_000
      })
    ),
    (connection) => Effect.tryPromise(() => connection.query(statement)),
    (connection) => Effect.sync(() => connection.destroy())
  ).pipe(
    Effect.mapError(({ cause }) => new ServerError({ message: `${statement}: ${explain(cause)}`, cause })),
    Effect.asVoid
  )
