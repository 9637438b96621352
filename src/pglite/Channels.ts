/**
 * Who listens to which channel of an embedded database.
 *
 * Nobody but this process can notify anybody there, so it is soon enough to listen right before the next message that
 * is written. What has ended the listening, a reset or the rollback of the transaction that it was in, is made up for
 * in the same way: nothing can be missed, and nobody waits.
 */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter } from "../Adapter.ts"
import { channelError } from "../postgres/listen/Listeners.ts"
import type * as Notifications from "../postgres/Notifications.ts"

type Notification = Omit<Notifications.Notification, "_tag">
type Listener = (notification: Notification) => void

export class Channels {
  private readonly channels = new Map<string, Set<Listener>>()
  private listening: "no" | "unless rolled back" | "yes" = "yes"

  get isEmpty(): boolean {
    return this.channels.size === 0
  }

  /** Gives what is sent to some channels, as it is made of notifications, until the scope closes. */
  listen<A>(
    database: string,
    channels: ReadonlyArray<string>,
    make: (notification: Notification) => A
  ): Effect.Effect<Queue.Queue<A>, SqlError, Scope.Scope> {
    for (const channel of channels) {
      const error = channelError(database, channel, "listen")
      if (error !== undefined) return Effect.fail(error)
    }
    const acquire = Effect.map(Queue.unbounded<A>(), (queue) => {
      const listener: Listener = (notification) => void Queue.offerUnsafe(queue, make(notification))
      for (const channel of channels) this.join(channel, listener)
      return { listener, queue }
    })
    return Effect.map(
      Effect.acquireRelease(acquire, ({ listener, queue }) => {
        for (const channel of channels) this.leave(channel, listener)
        return Queue.shutdown(queue)
      }),
      ({ queue }) => queue
    )
  }

  private join(channel: string, listener: Listener): void {
    const listeners = this.channels.get(channel)
    if (listeners !== undefined) return void listeners.add(listener)
    this.channels.set(channel, new Set([listener]))
    this.listening = "no"
  }

  /** That the database goes on to listen costs nothing, and ends with the next reset. */
  private leave(channel: string, listener: Listener): void {
    const listeners = this.channels.get(channel)
    listeners?.delete(listener)
    if (listeners?.size === 0) this.channels.delete(channel)
  }

  publish(notification: Notification): void {
    for (const listener of this.channels.get(notification.channel) ?? []) listener(notification)
  }

  /** The session may have been reset. */
  forget(): void {
    this.listening = "no"
  }

  /** What is to be run ahead of the next message, given the status of the session. */
  due(status: string | undefined): string | undefined {
    if (this.listening === "yes" || this.channels.size === 0) return undefined
    if (status === "I") this.listening = "yes"
    else if (status === "T" && this.listening === "no") this.listening = "unless rolled back"
    else return undefined
    return Array.from(this.channels.keys(), (channel) => `LISTEN "${channel.replaceAll("\"", "\"\"")}"`).join("; ")
  }
}

const ofAdapter = new WeakMap<Adapter, Channels>()

/** Gives an adapter its channels. */
export const attachChannels = <A extends Adapter>(adapter: A, channels: Channels): A => {
  ofAdapter.set(adapter, channels)
  return adapter
}

export const channelsOf = (adapter: Adapter): Channels => ofAdapter.get(adapter) ?? new Channels()
