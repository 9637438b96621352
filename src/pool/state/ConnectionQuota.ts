/**
 * How many connections several pools may have together, and who gets the next one.
 *
 * **Details**
 *
 * A pool asks before it opens a connection, and says when one is gone. While there is room everybody gets what it asks
 * for. When there is none, those who have callers waiting come before those who only want to be prepared, whoever has
 * the fewest connections comes first, and among equals whoever has asked first.
 *
 * A pool whose callers wait is helped at the cost of others: first by connections that are idle elsewhere, and if there
 * are none, and it has less than its share of the budget, by one that a pool with more than its share gets back next.
 *
 * It calls the pools and performs nothing itself.
 *
 * @since 0.1.0
 */

/**
 * What the budget may ask of a pool.
 *
 * @category models
 * @since 0.1.0
 */
export interface Member {
  /** Whether callers wait for the connection that it has asked for. */
  readonly isStarving: () => boolean
  /** How many connections could be closed because nobody has them. */
  readonly idle: () => number
  /** Closes the connection that has been idle for longest. Returns whether there was one. */
  readonly giveUpIdle: () => boolean
  /** Closes the next connection that comes back, instead of lending it again. */
  readonly giveUpNext: () => void
}

/**
 * A pool's place in the budget.
 *
 * @category models
 * @since 0.1.0
 */
export class Account {
  readonly member: Member
  /** How many connections it may have open. */
  held = 0
  /** How many of them it was asked to give up. */
  owed = 0

  constructor(member: Member) {
    this.member = member
  }
}

/**
 * Somebody who has asked for a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly account: Account
  /** Called when it may open its connection. Not called before `ask` returns. */
  readonly grant: () => void
}

/**
 * @category models
 * @since 0.1.0
 */
export class ConnectionQuota {
  readonly total: number
  /** How many connections there are. */
  used = 0
  readonly accounts = new Set<Account>()
  private readonly queue: Array<Request> = []

  constructor(total: number) {
    this.total = total
  }

  /** How many have asked and got nothing yet. */
  get waiting(): number {
    return this.queue.length
  }

  /** How many connections there is room for that nobody has asked for. */
  get spare(): number {
    return Math.max(0, this.total - this.used - this.queue.length)
  }

  join(member: Member): Account {
    const account = new Account(member)
    this.accounts.add(account)
    return account
  }

  /** A pool is gone, and has given back all that it had. */
  leave(account: Account): void {
    this.accounts.delete(account)
    for (const request of this.queue.slice()) if (request.account === account) this.cancel(request)
  }

  /** Asks for one connection. Returns whether it may be opened at once; otherwise `grant` will be called. */
  ask(request: Request): boolean {
    if (this.used < this.total && this.queue.length === 0) {
      this.take(request.account)
      return true
    }
    this.queue.push(request)
    this.relieve()
    return false
  }

  /** Somebody who has asked does not want it any more. */
  cancel(request: Request): void {
    const index = this.queue.indexOf(request)
    if (index >= 0) this.queue.splice(index, 1)
  }

  /** A connection is gone. */
  release(account: Account): void {
    account.held--
    if (account.owed > 0) account.owed--
    this.used--
    this.serve()
  }

  /** Something has changed that may help those who wait: a connection has become idle, or callers have begun to wait. */
  relieve(): void {
    this.serve()
    let missing = 0
    for (const { account } of this.queue) if (account.member.isStarving()) missing++
    for (const account of this.accounts) missing -= account.owed
    for (; missing > 0; missing--) if (!this.relieveOne()) return
  }

  private serve(): void {
    while (this.used < this.total && this.queue.length > 0) {
      const request = this.next()
      this.cancel(request)
      this.take(request.account)
      request.grant()
    }
  }

  private take(account: Account): void {
    this.used++
    account.held++
  }

  /** Whose turn it is. */
  private next(): Request {
    return this.queue.reduce((best, request) => {
      const starving = request.account.member.isStarving()
      return starving !== best.account.member.isStarving()
        ? starving ? request : best
        : request.account.held < best.account.held
        ? request
        : best
    })
  }

  private relieveOne(): boolean {
    if (this.queue.length === 0) return false
    const starving = this.next().account
    let idle: Account | undefined
    let richest: Account | undefined
    for (const account of this.accounts) {
      if (account === starving) continue
      if (account.member.idle() > 0 && (idle === undefined || account.held > idle.held)) idle = account
      if (richest === undefined || account.held - account.owed > richest.held - richest.owed) richest = account
    }
    if (idle !== undefined) {
      idle.owed++
      if (idle.member.giveUpIdle()) return true
      idle.owed--
      return false
    }
    if (richest === undefined) return false
    let active = 0
    for (const account of this.accounts) if (account.held > 0 || account === starving) active++
    const share = Math.max(1, Math.floor(this.total / active))
    if (starving.held >= share || richest.held - richest.owed <= share) return false
    richest.owed++
    richest.member.giveUpNext()
    return true
  }
}
