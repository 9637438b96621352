/**
 * Finds out what became of a COMMIT that was not answered.
 *
 * | the server                           | says of the transaction                 | so it was                                 |
 * | ------------------------------------ | --------------------------------------- | ----------------------------------------- |
 * | another one, or a standby            | -                                       | unknown                                   |
 * | on another timeline                  | -                                       | unknown: ids are given out again there    |
 * | the same                             | aborted                                 | not applied                               |
 * | the same, without a break            | committed                               | applied                                   |
 * | the same, after a crash or a restart | in the future                           | not applied: it was lost                  |
 * | the same, started again              | committed; its log had not known the id | not applied: somebody else has the id now |
 * | the same, started again              | committed; its log had known the id     | unknown                                   |
 * | the same, after a crash it survived  | committed                               | unknown                                   |
 * | the same                             | in progress                             | asked again; an idle session is ended     |
 * | the same                             | anything else, or nothing any more      | unknown                                   |
 *
 * A crash takes with it what had not been written to the log, ids included: the next transactions get the same ones.
 * What the log knew when the server came back can be told as long as there has been no checkpoint since. An id that it
 * did not know is somebody else's by now, however often the server has crashed. One that it knew is ours if the server
 * has crashed once, but nobody can tell that it was once: after the first of two crashes somebody else may have had it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../../../Adapter.ts"
import { type CommitToken, incarnation } from "./CommitEvidence.ts"

type Answer = "Applied" | "NotApplied" | "Unknown"

export const resolveCommit = Effect.fnUntraced(function*(
  token: unknown,
  connection: Connection
): Effect.fn.Return<Answer, SqlError> {
  const { xid } = token as CommitToken
  // Without an id it has written nothing.
  if (xid === undefined) return "NotApplied"
  // In a transaction, so that all answers come from one server, also behind a pooler.
  yield* connection.begin({ access: "read only", resolvable: "never" })
  return yield* Effect.onExit(
    look(connection, token as CommitToken, xid),
    // Whoever stops waiting does not wait for this either: the pool sees to it.
    (exit) => Exit.hasInterrupts(exit) ? Effect.void : Effect.ignore(connection.rollback)
  )
})

const look = Effect.fnUntraced(function*(
  connection: Connection,
  { incarnation: then, processId }: CommitToken,
  xid: string
): Effect.fn.Return<Answer, SqlError> {
  const now = yield* whoIsThere(connection)
  if (now.system !== then.system || now.timeline !== then.timeline) return "Unknown"
  const isAnother = now.started !== then.started
  const survived = now.recovered !== then.recovered
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
  if (status === "future") return isAnother || survived ? "NotApplied" : "Unknown"
  if (status !== "committed") return "Unknown"
  if (!isAnother) return survived ? "Unknown" : "Applied"
  return (yield* wasInLog(connection, xid)) === false ? "NotApplied" : "Unknown"
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
    ([modern, system, timeline, started, recovered]) => ({
      modern: modern === true,
      system,
      timeline,
      started,
      recovered
    })
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
 * Whether the log knew the id when the server came back, if that can still be told. The checkpoint that ends a
 * recovery, or an orderly shutdown, is the only kind at whose beginning the log ends: it knows the next id of then.
 */
const wasInLog = (connection: Connection, xid: string): Effect.Effect<boolean | undefined, SqlError> =>
  Effect.map(
    firstRow(
      connection,
      "select checkpoint_lsn = redo_lsn and current_setting('wal_level') <> 'minimal', next_xid " +
        "from pg_catalog.pg_control_checkpoint()",
      []
    ),
    ([isFirst, next]) => {
      const [epoch = "0", id = "0"] = String(next).split(":")
      return isFirst === true ? BigInt(xid) < (BigInt(epoch) << 32n) + BigInt(id) : undefined
    }
  )
