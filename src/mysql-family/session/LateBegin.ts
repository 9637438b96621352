/**
 * A START TRANSACTION that goes out with the first statement, in one write.
 *
 * **Details**
 *
 * The server runs what comes after a refused START TRANSACTION, and would apply it by itself. So this is done only in a
 * session without autocommit, in which nothing is applied without a COMMIT, and which has said with its last answer that
 * it is one. If START TRANSACTION is refused there, the statement behind it is rolled back, and fails as well.
 *
 * | the session                                        | begins a transaction with                              |
 * | -------------------------------------------------- | ------------------------------------------------------ |
 * | runs statements by themselves now and then         | START TRANSACTION, which is waited for                 |
 * | has had some transactions in a row                 | SET autocommit=0, which is waited for, and as below    |
 * | is without autocommit                              | START TRANSACTION together with the first statement    |
 *
 * The first statement that is to be by itself switches autocommit on again, and waits for that. So a session changes its
 * kind only if it has been lent for transactions again and again.
 */
import { stallGuard } from "../../timing/StallGuard.ts"
import type { Begin } from "../../transaction/TransactionSpec.ts"
import { Status } from "../driver/Driver.ts"
import type { ControlExchange } from "../exchange/ControlExchange.ts"
import type { BeginPlan } from "./begin.ts"
import type { ControlHost } from "./ControlHost.ts"

/** After how many transactions in a row a session is taken for one that is lent for them. */
const habit = 3

/**
 * How lately the server must have been heard, in milliseconds. After a longer silence START TRANSACTION goes ahead, and
 * shows within its own limit whether the server is there.
 */
const freshness = 1_000

export class LateBegin {
  private readonly host: ControlHost
  private endedAt = -Infinity

  constructor(host: ControlHost) {
    this.host = host
  }

  /** A transaction has ended, and the server has said so. */
  noteEnd(): void {
    this.endedAt = stallGuard.now()
  }

  /** Whether a transaction may begin with its first statement, now or once autocommit is off. */
  isFor(how: Begin, plan: BeginPlan): boolean {
    const { canPipeline, driver, transaction } = this.host
    if (how.lazy !== true || !canPipeline || driver.together === undefined) return false
    if (plan.statements.length !== 1 || !transaction.isClean) return false
    transaction.inARow++
    return (transaction.isGuarded || transaction.inARow > habit) && stallGuard.now() - this.endedAt <= freshness
  }

  /** START TRANSACTION waits for the first statement. */
  hold(plan: BeginPlan): void {
    this.host.residue.noteBegun()
    this.host.transaction.hold(plan.isReadOnly, plan.statements[0]!)
  }

  /** Switches autocommit off. Calls `then` if that has failed. */
  guard(exchange: ControlExchange, plan: BeginPlan, otherwise: () => void): void {
    const { transaction } = this.host
    exchange.query("SET autocommit=0", (error) => {
      if (error !== undefined || (transaction.flags & Status.Autocommit) !== 0) return otherwise()
      transaction.isGuarded = true
      this.hold(plan)
      exchange.succeed()
    })
  }
}
