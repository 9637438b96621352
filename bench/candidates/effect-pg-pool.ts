/** `@effect/sql-pg` for Effect 4, its pool and connections without `SqlClient`. */
import * as PgPool from "@effect/sql-pg/PgPool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { Subject, Target } from "../harness/model.ts"
import { built } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"
import { postgres as sql } from "./sql.ts"

export const open = async ({ connections, servers }: Target): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const { close, context } = await built(
    Layer.effect(
      PgPool.PgPool,
      PgPool.make({ url: Redacted.make(servers.postgres!.url), maxConnections: connections, multiplex: true })
    )
  )
  const pool = Context.get(context, PgPool.PgPool)
  const first = (text: string, column: string) => (value: number) =>
    Effect.map(pool.use((connection) => connection.query(text, [value])), ({ rows }) => rows[0]![column])
  return {
    style: effects,
    close,
    echo: first(sql.echo, "n"),
    byKey: first(sql.byKey, "label"),
    sleep: first(sql.sleep, "pg_sleep")
  }
}
