/**
 * Settings of the session that a transaction begins with and that end with it.
 *
 * They are set in the same message as BEGIN, so that no statement of the transaction runs without them, and the server
 * takes them back at its end, so that no other work runs with them. `Tenant` of PostgreSQL is made of this.
 */
import type * as Context from "effect/Context"

export interface TransactionSettings {
  /** Names of settings and their values, in the order in which they are set. */
  readonly values: ReadonlyArray<readonly [name: string, value: string]>
  /** What decides which objects the names in statements mean, if that is among them. */
  readonly scope: string
}

/**
 * The settings that the transactions of a fiber begin with. `"none"` says that there are to be none, which is more than
 * to say nothing: an adapter may insist on the one or the other.
 */
export type SettingsReference = Context.Reference<TransactionSettings | "none" | undefined>
