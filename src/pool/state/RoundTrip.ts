/** How long what was the fastest lately counts, at the least, in milliseconds. */
const window = 60_000

/**
 * How long the way to the server and back takes, as the fastest answer of the last one to two minutes tells.
 *
 * **Details**
 *
 * A statement is slow by what the server takes for it, which is what its answer takes beyond this. The minimum of a
 * window follows a route that got longer, without being led astray by a server that is busy for a while.
 */
export class RoundTrip {
  /** The fastest answer, in milliseconds; 0 as long as there was none. */
  fastest = 0

  private previous = Infinity
  private current = Infinity
  private endsAt = -Infinity

  observe(millis: number, now: number): void {
    if (now >= this.endsAt) {
      // What was fast before a long silence says nothing of now.
      this.previous = now < this.endsAt + window ? this.current : Infinity
      this.current = Infinity
      this.endsAt = now + window
    } else if (millis >= this.current) return
    if (millis < this.current) this.current = millis
    this.fastest = Math.min(this.previous, this.current)
  }
}
