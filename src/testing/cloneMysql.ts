/**
 * Copies a database of MySQL or MariaDB on the same server: its tables with their keys, their foreign keys and their rows.
 *
 * Views, triggers, routines and events are not copied. A template that has some is refused, instead of giving tests a
 * database that is another one.
 */
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { SqlError, UnknownError } from "effect/sql/SqlError"

export const cloneMysql = (sql: SqlClient, from: string, to: string): Effect.Effect<void, SqlError> =>
  Effect.scoped(Effect.gen(function*() {
    const others = yield* sql.unsafe(
      `select 'view' as what, table_name as name from information_schema.views where table_schema = ?
       union all select 'trigger', trigger_name from information_schema.triggers where trigger_schema = ?
       union all select 'routine', routine_name from information_schema.routines where routine_schema = ?
       union all select 'event', event_name from information_schema.events where event_schema = ?`,
      [from, from, from, from]
    ).values
    if (others.length > 0) return yield* refused(`${String(others[0]![0])} ${String(others[0]![1])} cannot be copied`)
    const tables = yield* sql.unsafe(
      "select table_name as name from information_schema.tables where table_schema = ? and table_type = 'BASE TABLE'",
      [from]
    ).values
    // One session, because its setting and its database are needed for all statements.
    const connection = yield* sql.reserve
    const run = (text: string) => connection.executeValuesUnprepared(text, [])
    yield* run("set foreign_key_checks = 0")
    yield* run(`use ${quoted(to)}`)
    for (const [name] of tables) {
      const table = quoted(String(name))
      const [shown] = yield* run(`show create table ${quoted(from)}.${table}`)
      yield* run(String(shown![1]))
      const columns = yield* run(
        `select column_name from information_schema.columns where table_schema = '${from}' and table_name = ` +
          `'${String(name).replaceAll("'", "''")}' and extra not like '%GENERATED%' order by ordinal_position`
      )
      const list = columns.map(([column]) => quoted(String(column))).join(", ")
      if (list !== "") yield* run(`insert into ${table} (${list}) select ${list} from ${quoted(from)}.${table}`)
    }
  }))

const quoted = (name: string): string => `\`${name.replaceAll("`", "``")}\``

const refused = (message: string) =>
  Effect.fail(
    new SqlError({
      reason: new UnknownError({
        message: `TestDatabase: the ${message}. Make it in each database, in a layer around this one`,
        cause: new Error(message),
        operation: "clone"
      })
    })
  )
