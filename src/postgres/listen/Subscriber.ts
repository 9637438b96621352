/**
 * A listener's queue of events, which a slow reader cannot make grow for ever.
 */
import * as Queue from "effect/Queue"
import type { SqlError } from "effect/sql/SqlError"

/** What the queue needs of the events: that one of them can stand for those which were dropped. */
export interface Overflow<A> {
  /** The event that says since when, until when and why events are missing. */
  readonly gap: (from: number, to: number, cause: SqlError) => A
  /** The time, in milliseconds since 1970. */
  readonly now: () => number
  /** Why events are dropped: the reader has so many to read already. */
  readonly cause: (waiting: number) => SqlError
}

/**
 * The queue of one listener.
 *
 * When it is full, one event more is put at its end, which says that events are missing. Until the reader has come to
 * that event, all others are dropped: it stands for them.
 */
export class Subscriber<A> {
  readonly queue: Queue.Queue<A>
  private readonly capacity: number
  private readonly overflow: Overflow<A>
  private isOverflowing = false

  constructor(queue: Queue.Queue<A>, capacity: number, overflow: Overflow<A>) {
    this.queue = queue
    this.capacity = capacity
    this.overflow = overflow
  }

  offer(event: A): void {
    const waiting = Queue.sizeUnsafe(this.queue)
    if (this.isOverflowing) {
      if (waiting > 0) return
      this.isOverflowing = false
    }
    if (waiting < this.capacity) {
      Queue.offerUnsafe(this.queue, event)
      return
    }
    this.isOverflowing = true
    const now = this.overflow.now()
    Queue.offerUnsafe(this.queue, this.overflow.gap(now, now, this.overflow.cause(waiting)))
  }
}
