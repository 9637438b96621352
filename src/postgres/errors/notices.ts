/**
 * Where the notices of all sessions of an adapter come together.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { Adapter } from "../../Adapter.ts"
import type { Notice, Severity } from "../Server.ts"

/** How many notices may wait for whoever reads them. The oldest go first. */
const maxWaiting = 1_000

export class NoticeHub {
  private readonly queues = new Set<Queue.Queue<Notice>>()

  readonly stream: Stream.Stream<Notice> = Stream.unwrap(Effect.map(
    Effect.acquireRelease(
      Effect.tap(Queue.sliding<Notice>(maxWaiting), (queue) => Effect.sync(() => this.queues.add(queue))),
      (queue) => Effect.andThen(Effect.sync(() => this.queues.delete(queue)), Queue.shutdown(queue))
    ),
    Stream.fromQueue
  ))

  publish(connectionId: string, fields: PgProtocol.ErrorFields): void {
    if (this.queues.size === 0) return
    const severity = fields.severityUnlocalized ?? fields.severity ?? "NOTICE"
    const notice: Notice = {
      severity: (severity.startsWith("DEBUG") ? "DEBUG" : severity) as Severity,
      code: fields.code,
      message: fields.message ?? "",
      detail: fields.detail,
      hint: fields.hint,
      where: fields.where,
      connectionId
    }
    for (const queue of this.queues) Queue.offerUnsafe(queue, notice)
  }
}

const hubs = new WeakMap<Adapter, NoticeHub>()

/** Gives an adapter its hub. */
export const attachHub = <A extends Adapter>(adapter: A, hub: NoticeHub): A => {
  hubs.set(adapter, hub)
  return adapter
}

export const hubOf = (adapter: Adapter): NoticeHub => hubs.get(adapter) ?? new NoticeHub()
