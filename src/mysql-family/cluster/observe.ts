/**
 * Asks a server of MySQL or MariaDB what it is to its cluster.
 *
 * | server            | takes writes                                     | unfit                                            |
 * | ----------------- | ------------------------------------------------ | ------------------------------------------------ |
 * | MySQL, MariaDB    | neither `read_only` nor the like                 |                                                  |
 * | member of a group | the same                                         | not `ONLINE`, or without a majority of members   |
 * | node of Galera    | every node; they are peers                       | not `Synced`, or without a majority of nodes     |
 *
 * There is no generation. The number of a group's view and of a Galera cluster's grows whenever somebody comes or goes,
 * also while the primary stays: nodes that were asked before and after that would seem to be of different ages. Neither
 * needs one, for what an old primary is told after it has lost its group is refused there.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../../Adapter.ts"
import type { Observation } from "../../cluster/state/Observation.ts"
import { MysqlError } from "../errors/errors.ts"
import type { Session } from "../session/Session.ts"
import { type Members, ofGalera, ofMariadb, ofMysql } from "./observation.ts"

/** What a server says of itself, and which of the positions it has. */
export const observe = (
  connection: Connection,
  positions: ReadonlyArray<string>
): Effect.Effect<Observation, SqlError> => {
  const session = connection as Session
  const { server } = session
  return server.inCluster
    ? observeGalera(session, positions)
    : server.isMariadb
    ? observeMariadb(session, positions)
    : observeMysql(session, positions)
}

type Row = Readonly<Record<string, unknown>>

const ask = (session: Session, sql: string, parameters: ReadonlyArray<unknown> = []) =>
  session.executeUnprepared(sql, parameters, undefined) as Effect.Effect<ReadonlyArray<Row>, SqlError>

/** Goes on with another question where the server refuses one with this number. */
const unless = (errno: number, question: Effect.Effect<ReadonlyArray<Row>, SqlError>) => (error: SqlError) => {
  const { cause } = error.reason
  return cause instanceof MysqlError && cause.errno === errno ? question : Effect.fail(error)
}

const text = (value: unknown): string => value === null || value === undefined ? "" : String(value)

// ---------------------------------------------------------------------------------------------------------------------
// MySQL
// ---------------------------------------------------------------------------------------------------------------------

const denied = 1142

// Of a group, a role that must not see its members still learns the name.
const group = "(SELECT VARIABLE_VALUE FROM performance_schema.global_variables " +
  "WHERE VARIABLE_NAME = 'group_replication_group_name') AS group_name"

const members = [
  "(SELECT COUNT(*) FROM performance_schema.replication_group_members) AS all_members",
  "(SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE MEMBER_STATE = 'ONLINE') AS online_members",
  "(SELECT MEMBER_STATE FROM performance_schema.replication_group_members WHERE MEMBER_ID = @@server_uuid) AS own_state"
]

const observeMysql = (session: Session, positions: ReadonlyArray<string>) => {
  const has = positions.map((_, index) => `WHEN GTID_SUBSET(?, @@GLOBAL.gtid_executed) THEN ${index}`).join(" ")
  const columns = [
    "CONCAT_WS('|', @@GLOBAL.read_only, @@GLOBAL.super_read_only, @@GLOBAL.innodb_read_only) AS read_only",
    "REPLACE(@@GLOBAL.gtid_executed, '\\n', '') AS position",
    `${has === "" ? "NULL" : `CASE ${has} END`} AS has`,
    group
  ]
  const question = (columns: ReadonlyArray<string>) => ask(session, `SELECT ${columns.join(", ")}`, positions)
  return question([...columns, ...members]).pipe(
    Effect.catch(unless(denied, question(columns))),
    Effect.map(([row]) =>
      ofMysql(session.server.identity, {
        readOnly: text(row!["read_only"]),
        position: text(row!["position"]),
        has: row!["has"] === null ? null : Number(row!["has"]),
        group: row!["group_name"] === null ? null : text(row!["group_name"]),
        members: "all_members" in row! ? membersOf(row) : undefined
      })
    )
  )
}

const membersOf = (row: Row): Members => ({
  all: Number(row["all_members"]),
  online: Number(row["online_members"]),
  state: row["own_state"] === null ? null : text(row["own_state"])
})

// ---------------------------------------------------------------------------------------------------------------------
// MariaDB
// ---------------------------------------------------------------------------------------------------------------------

const readOnlyOfMariadb = "CONCAT_WS('|', @@GLOBAL.read_only, @@GLOBAL.innodb_read_only)"

const observeMariadb = (session: Session, positions: ReadonlyArray<string>) =>
  Effect.map(
    ask(session, `SELECT ${readOnlyOfMariadb} AS read_only, @@GLOBAL.gtid_current_pos AS position`),
    ([row]) =>
      ofMariadb(
        session.server.identity,
        { readOnly: text(row!["read_only"]), position: text(row!["position"]) },
        positions
      )
  )

// A node that has lost its cluster refuses every question about a table, and answers these.
const observeGalera = (session: Session, positions: ReadonlyArray<string>) =>
  Effect.map(
    Effect.all([
      ask(session, `SELECT ${readOnlyOfMariadb} AS read_only`),
      ask(session, "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep%'")
    ], { concurrency: 2 }),
    ([[row], rows]) => {
      const status: Record<string, string> = {}
      for (const each of rows) status[text(each["Variable_name"]).toLowerCase()] = text(each["Value"])
      return ofGalera(session.server.identity, { readOnly: text(row!["read_only"]), status }, positions)
    }
  )
