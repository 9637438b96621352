/**
 * Checks what readers have seen of a number that only grows, guarantee by guarantee. All times are of one clock.
 */

/** A write that was acknowledged. */
export interface Write {
  readonly client: string
  readonly value: number
  readonly acknowledgedAt: number
}

export interface Read {
  readonly client: string
  readonly value: number
  readonly startedAt: number
  readonly endedAt: number
  /** How stale it may be, if that was asked for. */
  readonly bound?: number | undefined
}

export interface History {
  readonly writes: ReadonlyArray<Write>
  readonly reads: ReadonlyArray<Read>
}

/** The greatest value that was acknowledged by then. */
const acknowledged = (writes: ReadonlyArray<Write>, by: number): number =>
  writes.reduce((most, { acknowledgedAt, value }) => acknowledgedAt <= by ? Math.max(most, value) : most, 0)

/** Each client sees what it has written itself. */
export const readYourWrites = ({ reads, writes }: History): ReadonlyArray<Read> =>
  reads.filter((read) =>
    read.value < acknowledged(writes.filter(({ client }) => client === read.client), read.startedAt)
  )

/** No client sees less than in a read that had ended before. */
export const monotonic = ({ reads }: History): ReadonlyArray<Read> =>
  reads.filter((read) =>
    reads.some((before) =>
      before.client === read.client && before.endedAt <= read.startedAt && before.value > read.value
    )
  )

/** A read is at most as stale as was asked for. */
export const bounded = ({ reads, writes }: History): ReadonlyArray<Read> =>
  reads.filter(({ bound, startedAt, value }) => bound !== undefined && value < acknowledged(writes, startedAt - bound))
