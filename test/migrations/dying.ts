/** A process that ends at a chosen point: from then on it sends nothing, and its connections are gone. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { Adapter, Database } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"

/** Where it ends: when a call was sent and not answered, or when it was answered. */
export type Moment = "sent" | "after"

/** Before a call is after the one before it, so these two are every point. */
export const moments: ReadonlyArray<Moment> = ["sent", "after"]

/** The calls of a connection that send something. */
const calls = new Set([
  "execute",
  "executeRaw",
  "executeValues",
  "executeUnprepared",
  "executeValuesUnprepared",
  "begin",
  "commit",
  "rollback"
])

/** What became of the process. */
export interface Life {
  /** How many calls it has made. */
  calls: number
  isDead: boolean
  /** The call at which it ended. */
  last: string
}

/** A database layer of a process that ends at a call, counted from 1. */
export const dyingLayer = (url: string, at: number, moment: Moment, life: Life) => {
  const options = { url: Redacted.make(url) }
  const make = url.startsWith("postgres")
    ? Postgres.makeAdapter(options)
    : url.startsWith("mariadb")
    ? Mariadb.makeAdapter(options)
    : Mysql.makeAdapter(options)
  const alive = new Set<Adapter.Connection>()
  const die = (what: string) =>
    Effect.suspend(() => {
      life.isDead = true
      life.last = what
      for (const connection of alive) connection.destroy("the process was killed")
      return Effect.die(new Error("killed"))
    })
  const gone = Effect.suspend(() =>
    Effect.fail(new SqlError({ reason: new UnknownError({ cause: new Error("killed"), operation: "killed" }) }))
  )
  const guard = (name: string, call: Effect.Effect<unknown, SqlError>): Effect.Effect<unknown, SqlError> =>
    Effect.suspend(() => {
      if (life.isDead) return gone
      life.calls++
      if (life.calls !== at) return call
      switch (moment) {
        case "sent":
          return Effect.andThen(
            Effect.forkDetach(Effect.ignore(call), { startImmediately: true }),
            // What was written in this tick is on its way before the socket is gone.
            Effect.andThen(Effect.promise(() => new Promise((resolve) => setImmediate(resolve))), die(name))
          )
        case "after":
          return Effect.andThen(call, die(name))
      }
    })
  const wrap = (connection: Adapter.Connection): Adapter.Connection => {
    alive.add(connection)
    return new Proxy(connection, {
      get: (target, property) => {
        const value = Reflect.get(target, property, target) as unknown
        const name = String(property)
        if (calls.has(name)) {
          return typeof value === "function"
            ? (...args: ReadonlyArray<unknown>) => guard(`${name} ${String(args[0])}`, value.apply(target, args))
            : guard(name, value as Effect.Effect<unknown, SqlError>)
        }
        return typeof value === "function" ? value.bind(target) : value
      }
    })
  }
  return Database.layerOf(
    Layer.effect(
      Adapter.Adapter,
      Effect.map(make, (adapter): Adapter.Adapter => ({
        ...adapter,
        connect: Effect.suspend(() => life.isDead ? gone : Effect.map(adapter.connect, wrap))
      }))
    ),
    { breaker: false, pool: { min: 0, max: 3, acquireTimeout: "500 millis", shutdownTimeout: "100 millis" } }
  )
}
