/**
 * Where a PostgreSQL server is in its log, behind a COMMIT or a read, and whether another one has got there.
 *
 * | behind                                  | is                                                                         |
 * | --------------------------------------- | -------------------------------------------------------------------------- |
 * | a COMMIT that waited for the disk       | what is flushed: a standby has it as soon as it has the commit             |
 * | one that did not, `synchronous_commit = off` | what is written: nothing before that includes the commit              |
 * | a read on a standby                     | what is replayed                                                           |
 *
 * What is written includes what others have written and not flushed. A standby gets that only when somebody flushes, so it
 * is asked for only where it must be.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Causality, Connection, Position } from "../../Adapter.ts"
import { unwrap } from "../../pool/LeasedConnection.ts"
import type { Session } from "../session/Session.ts"
import { positionOf } from "./logPosition.ts"

const sessionOf = (connection: Connection): Session => unwrap(connection) as Session

/** The log that is being written tells the timeline; a standby is sure only of what its control file says. */
const generation = (prefix: string): string =>
  `case when ${prefix}pg_is_in_recovery() then ` +
  `greatest((select timeline_id from ${prefix}pg_control_checkpoint()), ` +
  `(select min_recovery_end_timeline from ${prefix}pg_control_recovery())) ` +
  `else ('x' || substr(${prefix}pg_walfile_name(${prefix}pg_current_wal_lsn()), 1, 8))::bit(32)::int end`

const question = (written: boolean): string =>
  "select (select system_identifier from pg_catalog.pg_control_system())::text as a, " +
  `(${generation("pg_catalog.")})::text as b, ` +
  "(case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() " +
  `else pg_catalog.${written ? "pg_current_wal_insert_lsn" : "pg_current_wal_flush_lsn"}() end)::text as c, ` +
  "pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))::text as d"

/** Whether a session waits for the disk is its own affair, and for a single statement what the session has. */
const ofStatement =
  "select coalesce(w.a, f.a) as a, coalesce(w.b, f.b) as b, coalesce(w.c, f.c) as c, coalesce(w.d, f.d) as d " +
  `from (${question(false)}) f left join (${question(true)}) w ` +
  "on pg_catalog.current_setting('synchronous_commit') = 'off'"

const read = (values: ReadonlyArray<unknown> | undefined): Position | undefined => {
  const [lineage, timeline, lsn, segment] = values ?? []
  return typeof lineage !== "string" || typeof lsn !== "string" || timeline === null ? undefined : {
    lineage,
    generation: Number(timeline),
    value: String(positionOf(lsn, Number(segment)))
  }
}

export const causality: Causality = {
  commit: (connection) =>
    Effect.map(
      sessionOf(connection).commitAt(question(false), question(true)),
      (row) => read(row)
    ),
  position: (connection) => Effect.map(sessionOf(connection).question(ofStatement, "position"), (row) => read(row)),
  reached: (connection, { value }): Effect.Effect<boolean, SqlError> => {
    // On a server that does not follow any more the last answer stands for ever.
    const sql = "select pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn() - '0/0'::pg_catalog.pg_lsn"
    return Effect.map(
      sessionOf(connection).question(sql, "reached"),
      ([follows, at]) => (follows === "t" || follows === true) && Number(at) >= Number(value)
    )
  },
  isPosition: (value) => /^\d{1,15}$/.test(value),
  join: (a, b) => Number(a) >= Number(b) ? a : b,
  includes: (at, wanted) => Number(at) >= Number(wanted)
}
