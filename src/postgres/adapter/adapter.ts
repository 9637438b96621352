/**
 * What all adapters that speak PostgreSQL have in common.
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { type Adapter, type Idempotency, TypeId } from "../../Adapter.ts"
import type { SettingsReference } from "../../transaction/TransactionSettings.ts"
import { withAtMost } from "../../values/manyParameters.ts"
import { withWholeRows } from "../../values/records.ts"
import { unknownError } from "../errors/errors.ts"
import { attachHub, NoticeHub } from "../errors/notices.ts"
import { ruleOf } from "../errors/sqlState.ts"
import { needsConnection } from "../session/ownConnection.ts"
import type { Session } from "../session/Session.ts"
import { makeCompiler } from "../statement/Compiler.ts"
import { maxParameters } from "../statement/parameters.ts"
import { causality } from "./causality.ts"

/** The options about names and spans, as `PgClient.layer` has them. */
export interface ClientOptions {
  readonly spanAttributes?: Record<string, unknown> | undefined
  readonly transformResultNames?: ((str: string) => string) | undefined
  readonly transformQueryNames?: ((str: string) => string) | undefined
  readonly transformJson?: boolean | undefined
  /** What becomes of an `undefined`: it is refused, or null. */
  readonly undefined?: "refuse" | "null" | undefined
}

/** An adapter whose connections are sessions. */
export interface SessionAdapter extends Adapter {
  readonly connect: Effect.Effect<Session, SqlError>
}

export const makeAdapter = (options: {
  readonly driver: string
  readonly name: string
  readonly client: ClientOptions
  readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>
  readonly maxConnections: number | undefined
  /** How long a control statement may take, in milliseconds. */
  readonly controlTimeout: number
  readonly connect: Effect.Effect<Session, SqlError>
  readonly settings: SettingsReference
  readonly resolveCommit?: Adapter["resolveCommit"]
}): SessionAdapter => {
  const { spanAttributes, transformJson, transformQueryNames, transformResultNames } = options.client
  const hub = new NoticeHub()
  const adapter: SessionAdapter = {
    [TypeId]: TypeId,
    driver: options.driver,
    name: options.name,
    compiler: withAtMost(
      maxParameters,
      withWholeRows(makeCompiler(transformQueryNames, transformJson), {
        undefinedAsNull: options.client.undefined === "null"
      })
    ),
    transformRows: transformResultNames === undefined
      ? undefined
      : Statement.defaultTransforms(transformResultNames, transformJson).array,
    spanAttributes: [
      ...Object.entries(spanAttributes ?? {}),
      ["db.system.name", "postgresql"],
      ...options.spanAttributes
    ],
    maxConnections: options.maxConnections,
    controlTimeout: options.controlTimeout,
    connect: Effect.map(options.connect, (session) => {
      session.onNotice((fields) => hub.publish(session.id, fields))
      return session
    }),
    isPermanent,
    ruleOf,
    refuseOnPool: (sql) => {
      const refused = needsConnection(sql)
      return refused && unknownError(options.name, refused.message, refused, "execute")
    },
    settings: options.settings,
    idempotency,
    causality,
    resolveCommit: options.resolveCommit
  }
  return attachHub(adapter, hub)
}

/** The errors of connecting are retryable exactly when they may pass without anybody doing something about it. */
const isPermanent = (error: SqlError): boolean => !error.reason.isRetryable

const idempotency: Idempotency = {
  createTable: (table) =>
    `create table if not exists ${table} (key text primary key, created_at timestamptz not null default now())`,
  insert: (table) => `insert into ${table} (key) values ($1) on conflict (key) do nothing`,
  inserted: (result) => (result as Result).rowCount === 1,
  prune: (table) => `delete from ${table} where created_at < now() - make_interval(secs => $1)`
}
