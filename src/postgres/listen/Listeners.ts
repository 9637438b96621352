/**
 * Who listens to which channel of a session.
 */
import type { Notification } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { Buffer } from "node:buffer"
import { unknownError } from "../errors/errors.ts"

type NotificationQueue = Queue.Queue<Notification, SqlError>

/** The server cuts longer names off, and would then notify under a name that nobody listens to. */
const maxNameBytes = 63

/** Why a name cannot be a channel's. */
export const channelError = (database: string, channel: string, operation: string): SqlError | undefined =>
  channel === "" || channel.includes("\u0000") || Buffer.byteLength(channel) > maxNameBytes
    ? unknownError(
      database,
      `the name of a channel must have 1 to ${maxNameBytes} bytes in UTF-8 and no NUL`,
      undefined,
      operation
    )
    : undefined

/** Sends a notification. */
export const notify = (
  client: SqlClient,
  database: string,
  channel: string,
  payload = ""
): Effect.Effect<void, SqlError> => {
  const error = channelError(database, channel, "notify")
  return error === undefined
    ? Effect.asVoid(client`select pg_notify(${channel}, ${payload})`)
    : Effect.fail(error)
}

export class Listeners {
  /** Made when somebody listens: most sessions never do. */
  private channels: Map<string, Set<NotificationQueue>> | undefined = undefined
  private readonly listeners: Array<(notification: Notification) => void> = []

  /** How many channels are listened to. */
  get size(): number {
    return this.channels?.size ?? 0
  }

  /** Calls `listener` with the notifications of all channels that the server tells of. */
  onAny(listener: (notification: Notification) => void): void {
    this.listeners.push(listener)
  }

  onNotification(message: PgProtocol.NotificationResponse): void {
    const notification: Notification = { processId: message.pid, channel: message.channel, payload: message.payload }
    for (const listener of this.listeners) listener(notification)
    for (const queue of this.channels?.get(message.channel) ?? []) Queue.offerUnsafe(queue, notification)
  }

  /** The session has ended. Those who listen hear why, unless it was meant to end. */
  end(error: SqlError | undefined): void {
    const sets = this.channels === undefined ? [] : [...this.channels.values()]
    this.channels?.clear()
    const cause = error === undefined ? Cause.interrupt() : Cause.fail(error)
    for (const queues of sets) for (const queue of queues) Queue.failCauseUnsafe(queue, cause)
  }

  /** Listens until the scope closes. `run` runs a statement on the session. */
  listen(
    channel: string,
    run: (sql: string) => Effect.Effect<unknown, SqlError>
  ): Effect.Effect<Queue.Dequeue<Notification, SqlError>, SqlError, Scope.Scope> {
    const channels = this.channels ??= new Map()
    const identifier = `"${channel.replaceAll("\"", "\"\"")}"`
    const acquire = Effect.gen(function*() {
      const queue: NotificationQueue = yield* Queue.unbounded<Notification, SqlError>()
      const queues = channels.get(channel) ?? new Set()
      channels.set(channel, queues)
      // Before LISTEN is answered, for a notification may come in the same chunk.
      queues.add(queue)
      return queue
    })
    const release = (queue: NotificationQueue): Effect.Effect<void> =>
      Effect.suspend(() => {
        const queues = channels.get(channel)
        if (queues?.delete(queue) !== true || queues.size > 0) return Queue.shutdown(queue)
        channels.delete(channel)
        return Effect.andThen(Effect.ignore(run(`UNLISTEN ${identifier}`)), Queue.shutdown(queue))
      })
    return Effect.flatMap(
      Effect.acquireRelease(acquire, release),
      (queue) => Effect.as(run(`LISTEN ${identifier}`), queue)
    )
  }
}
