/**
 * What is known of a statement that is run again and again: whether it is safe to let others wait behind it.
 *
 * **Details**
 *
 * A statement counts as quick once it has been so twice, so an unknown statement keeps its connection to itself. One
 * slow answer is enough to lose a trust that is new. A trust that has grown over many answers is lost by the second slow
 * one, because now and then any statement has to wait for a process that had other things to do. Slow answers that come
 * together are one piece of evidence.
 *
 * @since 0.1.0
 */

/**
 * @category models
 * @since 0.1.0
 */
export class StatementProfile {
  /** The text of the statement, for the errors of it. Empty for a statement without one. */
  readonly sql: string
  private trust = 0
  private slowAt = -Infinity

  constructor(sql = "") {
    this.sql = sql
  }

  get quick(): boolean {
    return this.trust >= 2
  }

  /** The statement was first in line on its connection for `millis` until now, and is slow from `limit` on. */
  observe(millis: number, limit: number, now: number): void {
    if (millis < limit) {
      if (this.trust < 16) this.trust++
    } else if (now - this.slowAt >= limit) {
      this.slowAt = now
      this.trust = Math.max(0, this.trust - 8)
    }
  }
}
