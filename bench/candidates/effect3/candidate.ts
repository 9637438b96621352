/** Effect 3: `@effect/sql` with `@effect/sql-pg` or `@effect/sql-mysql2`. Everything here is Effect 3. */
import { SqlClient } from "@effect/sql"
import { MysqlClient } from "@effect/sql-mysql2"
import { PgClient } from "@effect/sql-pg"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { Load, Style, Subject, Target } from "../../harness/model.ts"
import { accountOf } from "../sql.ts"

type Operation = Effect.Effect<unknown, unknown>

const effects: Style<Operation> = {
  loop: async (workers, load) => {
    await Promise.all(Array.from({ length: workers }, () => Effect.runPromise(loopOf(load))))
  },
  start: (operation, done) => {
    Effect.runFork(operation).addObserver((exit) =>
      Exit.isSuccess(exit) ? done(exit.value, undefined) : done(undefined, Cause.squash(exit.cause))
    )
  }
}

const loopOf = (load: Load<Operation>): Effect.Effect<void, unknown> => {
  let key = 0
  let at = 0
  return Effect.whileLoop({
    while: () => load.running,
    body: () => {
      key = load.key()
      at = performance.now()
      return load.operation(key)
    },
    step: (value) => load.done(key, at, value)
  })
}

export const open = async ({ connections, server, servers }: Target): Promise<Subject<Operation>> => {
  const url = Redacted.make(servers[server]!.url)
  const layer: Layer.Layer<SqlClient.SqlClient, unknown> = server === "postgres"
    ? PgClient.layer({ url, maxConnections: connections })
    : MysqlClient.layer({ url, maxConnections: connections })
  const scope = Effect.runSync(Scope.make())
  const context = await Effect.runPromise(Layer.buildWithScope(layer, scope))
  const sql = Context.get(context, SqlClient.SqlClient)
  const isPostgres = server === "postgres"
  return {
    style: effects,
    close: () => Effect.runPromise(Scope.close(scope, Exit.void)),
    echo: (n) =>
      Effect.map(
        isPostgres ? sql<{ n: number }>`select ${n}::int as n` : sql<{ n: number }>`select ${n} as n`,
        ([row]) => row!.n
      ),
    byKey: (id) => Effect.map(sql<{ label: string }>`select label from item where id = ${id}`, ([row]) => row!.label),
    sleep: (millis) =>
      isPostgres ? sql`select pg_sleep(${millis}::float8 / 1000)` : sql`select sleep(${millis} / 1000)`,
    transaction: (key) =>
      sql.withTransaction(Effect.gen(function*() {
        const [row] = yield* sql<{ amount: number }>`select amount from item where id = ${key}`
        yield* sql`update account set cents = cents + 1 where id = ${accountOf(key)}`
        yield* sql`insert into entry (account, cents) values (${accountOf(key)}, 1)`
        return row!.amount
      }))
  }
}
