/**
 * Reads that never go back in time: what was written is seen by the reads after it, and what was seen stays seen,
 * whichever server they are on, and in whichever process.
 *
 * **Details**
 *
 * Inside of `track` each COMMIT, each statement and each read notes behind which place in the history of the database it
 * is. A read that may go to a replica, see `Reads`, goes to one that has that place: known from what was asked lately, or
 * asked ahead of the read in the same write. If none has it in time, the primary serves, or the read fails, as the policy
 * says.
 *
 * `token` gives the place as a text, for a cookie, a header or a message, and `after` begins with one.
 *
 * **Gotchas**
 *
 * A token is no secret, and is not believed more than can do no harm: with one that was made up, a read waits as long as
 * `replicas.wait` and goes to the primary. After a failover tokens from before it are served by the primary.
 *
 * A statement outside of a transaction is followed by one more round trip, which asks for its place. A COMMIT is not.
 *
 * **Example** (A request that sees what the one before it has written)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Causal, Reads } from "watertight"
 *
 * const handle = <A, E, R>(handler: Effect.Effect<A, E, R>, cookie: string | undefined) =>
 *   Effect.gen(function*() {
 *     const answer = yield* Reads.prefer(handler)
 *     return { answer, cookie: yield* Causal.token }
 *   }).pipe(Causal.after(cookie))
 * ```
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { Causality, Position } from "../Adapter.ts"
import * as Token from "./token.ts"

/**
 * What the reads of a region must not fall behind.
 *
 * @category models
 * @since 0.2.0
 */
export class Region {
  private readonly positions: Map<string, Position>
  /** Nobody knows what was applied, so only the primary can tell what there is. */
  isPinned = false

  constructor(positions: Iterable<Position>) {
    this.positions = new Map(Array.from(positions, (position) => [position.lineage, position]))
  }

  get token(): string | undefined {
    return this.positions.size === 0 ? undefined : Token.write(this.positions.values())
  }

  /** The least place of reads from a database. */
  floor(lineage: string | undefined): Position | undefined {
    return lineage === undefined ? undefined : this.positions.get(lineage)
  }

  /** Something has been seen or written. The floor only rises. */
  advance(position: Position | undefined, { join }: Causality): void {
    if (position === undefined) return
    const known = this.positions.get(position.lineage)
    const age = (known?.generation ?? 0) - (position.generation ?? 0)
    if (known !== undefined && age > 0) return
    const value = known === undefined || age < 0 ? position.value : join(known.value, position.value)
    this.positions.set(position.lineage, { ...position, value })
  }
}

/**
 * The region that a fiber is in. `track` and `after` set it.
 *
 * @category references
 * @since 0.2.0
 */
export const Current = Context.Reference<Region | undefined>("watertight/Causal/Current", {
  defaultValue: () => undefined
})

let used = false

/** Whether there has been any region so far. Until then nobody has to look. */
export const isUsed = (): boolean => used

const enter = <A, E, R>(self: Effect.Effect<A, E, R>, positions: ReadonlyArray<Position>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    used = true
    return Effect.provideService(self, Current, new Region(positions))
  })

/**
 * Runs an effect whose reads see what was written and read in it before. Inside another such region it is a part of that.
 *
 * @category combinators
 * @since 0.2.0
 */
export const track = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => fiber.getRef(Current) === undefined ? enter(self, []) : self)

/**
 * The same, for reads that also see what the token stands for. Without a token it is a region that begins with nothing.
 *
 * @category combinators
 * @since 0.2.0
 */
export const after: {
  (token: string | undefined): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, token: string | undefined): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, token: string | undefined): Effect.Effect<A, E, R> =>
    enter(self, token === undefined ? [] : Token.read(token))
)

/**
 * What the region has written and seen so far, as a text for a cookie, a header or a message; `undefined` for nothing,
 * and outside of a region.
 *
 * @category getters
 * @since 0.2.0
 */
export const token: Effect.Effect<string | undefined> = Effect.withFiber((fiber) =>
  Effect.succeed(fiber.getRef(Current)?.token)
)
