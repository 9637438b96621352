import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../../Adapter.ts"

type Body<A, E, R> = (connection: Connection) => Effect.Effect<A, E, R>

/** Runs something on a connection whose server takes writes, so that it writes nothing. */
export const readOnly = <A, E, R>(f: Body<A, E, R>): Body<A, E | SqlError, R> => (connection) =>
  Effect.andThen(
    connection.begin({ access: "read only", lazy: true }),
    // Nothing was written. Whoever is interrupted does not wait for the end: the pool sees to it.
    Effect.onExit(
      f(connection),
      (exit) => Exit.hasInterrupts(exit) ? Effect.void : Effect.ignore(connection.rollback)
    )
  )
