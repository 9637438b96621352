/**
 * What a server says of itself when it is asked.
 *
 * @since 0.2.0
 */

/**
 * What a server is to its cluster, as it says itself.
 *
 * - `primary`: it takes writes.
 * - `replica`: it follows another server, and takes reads.
 * - `peer`: it takes writes, as all of its cluster do. One of them is chosen for the writes, the others take reads.
 * - `unfit`: it answers, but must not be used: it recovers, is a donor, or has lost the majority.
 *
 * @category models
 * @since 0.2.0
 */
export type Role = "primary" | "replica" | "peer" | "unfit"

/**
 * What a server says of itself.
 *
 * @category models
 * @since 0.2.0
 */
export interface Observation {
  readonly role: Role
  /** Which server answered, and which start of it: two addresses of one server give the same. */
  readonly server: string
  /**
   * Whose data it has: the system identifier of PostgreSQL, or the id of the group. A server of another lineage is none
   * of this cluster. `undefined` where the database has no such thing.
   */
  readonly lineage: string | undefined
  /**
   * A number that grows with each change of the primary: the timeline of PostgreSQL, or the number of the group's view.
   * Of a replica it is that of the history which it has; if the server is not sure, the older one. `undefined` where
   * there is no such thing, and then for all servers of the cluster.
   */
  readonly generation: number | undefined
  /** Where it is in the history of the cluster, for a primary: what a replica that has this has seen. */
  readonly position: string | undefined
  /** Which of the positions that it was asked about it has: the index of the first, or `undefined` for none. */
  readonly has: number | undefined
  /** Which of the peers is to take the writes: the one with the lowest, on which all programs agree. */
  readonly rank?: number | undefined
  /** Why it is unfit, for people. */
  readonly why?: string | undefined
}
