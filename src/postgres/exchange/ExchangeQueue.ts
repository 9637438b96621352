/**
 * A queue of exchanges that is cheap at both ends.
 */
import type { Exchange } from "./Exchange.ts"

export class ExchangeQueue {
  private entries: Array<Exchange> = []
  private start = 0

  get size(): number {
    return this.entries.length - this.start
  }

  get head(): Exchange | undefined {
    return this.entries[this.start]
  }

  push(entry: Exchange): void {
    this.entries.push(entry)
  }

  unshift(entry: Exchange): void {
    if (this.start > 0) this.entries[--this.start] = entry
    else this.entries.unshift(entry)
  }

  shift(): Exchange | undefined {
    const entries = this.entries
    const entry = entries[this.start]
    if (entry === undefined) return undefined
    // The slot would keep the rows alive until the queue runs empty.
    entries[this.start++] = undefined as never
    if (this.start === entries.length) {
      entries.length = 0
      this.start = 0
    } else if (this.start > 1_024) {
      this.entries = entries.slice(this.start)
      this.start = 0
    }
    return entry
  }

  /** A copy, in order. */
  all(): ReadonlyArray<Exchange> {
    return this.entries.slice(this.start)
  }

  /** Takes everything. */
  drain(): Array<Exchange> {
    const all = this.entries.slice(this.start)
    this.entries = []
    this.start = 0
    return all
  }

  /** The one that is given up first. */
  get soonest(): Exchange | undefined {
    let soonest: Exchange | undefined
    for (let index = this.start; index < this.entries.length; index++) {
      const entry = this.entries[index]!
      if (entry.deadline !== Infinity && (soonest === undefined || entry.deadline < soonest.deadline)) soonest = entry
    }
    return soonest
  }
}
