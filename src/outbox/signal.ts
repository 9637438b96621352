/** Wakes the workers of this process at once, and those of others where the database can. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"

export interface Signal {
  readonly wake: (topic: string) => void
  /** Ends at the next `wake`. */
  readonly next: (topic: string) => Effect.Effect<void>
  /** Wakes other processes. Many at a time are one. */
  readonly notify: (sql: SqlClient) => Effect.Effect<void>
}

/** The channel that `Notifications.stream` is given. */
const channel = "watertight_outbox"

const make = (): Signal => {
  const waiting = new Map<string, Deferred.Deferred<void>>()
  let isNotifying = false
  let isAskedAgain = false
  return {
    wake: (topic) => {
      const deferred = waiting.get(topic)
      if (deferred === undefined) return
      waiting.delete(topic)
      Deferred.doneUnsafe(deferred, Effect.void)
    },
    next: (topic) => {
      let deferred = waiting.get(topic)
      if (deferred === undefined) {
        deferred = Deferred.makeUnsafe<void>()
        waiting.set(topic, deferred)
      }
      return Deferred.await(deferred)
    },
    notify: (sql) => {
      const send = sql.onDialectOrElse({
        pg: () => Effect.asVoid(Effect.ignore(sql`select pg_notify(${channel}, '')`)),
        orElse: () => Effect.void
      })
      const rounds: Effect.Effect<void> = Effect.suspend(() => {
        isAskedAgain = false
        return Effect.flatMap(send, () => isAskedAgain ? rounds : Effect.void)
      })
      return Effect.suspend(() => {
        if (isNotifying) {
          isAskedAgain = true
          return Effect.void
        }
        isNotifying = true
        return Effect.ensuring(
          rounds,
          Effect.sync(() => {
            isNotifying = false
          })
        )
      })
    }
  }
}

const signals = new WeakMap<object, Signal>()

/** That of a client: all programs of a process that share the client share it. */
export const signalOf = (sql: SqlClient): Signal => {
  const known = signals.get(sql)
  if (known !== undefined) return known
  const signal = make()
  signals.set(sql, signal)
  return signal
}
