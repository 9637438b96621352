/**
 * Finds out what became of a COMMIT that was not answered.
 *
 * | the server                | says of the transaction | so it was                                                    |
 * | ------------------------- | ----------------------- | ------------------------------------------------------------ |
 * | another one, or a standby | -                       | unknown                                                      |
 * | on another timeline       | -                       | unknown: ids are given out again there                       |
 * | the same, not restarted   | committed               | applied                                                      |
 * | the same, not restarted   | aborted                 | not applied                                                  |
 * | the same, restarted       | committed               | applied, if the id was in the log before; unknown otherwise  |
 * | the same, restarted       | aborted, in the future  | not applied                                                  |
 * | the same                  | in progress             | asked again; a session that idles in it is ended             |
 * | the same                  | nothing: it is too old  | unknown                                                      |
 *
 * A crash takes with it what had not been written to the log, ids included: the next transactions get the same ones.
 * So an id that is committed after a restart is ours only if the recovery found it in the log. That can be told as long
 * as there has been no checkpoint since the one that ended the recovery.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../../Adapter.ts"
import { type CommitToken, type Incarnation, incarnation } from "./Witness.ts"

type Answer = "Applied" | "NotApplied" | "Unknown"

export const resolveCommit = Effect.fnUntraced(function*(
  token: unknown,
  connection: Connection
): Effect.fn.Return<Answer, SqlError> {
  const { incarnation: then, processId, xid } = token as CommitToken
  // Without an id it has written nothing.
  if (xid === undefined) return "NotApplied"
  // In a transaction, so that all answers come from one server, also behind a pooler.
  yield* connection.begin({ access: "read only", resolvable: "never" })
  return yield* Effect.onExit(
    look(connection, processId, then, xid),
    // Whoever stops waiting does not wait for this either: the pool sees to it.
    (exit) => Exit.hasInterrupts(exit) ? Effect.void : Effect.ignore(connection.rollback)
  )
})

const look = Effect.fnUntraced(function*(
  connection: Connection,
  processId: number,
  then: Incarnation,
  xid: string
): Effect.fn.Return<Answer, SqlError> {
  const now = yield* whoIsThere(connection)
  if (now.system !== then.system || now.timeline !== then.timeline) return "Unknown"
  const restarted = now.started !== then.started
  let polls = 0
  const status = yield* statusOf(connection, now.modern, xid).pipe(
    Effect.tap((status) =>
      status === "in progress" && ++polls === patience
        ? endIdleSession(connection, processId, xid)
        : Effect.void
    ),
    Effect.repeat({ schedule: Schedule.spaced("20 millis"), while: (status) => status === "in progress" })
  )
  if (status === "aborted") return "NotApplied"
  if (status === "future") return restarted ? "NotApplied" : "Unknown"
  if (status !== "committed") return "Unknown"
  return !restarted || (yield* wasRecovered(connection, xid)) ? "Applied" : "Unknown"
})

/** How often an open transaction is asked about before its session is ended: after half a second. */
const patience = 25

const firstRow = (
  connection: Connection,
  sql: string,
  params: ReadonlyArray<unknown>
): Effect.Effect<ReadonlyArray<unknown>, SqlError> =>
  Effect.map(connection.executeValuesUnprepared(sql, params), (rows) => rows[0] ?? [])

const whoIsThere = (connection: Connection) =>
  Effect.map(
    firstRow(connection, `select current_setting('server_version_num')::int >= 130000, ${incarnation}`, []),
    ([modern, system, timeline, started]) => ({ modern: modern === true, system, timeline, started })
  )

const statusOf = (connection: Connection, modern: boolean, xid: string): Effect.Effect<string | null, SqlError> =>
  firstRow(
    connection,
    modern ? "select pg_catalog.pg_xact_status($1::text::xid8)" : "select pg_catalog.txid_status($1::text::bigint)",
    [xid]
  ).pipe(
    Effect.map(([status]) => status as string | null),
    Effect.catchIf(
      (error) => (error.reason.cause as { readonly code?: unknown } | undefined)?.code === "22023",
      () => Effect.succeed("future")
    )
  )

/**
 * A session that the network has lost but the server has not noticed sits in its transaction until the server gives it
 * up, which may take hours. One that is committing is left alone: ending it would not undo the COMMIT, but stop it from
 * waiting for a standby.
 */
const endIdleSession = (connection: Connection, processId: number, xid: string): Effect.Effect<void> =>
  Effect.ignore(firstRow(
    connection,
    "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity " +
      "where pid = $1::int and backend_xid::text = $2::text and state like 'idle in transaction%'",
    [processId, String(BigInt(xid) & 0xffffffffn)]
  ))

/**
 * Whether the id was given out before the server went down, and has survived that. The checkpoint that ends a recovery,
 * or an orderly shutdown, is the only kind at whose beginning the log ends: it knows what the next id was then.
 */
const wasRecovered = (connection: Connection, xid: string): Effect.Effect<boolean, SqlError> =>
  Effect.map(
    firstRow(
      connection,
      "select checkpoint_lsn = redo_lsn and current_setting('wal_level') <> 'minimal', next_xid " +
        "from pg_catalog.pg_control_checkpoint()",
      []
    ),
    ([isFirst, next]) => {
      const [epoch = "0", id = "0"] = String(next).split(":")
      return isFirst === true && BigInt(xid) < (BigInt(epoch) << 32n) + BigInt(id)
    }
  )
