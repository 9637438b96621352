/**
 * What is done around a statement inside of `Causal`: is its server far enough, and where is it afterwards.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Causality, Connection, Position } from "../Adapter.ts"
import type { Region } from "./Causal.ts"

type Body<A, E, R> = (connection: Connection) => Effect.Effect<A, E, R>

/**
 * Runs a statement and notes where the server is behind it. Not asked before the statement has been answered: it may have
 * to be described first, and the answer would be from before it.
 */
export const noted = <A, E, R>(region: Region, causality: Causality, f: Body<A, E, R>): Body<A, E, R> => (connection) =>
  Effect.tap(f(connection), () =>
    Effect.matchEffect(causality.position(connection), {
      onSuccess: (position) => Effect.sync(() => region.advance(position, causality)),
      // What was seen or written is not known now, and only the primary is sure to have it.
      onFailure: () =>
        Effect.sync(() => {
          region.isPinned = true
        })
    }))

/** The server has not got what a read must see. What it has answered meanwhile counts for nothing. */
export const behind: unique symbol = Symbol.for("watertight/Causal/behind")

/**
 * Runs a read if the server is far enough, and returns `behind` otherwise. The question is a message of its own ahead of
 * the read, in the same write where the database can pipeline: in one statement or one transaction with the read, or
 * behind a statement that has to be described, it could be answered later than the snapshot was taken.
 */
export const guarded = <A, E, R>(
  causality: Causality,
  floor: Position,
  f: Body<A, E, R>
): Body<A | typeof behind, E | SqlError, R> =>
(connection) => {
  const question = causality.reached(connection, floor)
  if (!connection.canPipeline) {
    return Effect.flatMap(
      question,
      (reached): Effect.Effect<A | typeof behind, E, R> => reached ? f(connection) : Effect.succeed(behind)
    )
  }
  return Effect.flatMap(
    Effect.all([question, Effect.exit(f(connection))], { concurrency: 2 }),
    ([reached, exit]): Effect.Effect<A | typeof behind, E> => reached ? exit : Effect.succeed(behind)
  )
}
