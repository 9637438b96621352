/**
 * What is done around a statement inside of `Causal`: is its server far enough, and where is it afterwards.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Causality, Connection, Position } from "../../Adapter.ts"
import * as Evidence from "../../failure/Evidence.ts"
import type { Region } from "../Causal.ts"

type Body<A, E, R> = (connection: Connection) => Effect.Effect<A, E, R>

/** A statement of which it is noted behind what place it is. */
export interface Noted {
  readonly region: Region
  readonly causality: Causality
  /** The database as errors name it. */
  readonly database: string
  /** What it is: anything on the primary, a read on the primary, or a read on a replica. */
  readonly as: "Statement" | "Read" | "ReplicaRead"
  /** Tells why the region has to read from the primary. */
  readonly tell?: (() => void) | undefined
}

/**
 * Runs a statement and notes where the server is behind it. Not asked before the statement has been answered: it may have
 * to be described first, and the answer would be from before it.
 */
export const noted =
  <A, E, R>({ as, causality, database, region, tell }: Noted, f: Body<A, E, R>): Body<A, E, R> => (connection) =>
    Effect.suspend(() => {
      const { asked } = region
      const told = (position: Position | undefined): void => {
        // What was seen or written is not known now, and only the primary is sure to have it.
        if (position === undefined) return region.doubt(database)
        if (as !== "ReplicaRead") region.settle(database, asked)
        if (as === "Read") {
          region.compare(database, position, causality)
          tell?.()
        }
        region.advance(position, causality)
      }
      const followed = Effect.tap(f(connection), () =>
        Effect.matchEffect(causality.position(connection), {
          onSuccess: (position) => Effect.sync(() => told(position)),
          onFailure: () => Effect.sync(() => told(undefined))
        }))
      return as === "Statement" ? doubtful(followed, region, database) : followed
    })

/** Where something may have been applied although it failed or was interrupted, only the primary is sure to have it. */
export const doubtful = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  region: Region,
  database: string
): Effect.Effect<A, E, R> =>
  Effect.onError(self, (cause) => Effect.sync(() => mayBeApplied(cause) ? region.doubt(database) : undefined))

const mayBeApplied = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => {
    if (!Cause.isFailReason(reason) || !isSqlError(reason.error)) return true
    const { answer, sent } = Evidence.of(reason.error)
    return answer === "Done" || sent && answer === "None"
  })

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
