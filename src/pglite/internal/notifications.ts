/** `Notifications` on an embedded database, which has no second connection to listen on, and none that could be lost. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as SqlClient from "effect/sql/SqlClient"
import { Adapter } from "../../Adapter.ts"
import { channelError, notify } from "../../postgres/internal/Listeners.ts"
import { type Event, Notifications } from "../../postgres/Notifications.ts"
import { channelsOf } from "./Channels.ts"

export const layer: Layer.Layer<Notifications, never, Adapter | SqlClient.SqlClient> = Layer.effect(
  Notifications,
  Effect.gen(function*() {
    const adapter = yield* Adapter
    const client = yield* SqlClient.SqlClient
    const channels = channelsOf(adapter)
    return {
      subscribe: (...names) =>
        Effect.gen(function*() {
          for (const name of names) {
            const error = channelError(adapter.name, name, "listen")
            if (error !== undefined) return yield* Effect.fail(error)
          }
          const queue = yield* Effect.acquireRelease(Queue.unbounded<Event>(), Queue.shutdown)
          for (const name of new Set(names)) {
            yield* Effect.acquireRelease(
              Effect.sync(() => channels.join(name, queue)),
              () => Effect.sync(() => channels.leave(name, queue))
            )
          }
          return queue
        }),
      notify: (channel, payload) => notify(client, adapter.name, channel, payload)
    }
  })
)
