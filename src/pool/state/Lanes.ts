/**
 * Lanes: parts of a pool, so that one kind of work cannot take all connections away from another.
 *
 * @since 0.1.0
 */

/**
 * How much of a pool a lane has, as parts of the connections that there may be, from 0 to 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface LaneOptions {
  /** What is kept free for it, rounded down to whole connections. */
  readonly guaranteed: number
  /** What it may have at the most, rounded down to whole connections, but at least one. */
  readonly max: number
}

/**
 * A lane, and how many connections it has.
 *
 * @category models
 * @since 0.1.0
 */
export class Lane {
  readonly options: LaneOptions
  used = 0

  constructor(options: LaneOptions) {
    this.options = options
  }

  /** How many connections are kept free for it. */
  guaranteed(limit: number): number {
    return Math.floor(this.options.guaranteed * limit)
  }

  /** How many it may have, whatever the others do. */
  max(limit: number): number {
    return Math.max(1, Math.floor(this.options.max * limit))
  }
}

/**
 * How many more connections a lane may take now: what the others have and what is kept free for them is not for it.
 *
 * @category getters
 * @since 0.1.0
 */
export const room = (lanes: ReadonlyArray<Lane>, lane: Lane, limit: number): number => {
  let most = limit
  for (const other of lanes) if (other !== lane) most -= Math.max(other.used, other.guaranteed(limit))
  return Math.min(most, lane.max(limit)) - lane.used
}

/**
 * How many more connections a lane could have if the others gave back all that is not kept free for them.
 *
 * @category getters
 * @since 0.1.0
 */
export const claim = (lanes: ReadonlyArray<Lane>, lane: Lane, limit: number): number => {
  let most = limit
  for (const other of lanes) if (other !== lane) most -= other.guaranteed(limit)
  return Math.max(0, Math.min(most, lane.max(limit)) - lane.used)
}
