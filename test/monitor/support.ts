/** Programs that are looked at. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Pool } from "watertight"
import { Monitor } from "watertight/monitor"
import { Postgres } from "watertight/postgres"
import { freshDatabase } from "../support/index.ts"

/** A parameter that nobody may see. */
export const secret = "hunter2"

/** A program with two connections, both in use, and a caller that waits. */
export const program = <A, E>(use: (monitor: Monitor.Monitor) => Effect.Effect<A, E, SqlClient.SqlClient>) =>
  Effect.scoped(Effect.gen(function*() {
    const url = yield* freshDatabase("postgresql")
    return yield* Effect.scoped(Effect.gen(function*() {
      const monitor = yield* Monitor.make({ port: 0 })
      const pool = yield* Pool.Pool
      const sql = yield* SqlClient.SqlClient
      yield* sql`select ${secret} as password, '<img src=x onerror=alert(1)>' as html`
      yield* Effect.ignore(sql`select 1 / 0`)
      const open = yield* Deferred.make<void>()
      const hold = (name: string) =>
        Effect.forkScoped(pool.use(() => Deferred.await(open)).pipe(Effect.withSpan(name)), { startImmediately: true })
      yield* hold("pay <b>invoice</b>")
      yield* hold("send mail")
      yield* Effect.forkScoped(Effect.ignore(pool.use(() => Effect.void)).pipe(Effect.withSpan("see account")), {
        startImmediately: true
      })
      yield* Effect.suspend(() => monitor.snapshot).pipe(
        Effect.repeat({
          until: ({ databases: [one] }) => one!.activity.holders.length === 2 && one!.activity.waiters.length === 1
        })
      )
      const result = yield* use(monitor)
      yield* Deferred.succeed(open, undefined)
      return result
    })).pipe(
      Effect.provide(Postgres.layer({ url: Redacted.make(url), pool: { max: 2 }, log: { statements: "none" } }))
    )
  }))
