/** The leave to commit a transaction from within. */
import * as Context from "effect/Context"

/**
 * Whether a statement may commit the transaction that it stands in. See `allowImplicitCommit`.
 *
 * @category references
 * @since 0.1.0
 */
export const AllowImplicitCommit: Context.Reference<boolean> = Context.Reference<boolean>(
  "watertight/mysql/AllowImplicitCommit",
  { defaultValue: () => false }
)
