/** `Notifications` on an embedded database, which has no second connection to listen on, and none that could be lost. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { Adapter } from "../Adapter.ts"
import { listenWith } from "../postgres/adapter/client.ts"
import { notify } from "../postgres/listen/Listeners.ts"
import { type Event, Notifications } from "../postgres/Notifications.ts"
import { channelsOf } from "./Channels.ts"

export const layer: Layer.Layer<Notifications, never, Adapter | SqlClient.SqlClient> = Layer.effect(
  Notifications,
  Effect.gen(function*() {
    const adapter = yield* Adapter
    const client = yield* SqlClient.SqlClient
    const channels = channelsOf(adapter)
    listenWith(client, (channel) => channels.listen(adapter.name, [channel], (notification) => notification))
    return {
      subscribe: (...names) =>
        channels.listen(adapter.name, names, ({ channel, payload, processId }): Event => ({
          _tag: "Notification",
          channel,
          payload,
          processId
        })),
      notify: (channel, payload) => notify(client, adapter.name, channel, payload)
    }
  })
)
