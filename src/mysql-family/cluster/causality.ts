/**
 * Where a server of MySQL or MariaDB is in the history of its cluster, behind a COMMIT or a read, and whether another one
 * has got there.
 *
 * | behind                                            | is                                                           |
 * | ------------------------------------------------- | ------------------------------------------------------------ |
 * | a write, where server and driver tell of its GTID | that transaction: a replica that has it has all before it    |
 * | any other statement                               | all that the server has by then                              |
 *
 * Whether a replica is far enough is asked and not waited for on the server. A read that waits there holds a connection,
 * and a replica that is behind would have all of its connections held by those who wait.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Causality, Connection, Position } from "../../Adapter.ts"
import { unwrap } from "../../pool/LeasedConnection.ts"
import type { Session } from "../session/Session.ts"
import type { ServerInfo } from "../session/SessionContext.ts"
import * as Place from "./position.ts"

const sessionOf = (connection: Connection): Session => unwrap(connection) as Session

/** Asks for all that a server has. */
export const questionOf = ({ inCluster, isMariadb }: ServerInfo): string =>
  inCluster
    ? "SELECT CONCAT('galera:', GROUP_CONCAT(VARIABLE_VALUE ORDER BY VARIABLE_NAME SEPARATOR ':')) " +
      "FROM information_schema.GLOBAL_STATUS " +
      "WHERE VARIABLE_NAME IN ('wsrep_cluster_state_uuid', 'wsrep_last_committed')"
    : isMariadb
    ? "SELECT @@GLOBAL.gtid_current_pos"
    : "SELECT @@GLOBAL.gtid_executed"

/**
 * What the servers are called by in tokens. They have no name that all of them agree on, so it is made of the name of
 * the database, which is the same for all programs that use it, through whichever addresses.
 */
const lineageOf = (database: string | undefined): string => {
  let hash = 0x811c9dc5
  for (const character of database ?? "") hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193)
  return `name-${(hash >>> 0).toString(36)}`
}

export const causalityOf = (database: string | undefined): Causality => {
  const lineage = lineageOf(database)
  const position = (value: unknown): Position | undefined => {
    const place = value === undefined || value === null ? undefined : Place.normal(String(value))
    return place === undefined ? undefined : { lineage, generation: undefined, value: place }
  }
  const ask = (session: Session): Effect.Effect<Position | undefined, SqlError> =>
    Effect.map(session.executeValuesUnprepared(questionOf(session.server), []), ([row]) => position(row?.[0]))
  return {
    lineage,
    commit: (connection) => {
      const session = sessionOf(connection)
      return Effect.map(session.commitAt(questionOf(session.server)), position)
    },
    position: (connection) => {
      const session = sessionOf(connection)
      const written = position(session.driver.written)
      return written === undefined ? ask(session) : Effect.succeed(written)
    },
    reached: (connection, { value }) =>
      Effect.map(ask(sessionOf(connection)), (at) => at !== undefined && Place.includes(at.value, value)),
    isPosition: Place.isPosition,
    join: Place.join,
    includes: Place.includes
  }
}
