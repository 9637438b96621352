/** How `Bulk` sends rows, and how to ask for one of the methods. */
import * as Context from "effect/Context"

/**
 * How `Bulk` sends rows.
 *
 * | method       | is                                                    | needs                                           |
 * | ------------ | ----------------------------------------------------- | ----------------------------------------------- |
 * | `load`       | `LOAD DATA LOCAL INFILE`, written while it is loaded  | `watertight/mysql`; the server's `local_infile` |
 * | `batch`      | one statement and many rows of parameters in a packet | `watertight/mariadb`; a MariaDB server          |
 * | `statements` | `INSERT` with many rows                               | nothing                                         |
 *
 * @category models
 * @since 0.1.0
 */
export type BulkMethod = "load" | "batch" | "statements"

/**
 * The method by which `Bulk` sends rows. Default: `undefined`, for the fastest that driver and server have.
 *
 * **Details**
 *
 * The methods differ in speed only: a row that one of them refuses is refused by all. `LOAD DATA LOCAL` by itself turns
 * errors into warnings and skips duplicates. Here a warning, or a row that is missing in the end, is a failure.
 *
 * `upsert` never uses `load`. Unless it is asked for, neither does an `insert` into a table with a trigger before
 * inserts, because `LOAD DATA` replaces a null that the trigger would, nor one in a transaction of yours whose rows come
 * from a `Stream` or that has `onProgress`: both might wait for a statement of that transaction, which would wait for
 * the end of the rows.
 *
 * **Gotchas**
 *
 * A method that cannot be had fails with a `SqlError` that says why.
 *
 * **Example** (Without `LOAD DATA`)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Bulk } from "watertight"
 * import { Mysql } from "watertight/mysql"
 *
 * const load = Bulk.insert("city", [{ id: 1, name: "Ulm" }]).pipe(
 *   Effect.provideService(Mysql.CurrentBulkMethod, "statements")
 * )
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentBulkMethod: Context.Reference<BulkMethod | undefined> = Context.Reference<BulkMethod | undefined>(
  "watertight/mysql/CurrentBulkMethod",
  { defaultValue: () => undefined }
)
