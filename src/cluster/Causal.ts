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
 * `replicas.wait` and goes to the primary; with one that cannot be read, it goes there at once. After a failover tokens
 * from before it are served by the primary.
 *
 * A statement outside of a transaction is followed by one more round trip, which asks for its place. A COMMIT is not,
 * where the driver can pipeline. The page about replicas has the table.
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
import type { TokenProblem } from "./state/TopologyEvent.ts"
import * as Token from "./token.ts"

/** What may have been applied without anybody knowing where: a COMMIT without an answer, a token that says nothing. */
class Doubts {
  count = 0
  private readonly last = new Map<string | undefined, number>()
  private readonly settled = new Map<string, number>()

  /** `undefined`: of whichever database. */
  add(database: string | undefined): void {
    this.last.set(database, ++this.count)
  }

  settle(database: string, count: number): void {
    if (count > 0) this.settled.set(database, Math.max(count, this.settled.get(database) ?? 0))
  }

  isOpenFor(database: string): boolean {
    return Math.max(this.last.get(database) ?? 0, this.last.get(undefined) ?? 0) > (this.settled.get(database) ?? 0)
  }

  get isOpen(): boolean {
    return this.count > 0 &&
      [...new Set([...databases, ...this.last.keys()])].some((database) =>
        database !== undefined && this.isOpenFor(database)
      )
  }
}

/** The databases of this process that have positions, and those of their names in tokens which are no identity. */
const databases = new Set<string>()
const named = new Set<string>()

/** A database has positions. */
export const introduce = (database: string, causality: Causality | undefined): void => {
  if (causality === undefined) return
  databases.add(database)
  if (causality.lineage !== undefined) named.add(causality.lineage)
}

/** Whether it may be a database of this process under another name. */
const isForeign = (lineage: string): boolean => lineage.startsWith("name-") && !named.has(lineage)

/**
 * What the reads of a region must not fall behind.
 *
 * @category models
 * @since 0.2.0
 */
export class Region {
  /** Of one lineage there may be several, until it is used: only the database can join them. */
  private positions: ReadonlyArray<Position> = []
  private readonly doubts = new Doubts()
  /** The databases whose primary has not got all of this: it was lost, or there is another primary by now. */
  private readonly ahead = new Set<string>()
  private isUnreadable = false
  /** What has been told already: a region has many reads. */
  private readonly told = new Set<string>()

  /** What a token says is added. */
  enter({ isDoubtful, isReadable, positions }: Token.Token): void {
    this.positions = [...this.positions, ...positions]
    if (isDoubtful) this.doubts.add(undefined)
    if (!isReadable) this.isUnreadable = true
  }

  /** Why the reads of a database go to its primary, if that is news. */
  problem(database: string, generation: number | undefined, floor: Position | undefined): TokenProblem | undefined {
    const problem: TokenProblem | undefined = this.isUnreadable
      ? "Unreadable"
      : this.ahead.has(database)
      ? "Ahead"
      : floor !== undefined && floor.generation !== generation
      ? "OtherGeneration"
      : this.positions.some(({ lineage }) => isForeign(lineage))
      ? "Foreign"
      : undefined
    const key = `${problem} ${database}`
    if (problem === undefined || this.told.has(key)) return undefined
    this.told.add(key)
    return problem
  }

  get token(): string | undefined {
    const { doubts: { isOpen: isDoubtful }, positions } = this
    return positions.length === 0 && !isDoubtful ? undefined : Token.write({ positions, isDoubtful })
  }

  /** Whether only the primary of a database can tell what there is. */
  isPinned(database: string): boolean {
    return this.ahead.has(database) || this.doubts.isOpenFor(database) ||
      this.positions.some(({ lineage }) => isForeign(lineage))
  }

  /** The least place of reads from a database. A token that says something else than a place is a reason for doubt. */
  floor(lineage: string | undefined, causality: Causality): Position | undefined {
    if (lineage === undefined) return undefined
    const own = this.positions.filter((position) => position.lineage === lineage)
    if (own.length > 1 || own.some(({ value }) => !causality.isPosition(value))) {
      this.positions = this.positions.filter((position) => position.lineage !== lineage)
      for (const position of own) {
        if (causality.isPosition(position.value)) this.advance(position, causality)
        else {
          this.doubts.add(undefined)
          this.isUnreadable = true
        }
      }
    }
    return this.positions.find((position) => position.lineage === lineage)
  }

  /** Something has been seen or written. The floor only rises. */
  advance(position: Position, causality: Causality): void {
    const known = this.floor(position.lineage, causality)
    const age = (known?.generation ?? 0) - (position.generation ?? 0)
    if (known !== undefined && age > 0) return
    const value = known === undefined || age < 0 ? position.value : causality.join(known.value, position.value)
    this.positions = [...this.positions.filter((other) => other !== known), { ...position, value }]
  }

  /** Something may have been applied, and nobody knows where. */
  doubt(database: string): void {
    this.doubts.add(database)
  }

  /** What the answer of a primary to a question of now is going to settle. */
  get asked(): number {
    return this.doubts.count
  }

  /** The primary of a database has answered a question. */
  settle(database: string, asked: number): void {
    this.doubts.settle(database, asked)
  }

  /** The primary of a database is at this position. */
  compare(database: string, position: Position, causality: Causality): void {
    const floor = this.floor(position.lineage, causality)
    const isAhead = floor !== undefined && floor.generation === position.generation &&
      causality.includes?.(position.value, floor.value) === false
    if (isAhead) this.ahead.add(database)
    else this.ahead.delete(database)
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

const enter = <A, E, R>(self: Effect.Effect<A, E, R>, given: string | undefined): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    used = true
    const around = fiber.getRef(Current)
    const region = around ?? new Region()
    if (given !== undefined) region.enter(Token.read(given))
    return around === undefined ? Effect.provideService(self, Current, region) : self
  })

/**
 * Runs an effect whose reads see what was written and read in it before. Inside another such region it is a part of that.
 *
 * @category combinators
 * @since 0.2.0
 */
export const track = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => enter(self, undefined)

/**
 * The same, for reads that also see what the token stands for. Without a token it is as `track`.
 *
 * @category combinators
 * @since 0.2.0
 */
export const after: {
  (token: string | undefined): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, token: string | undefined): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, token: string | undefined): Effect.Effect<A, E, R> => enter(self, token)
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
