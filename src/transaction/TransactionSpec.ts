/**
 * What a transaction asks of the database.
 *
 * @since 0.1.0
 */
import type { TransactionSettings } from "./TransactionSettings.ts"

/**
 * How much a transaction may see of the ones beside it, in the words of the SQL standard.
 *
 * @category models
 * @since 0.1.0
 */
export type Isolation = "read uncommitted" | "read committed" | "repeatable read" | "serializable"

/**
 * Whether a transaction may write.
 *
 * @category models
 * @since 0.1.0
 */
export type Access = "read write" | "read only"

/**
 * How a transaction begins. What is not given is as the server has it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Begin {
  readonly isolation?: Isolation | undefined
  readonly access?: Access | undefined
  /** PostgreSQL only, with `serializable` and `read only`: wait for a snapshot that cannot fail. */
  readonly deferrable?: boolean | undefined
  /**
   * Whether a COMMIT without answer must be resolvable afterwards, even if that costs a round trip before it
   * (`"always"`), or need not be (`"never"`). Without it, it is so as far as that costs no round trip.
   */
  readonly resolvable?: "always" | "never" | undefined
  /** The statement to begin with, instead of one made of the above: Effect's `BeginTransaction`. */
  readonly statement?: string | undefined
  /** What is set for the transaction in the same message as BEGIN, where the adapter has such settings. */
  readonly settings?: TransactionSettings | undefined
  /** Whether BEGIN may travel with the first statement, which saves a round trip, instead of being waited for. */
  readonly lazy?: boolean | undefined
}

const order: ReadonlyArray<Isolation> = ["read uncommitted", "read committed", "repeatable read", "serializable"]

/**
 * Whether a transaction that runs at `outer` keeps what `inner` asks for.
 *
 * @category guards
 * @since 0.1.0
 */
export const satisfies = (outer: Isolation, inner: Isolation): boolean => order.indexOf(outer) >= order.indexOf(inner)
