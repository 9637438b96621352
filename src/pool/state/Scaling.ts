/**
 * How many connections a pool should have, by what was needed lately.
 *
 * **Details**
 *
 * Demand is looked at in samples. A sample tells how often a connection was taken, how long it was kept, and how many
 * were in use at the same time. By Little's law (1961) those are one thing:
 *
 * ```
 * load = connections in use on average = arrivals × mean time of use / length of the sample
 * ```
 *
 * The pool opens a connection for everybody who waits, as far as it may. Scaling opens some before anybody waits, so
 * that the load is at most `utilization` of them, and so that the mean wait which Erlang's formula (1917) predicts for
 * this load is at most `wait`. Only arrivals that are frequent make a rate: for the others a connection that is opened on
 * demand is soon enough.
 *
 * It closes those above the median of what the samples of the window needed, so that neither a burst keeps connections
 * open nor a lull closes them, and of these only the ones that were idle for a tenth of the window: whatever is needed
 * now and then stays.
 *
 * Statements that share a connection do not make the pool grow: as long as they are answered at once, more connections
 * would make them slower.
 *
 * @since 0.1.0
 */
import type { ScaleReason } from "./PoolEvent.ts"

/**
 * When a pool grows ahead of demand and shrinks after it. Durations are milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** How often demand is looked at. */
  readonly interval: number
  /** The part of the connections that may be in use on average, above 0 and at most 1. */
  readonly utilization: number
  /** How long somebody may have to wait for a connection on average, as it is predicted. */
  readonly wait: number
  /** How far back "recent" goes. */
  readonly window: number
}

/**
 * What was asked of the connections for a while.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sample {
  /** How long it was looked. */
  readonly millis: number
  /** How often a connection was taken by somebody who let nobody share it. */
  readonly arrivals: number
  /** How many connections they had on average. */
  readonly load: number
  /** How many they had at the most. */
  readonly peak: number
  /** How many statements shared connections on average. */
  readonly sharing: number
}

/** As few as this in a sample are no rate. */
const fewArrivals = 10

/**
 * How many connections there should be ahead of demand, at most `limit`, and which of the thresholds asks for the last of
 * them. 0 if the sample does not tell.
 *
 * @category getters
 * @since 0.1.0
 */
export const required = (
  { arrivals, load, millis, sharing }: Sample,
  { utilization, wait }: Pick<Options, "utilization" | "wait">,
  limit: number
): { readonly connections: number; readonly reason: ScaleReason } => {
  if (arrivals < fewArrivals) return { connections: 0, reason: "Utilization" }
  // Those who share get by with one; where they do not, the pool opens another one by itself.
  const shared = sharing > 0 ? 1 : 0
  const most = limit - shared
  const use = load * millis / arrivals
  // Adding up times leaves traces.
  const busy = Math.max(1, Math.ceil(load / utilization - 1e-9))
  let connections = 0
  // Erlang's B: the part of the arrivals that find all connections in use, if they do not wait.
  let blocked = 1
  while (connections < most) {
    connections++
    blocked = load * blocked / (connections + load * blocked)
    if (connections < busy || connections <= load) continue
    // Erlang's C: the part that has to wait. Those wait for one of the connections that the load leaves free.
    const waiting = connections * blocked / (connections - load * (1 - blocked))
    if (waiting * use / (connections - load) <= wait) break
  }
  return { connections: connections + shared, reason: connections > busy ? "Wait" : "Utilization" }
}

/**
 * How many connections statements that share need, so that none has to wait for `shareWait` until those before it are
 * answered. `pace` is how long one is first in line.
 *
 * @category getters
 * @since 0.1.0
 */
export const requiredToShare = (sharing: number, pace: number, shareWait: number): number =>
  // Whoever is first in line waits for nobody.
  sharing === 0 ? 0 : pace === 0 ? 1 : Math.ceil(sharing * pace / (pace + shareWait))

/**
 * What was needed during the samples of a window.
 *
 * @category models
 * @since 0.1.0
 */
export class Needs {
  private readonly size: number
  /** In a ring, once there are as many as fit. */
  private readonly samples: Array<number> = []
  private next = 0
  /** How many samples there are of each need. */
  private readonly counts: Array<number> = []

  constructor(size: number) {
    this.size = size
  }

  add(need: number): void {
    const before = this.samples[this.next]
    if (before !== undefined) this.counts[before]!--
    while (this.counts.length <= need) this.counts.push(0)
    this.counts[need]!++
    this.samples[this.next] = need
    this.next = (this.next + 1) % this.size
  }

  /** What was enough for half of the window. `Infinity` as long as there are too few samples to tell. */
  get median(): number {
    let enough = 0
    for (let need = 0; need < this.counts.length; need++) {
      enough += this.counts[need]!
      if (enough * 2 >= this.size) return need
    }
    return Infinity
  }
}

/**
 * Counts what a sample is made of: an addition and two increments when a connection is taken, as much when it comes
 * back.
 *
 * @category models
 * @since 0.1.0
 */
export class Meter {
  /** How many have a connection that they let nobody share, and how many statements share one. */
  private exclusive = 0
  private sharing = 0
  /** The sum of the times at which they ended, less that of those at which they began. */
  private exclusiveTime = 0
  private sharingTime = 0
  private peak = 0
  private arrivals = 0
  /** How many have shared one, those included who did so already. */
  private shared = 0
  /** When the last sample was taken. */
  since: number | undefined = undefined

  /** Whether nobody has had a connection since the last sample. */
  get isAtRest(): boolean {
    return this.peak + this.shared === 0
  }

  began(shared: boolean, now: number): void {
    if (shared) {
      this.shared++
      this.sharing++
      this.sharingTime -= now
    } else {
      this.arrivals++
      this.exclusiveTime -= now
      if (++this.exclusive > this.peak) this.peak = this.exclusive
    }
  }

  ended(shared: boolean, now: number): void {
    if (shared) {
      this.sharing--
      this.sharingTime += now
    } else {
      this.exclusive--
      this.exclusiveTime += now
    }
  }

  /** The next sample begins now. */
  restart(now: number): void {
    this.since = now
    // Whoever goes on counts from now on.
    this.exclusiveTime = -this.exclusive * now
    this.sharingTime = -this.sharing * now
    this.peak = this.exclusive
    this.arrivals = 0
    this.shared = this.sharing
  }

  /** What was asked for since the last sample, later than which it must be. */
  sample(now: number): Sample {
    const millis = now - this.since!
    return {
      millis,
      arrivals: this.arrivals,
      load: Math.max(0, (this.exclusiveTime + this.exclusive * now) / millis),
      peak: this.peak,
      sharing: Math.max(0, (this.sharingTime + this.sharing * now) / millis)
    }
  }
}

/**
 * What one look at the demand led to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verdict {
  /** How many connections there should be ahead of demand, and why. */
  readonly connections: number
  readonly reason: ScaleReason
  /** How many are enough by what was needed lately. */
  readonly enough: number
  /** From when on a connection must have been idle for nobody to need it. */
  readonly idleSince: number
}

/**
 * Looks at the demand, one sample after the other.
 *
 * @category models
 * @since 0.1.0
 */
export class Scaling {
  readonly meter = new Meter()
  readonly options: Options
  private readonly size: number
  private readonly needs: Needs

  constructor(options: Options) {
    this.options = options
    this.size = Math.ceil(options.window / options.interval)
    this.needs = new Needs(this.size)
  }

  /** Somebody comes for the first time, or after a rest, in which nothing was needed. */
  begin(now: number): void {
    const { meter, options, size } = this
    const missed = meter.since === undefined ? 0 : (now - meter.since) / options.interval
    for (let i = Math.min(size, Math.floor(missed)); i > 0; i--) this.needs.add(0)
    meter.restart(now)
  }

  /**
   * Takes a sample. `limit` is the most connections that there may be, and `toShare` tells how many are needed for so
   * many statements that share. `undefined` if nobody has come since the last sample.
   */
  look(now: number, limit: number, toShare: (sharing: number) => number): Verdict | undefined {
    const { meter, needs, options } = this
    if (meter.isAtRest) return undefined
    const sample = meter.sample(now)
    meter.restart(now)
    const ahead = required(sample, options, limit)
    needs.add(Math.min(limit, Math.max(ahead.connections, sample.peak + toShare(sample.sharing))))
    return { ...ahead, enough: needs.median, idleSince: now - options.window / 10 }
  }
}
