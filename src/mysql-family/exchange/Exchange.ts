/**
 * What waits for the server: statements, streams, control statements, and the queue that they stand in.
 */
import type { SqlError } from "effect/sql/SqlError"

/** One piece of work on a connection. */
export abstract class Exchange {
  /** What errors call it. */
  readonly operation: string
  /** Whether the server may have run it. */
  sent = false
  /** Nobody waits for it any more. */
  abandoned = false
  /** It is on the wire, or about to be. */
  isRunning = false
  isDone = false
  /** Its deadline. */
  timer: ReturnType<typeof setTimeout> | undefined = undefined

  next: Exchange | undefined = undefined
  previous: Exchange | undefined = undefined

  constructor(operation: string) {
    this.operation = operation
  }

  /** Whether others may be on the wire with it. */
  abstract readonly pipelines: boolean

  /** Whether the server may be asked to stop it. */
  abstract readonly canBeKilled: boolean

  /** Whether it need not be begun once nobody waits for it. */
  abstract readonly canBeDropped: boolean

  /** Its turn has come: nothing stands in the way. */
  abstract start(): void

  /** Tells whoever waits for it. */
  abstract fail(error: SqlError): void
}

/** Jobs in order. Any of them can leave at any time. */
export class ExchangeQueue {
  head: Exchange | undefined = undefined
  tail: Exchange | undefined = undefined
  size = 0

  push(job: Exchange): void {
    const { tail } = this
    job.previous = tail
    job.next = undefined
    if (tail === undefined) this.head = job
    else tail.next = job
    this.tail = job
    this.size++
  }

  unshift(job: Exchange): void {
    const { head } = this
    job.next = head
    job.previous = undefined
    if (head === undefined) this.tail = job
    else head.previous = job
    this.head = job
    this.size++
  }

  remove(job: Exchange): void {
    const { next, previous } = job
    if (previous === undefined) this.head = next
    else previous.next = next
    if (next === undefined) this.tail = previous
    else next.previous = previous
    job.next = undefined
    job.previous = undefined
    this.size--
  }

  /** Takes everything. */
  drain(): Array<Exchange> {
    const all: Array<Exchange> = []
    for (let job = this.head; job !== undefined; job = this.head) {
      all.push(job)
      this.remove(job)
    }
    return all
  }
}
