/**
 * LISTEN and NOTIFY, over a connection that is renewed when it is lost.
 *
 * **Details**
 *
 * All listeners of a database share one connection beside the pool, which is opened for the first of them and closed
 * after the last. When it is lost, it is opened anew with growing pauses, all channels are listened to again, and every
 * listener gets a {@link Gap}: what was sent in between has reached nobody. Between two gaps a listener gets everything
 * that was sent.
 *
 * The connection is asked for a sign of life now and then, so that one that was lost silently is found out.
 *
 * **Gotchas**
 *
 * Notifications are not a queue: what has to be done belongs in a table, and a notification only says that there is
 * something new. After a gap, look there.
 *
 * **Example** (Work that is announced)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Notifications } from "watertight/postgres"
 *
 * declare const workOff: Effect.Effect<void>
 *
 * const worker = Notifications.stream("job").pipe(
 *   // A gap may have hidden a notification, so it is one.
 *   Stream.runForEach(() => workOff)
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { unknownError } from "./errors/errors.ts"
import { channelError, notify as notifyOf } from "./listen/Listeners.ts"
import { type Overflow, Subscriber } from "./listen/Subscriber.ts"
import type { Session } from "./session/Session.ts"
import type { Sessions } from "./Sessions.ts"

/**
 * Somebody has notified a channel.
 *
 * @category models
 * @since 0.1.0
 */
export interface Notification {
  readonly _tag: "Notification"
  readonly channel: string
  readonly payload: string
  /** The process of the server that sent it. */
  readonly processId: number
}

/**
 * Events are missing: the connection was lost for a while, or the listener was too slow and its queue was full.
 *
 * **Details**
 *
 * After a queue that was full, `from` and `to` are both the time when it became full: events are missing from then until
 * the listener has come to this one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Gap {
  readonly _tag: "Gap"
  /** When the connection was found to be lost, and when everything was listened to again, in milliseconds since 1970. */
  readonly from: number
  readonly to: number
  /** Why the connection was lost, or that the queue was full. */
  readonly cause: SqlError
}

/**
 * What a listener gets.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Notification | Gap

/**
 * The options of the connection that listens.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** How often the connection is asked for a sign of life. Default: 15 seconds. */
  readonly keepAlive?: Duration.Input | undefined
  /** The longest pause between two attempts to connect. Pauses are random, up to it. Default: 5 seconds. */
  readonly maxPause?: Duration.Input | undefined
  /**
   * How many events may wait for a listener that is slow. Behind them it gets a {@link Gap} and misses what is sent until
   * it has come to that. Default: 4,096.
   */
  readonly maxWaiting?: number | undefined
}

/**
 * The notifications of a database.
 *
 * @category models
 * @since 0.1.0
 */
export interface Notifications {
  /**
   * Listens to channels until the scope closes. When this effect has ended, the server knows of it.
   *
   * **Details**
   *
   * Fails when the server cannot be made to listen for a reason that does not pass by itself, as a wrong password.
   */
  readonly subscribe: (
    ...channels: ReadonlyArray<string>
  ) => Effect.Effect<Queue.Dequeue<Event>, SqlError, Scope.Scope>
  /** Sends a notification. Inside a transaction it is sent when that commits. A payload has at most 8000 bytes. */
  readonly notify: (channel: string, payload?: string) => Effect.Effect<void, SqlError>
}

/**
 * The service of `Notifications`.
 *
 * @category services
 * @since 0.1.0
 */
export const Notifications = Context.Service<Notifications>("watertight/postgres/Notifications")

/**
 * What is sent to channels, and the gaps. Listening begins with the stream and ends with it.
 *
 * @category streams
 * @since 0.1.0
 */
export const stream = (...channels: ReadonlyArray<string>): Stream.Stream<Event, SqlError, Notifications> =>
  Stream.unwrap(
    Effect.flatMap(
      Notifications,
      (notifications) => Effect.map(notifications.subscribe(...channels), (queue) => Stream.fromQueue(queue))
    )
  )

/**
 * Listens to channels until the scope closes, see {@link Notifications}.
 *
 * @category combinators
 * @since 0.1.0
 */
export const subscribe = (
  ...channels: ReadonlyArray<string>
): Effect.Effect<Queue.Dequeue<Event>, SqlError, Notifications | Scope.Scope> =>
  Effect.flatMap(Notifications, (notifications) => notifications.subscribe(...channels))

/**
 * Sends a notification. Inside a transaction it is sent when that commits.
 *
 * @category combinators
 * @since 0.1.0
 */
export const notify = (channel: string, payload?: string): Effect.Effect<void, SqlError, Notifications> =>
  Effect.flatMap(Notifications, (notifications) => notifications.notify(channel, payload))

/** An attempt to connect that died, of the password's effect for example, has failed like any other. */
const diedOf = (database: string, cause: Cause.Cause<SqlError>): SqlError =>
  unknownError(database, "listening has failed without a typed error", Cause.squash(cause), "connect")

/** The first pause between two attempts to connect, in milliseconds. */
const leastPause = 50

/** The fiber that keeps the connection, once it has been forked. */
interface Running {
  fiber: Fiber.Fiber<never, SqlError> | undefined
}

/** A channel, who listens to it, and what ends the listening on the connection of the moment. */
interface Channel {
  readonly subscribers: Set<Subscriber<Event>>
  listening: { readonly on: Session; readonly scope: Scope.Closeable } | undefined
}

/** The one connection that listens, while there is a channel to listen to. When it is lost, another one is opened. */
class ListeningConnection {
  private readonly sessions: Sessions
  private readonly keepAlive: Duration.Duration
  private readonly maxPause: number
  /** The scope of the fiber that keeps the connection. */
  private readonly scope: Scope.Scope
  private readonly channels = new Map<string, Channel>()
  // Who comes, who leaves, and a connection that begins must not get into each other's way.
  private readonly semaphore = Semaphore.makeUnsafe(1)
  private session: Session | undefined
  private running: Running | undefined
  /** What waits for a connection on which everything is listened to. */
  private ready = Deferred.makeUnsafe<void, SqlError>()
  /** When the last connection was lost, and why, until there is another one. */
  private lost: { readonly from: number; readonly cause: SqlError } | undefined
  private pause = leastPause

  constructor(sessions: Sessions, options: Options, scope: Scope.Scope) {
    this.sessions = sessions
    this.keepAlive = Duration.fromInputUnsafe(options.keepAlive ?? "15 seconds")
    this.maxPause = Duration.toMillis(Duration.fromInputUnsafe(options.maxPause ?? "5 seconds"))
    this.scope = scope
  }

  /** Adds a listener to a channel. Where no connection listens yet, the next one begins with this channel. */
  join(name: string, subscriber: Subscriber<Event>): Effect.Effect<void, SqlError> {
    return this.semaphore.withPermit(Effect.suspend(() => {
      const channel = this.channels.get(name) ?? { subscribers: new Set(), listening: undefined }
      this.channels.set(name, channel)
      channel.subscribers.add(subscriber)
      return this.session === undefined || channel.listening !== undefined
        ? Effect.void
        : this.listen(this.session, name, channel)
    }))
  }

  /** Takes a listener away. The connection ends with the last one. */
  leave(name: string, subscriber: Subscriber<Event>): Effect.Effect<void> {
    return this.semaphore.withPermit(Effect.suspend(() => {
      const channel = this.channels.get(name)
      if (channel?.subscribers.delete(subscriber) !== true || channel.subscribers.size > 0) return Effect.void
      this.channels.delete(name)
      const fiber = this.running?.fiber
      return Effect.andThen(
        this.stopListening(channel, undefined),
        this.channels.size > 0 || fiber === undefined ? Effect.void : Effect.sync(() => {
          this.running = undefined
          this.session = undefined
          fiber.interruptUnsafe()
        })
      )
    }))
  }

  /** Waits until a connection listens to all channels. Fails if there can be none. */
  readonly listening: Effect.Effect<void, SqlError> = Effect.suspend(() =>
    Effect.andThen(this.start(), Effect.suspend(() => Deferred.await(this.ready)))
  )

  private start(): Effect.Effect<void> {
    if (this.running !== undefined) return Effect.void
    const first = Deferred.makeUnsafe<void, SqlError>()
    const own: Running = { fiber: undefined }
    this.running = own
    this.ready = first
    this.lost = undefined
    this.pause = leastPause
    return Effect.map(
      Effect.forkIn(
        Effect.onExit(this.keep(first), (exit) =>
          Effect.sync(() => {
            if (Exit.isFailure(exit)) Deferred.doneUnsafe(first, Effect.failCause(exit.cause))
            if (this.running !== own) return
            // Listeners that come later begin anew, and those that wait are told.
            this.running = undefined
            if (Exit.isFailure(exit)) Deferred.doneUnsafe(this.ready, Effect.failCause(exit.cause))
          })),
        this.scope
      ),
      (fiber) => {
        own.fiber = fiber
      }
    )
  }

  /** One connection after the other. */
  private readonly keep = Effect.fnUntraced(
    { self: this },
    function*(first: Deferred.Deferred<void, SqlError>): Effect.fn.Return<never, SqlError> {
      for (;;) {
        const exit = yield* Effect.exit(this.connection)
        if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return yield* exit
        const cause = Option.getOrElse(
          Cause.findErrorOption(exit.cause),
          () => diedOf(this.sessions.database, exit.cause)
        )
        const hasListened = yield* Deferred.isDone(first)
        // Nothing that passes by itself is in the way of the first one.
        if (!hasListened && !cause.isRetryable) return yield* Effect.fail(cause)
        // What lasts through attempts that fail is one gap.
        if (hasListened && this.lost === undefined) this.lost = { from: yield* Clock.currentTimeMillis, cause }
        if (yield* Deferred.isDone(this.ready)) this.ready = Deferred.makeUnsafe()
        yield* Effect.sleep((yield* Random.next) * this.pause)
        this.pause = Math.min(this.pause * 2, this.maxPause)
      }
    }
  )

  /** One connection, from its beginning to its loss. */
  private readonly connection: Effect.Effect<never, SqlError> = Effect.scoped(Effect.gen({ self: this }, function*() {
    const opened = yield* this.sessions.open
    const end = Deferred.makeUnsafe<never, SqlError>()
    opened.onLost((error) => Deferred.doneUnsafe(end, Effect.fail(error)))
    yield* Effect.addFinalizer(() =>
      Effect.andThen(
        Effect.sync(() => {
          // The next connection may be there already.
          if (this.session === opened) this.session = undefined
        }),
        Effect.forEach(Array.from(this.channels.values()), (channel) => this.stopListening(channel, opened), {
          discard: true
        })
      )
    )
    yield* this.semaphore.withPermit(this.begin(opened))
    yield* Deferred.succeed(this.ready, undefined)
    yield* Effect.raceFirst(
      Deferred.await(end),
      Effect.forever(Effect.andThen(Effect.sleep(this.keepAlive), opened.ping))
    )
    return yield* Effect.never
  }))

  /** Listens to all channels on a connection that has just been opened, and tells of the gap before it. */
  private readonly begin = Effect.fnUntraced(
    { self: this },
    function*(opened: Session): Effect.fn.Return<void, SqlError> {
      for (const [name, channel] of this.channels) yield* this.listen(opened, name, channel)
      this.session = opened
      this.pause = leastPause
      if (this.lost === undefined) return
      const gap: Gap = { _tag: "Gap", ...this.lost, to: yield* Clock.currentTimeMillis }
      this.lost = undefined
      const everybody = new Set(Array.from(this.channels.values(), ({ subscribers }) => [...subscribers]).flat())
      for (const subscriber of everybody) subscriber.offer(gap)
    }
  )

  private readonly listen = Effect.fnUntraced(
    function*(session: Session, name: string, channel: Channel): Effect.fn.Return<void, SqlError> {
      const scope = yield* Scope.make()
      const queue = yield* Effect.onError(
        Scope.provide(session.listen(name), scope),
        (cause) => Scope.close(scope, Exit.failCause(cause))
      )
      channel.listening = { on: session, scope }
      yield* Effect.forkIn(
        Effect.ignoreCause(Effect.forever(Effect.map(Queue.take(queue), ({ channel: from, payload, processId }) => {
          for (const one of channel.subscribers) one.offer({ _tag: "Notification", channel: from, payload, processId })
        }))),
        scope
      )
    }
  )

  /** Ends the listening to a channel on a connection. Another connection may have it by now. */
  private stopListening(channel: Channel, on: Session | undefined): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { listening } = channel
      if (listening === undefined || on !== undefined && listening.on !== on) return Effect.void
      channel.listening = undefined
      return Scope.close(listening.scope, Exit.void)
    })
  }
}

/**
 * Makes the notifications of a database. The connection ends with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  sessions: Sessions,
  client: SqlClient,
  options: Options = {}
): Effect.fn.Return<Notifications, never, Scope.Scope> {
  const connection = new ListeningConnection(sessions, options, yield* Effect.scope)
  const maxWaiting = options.maxWaiting ?? 4_096
  const clock = yield* Clock.Clock
  const overflow: Overflow<Event> = {
    gap: (from, to, cause) => ({ _tag: "Gap", from, to, cause }),
    now: () => clock.currentTimeMillisUnsafe(),
    cause: (waiting) => unknownError(sessions.database, `${waiting} notifications wait to be read`, undefined, "listen")
  }
  return {
    subscribe: (...names) =>
      Effect.gen(function*() {
        for (const name of names) {
          const error = channelError(sessions.database, name, "listen")
          if (error !== undefined) return yield* Effect.fail(error)
        }
        const queue = yield* Effect.acquireRelease(Queue.unbounded<Event>(), Queue.shutdown)
        const subscriber = new Subscriber(queue, maxWaiting, overflow)
        for (const name of new Set(names)) {
          yield* Effect.addFinalizer(() => connection.leave(name, subscriber))
          // A connection that is lost meanwhile is renewed, and then has the channel.
          yield* Effect.catchIf(
            connection.join(name, subscriber),
            (error) => error.reason._tag === "ConnectionError",
            () => Effect.void
          )
        }
        yield* connection.listening
        return queue
      }).pipe(Effect.mapError(sessions.judge())),
    notify: (channel, payload) => notifyOf(client, sessions.database, channel, payload)
  }
})
