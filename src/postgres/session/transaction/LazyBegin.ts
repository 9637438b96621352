/**
 * The BEGIN that travels with the first statement of a transaction, in one cycle, and with those that are asked for in
 * the same tick.
 *
 * | state     | the server                    | the status of the session is                 |
 * | --------- | ----------------------------- | -------------------------------------------- |
 * | `None`    | has seen every BEGIN so far   | what the server reported last                |
 * | `Held`    | has not been asked yet        | in a transaction, as the caller believes     |
 * | `UnderWay`| is being asked                | the same, until the cycle has been answered  |
 */
import type { TransactionStatus } from "@effect/sql-pg/PgProtocol"

export class LazyBegin {
  private state: "None" | "Held" | "UnderWay" = "None"
  private frame: Uint8Array | undefined = undefined
  /** How many statements are written as BEGIN: those behind it set what holds for the transaction. */
  private statements = 1

  /** Whether BEGIN waits for a statement to travel with. */
  get isHeld(): boolean {
    return this.state === "Held"
  }

  /** Whether what the server reports is from before the transaction. */
  get isUnderWay(): boolean {
    return this.state !== "None"
  }

  /** BEGIN waits for the first statement. */
  hold(frame: Uint8Array, statements: number): void {
    this.state = "Held"
    this.frame = frame
    this.statements = statements
  }

  /** One of its statements has been done. Returns whether all have. */
  stepped(): boolean {
    return --this.statements === 0
  }

  /** BEGIN is about to be written. */
  take(): Uint8Array {
    const frame = this.frame!
    this.state = "UnderWay"
    this.frame = undefined
    return frame
  }

  /** The transaction ends before it has begun. */
  drop(): void {
    this.state = "None"
    this.frame = undefined
  }

  /** The cycle that BEGIN went with has been answered. */
  answered(): void {
    this.state = "None"
  }

  /** The status of the session, given what the server has just reported. */
  statusAfter(reported: TransactionStatus, before: TransactionStatus): TransactionStatus {
    return this.state === "None" ? reported : before
  }
}
