/**
 * A COMMIT that is to follow statements without waiting for their answers.
 *
 * It follows them only if all of them are about to be written as they are. One that has to be described first, or whose
 * types are not known yet, might still be refused here, where the server hears nothing of it, and COMMIT would apply the
 * others. Then COMMIT is sent as always, when all have been answered.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import type { CommitBehind } from "../../../Adapter.ts"
import { Progress } from "../../exchange/Exchange.ts"
import { RidingCommit } from "../../exchange/RidingCommit.ts"
import type { StatementExchange } from "../../exchange/StatementExchange.ts"
import { Stage } from "../../statement/StatementPlan.ts"
import type { Cancellation } from "../Cancellation.ts"
import type { SessionCore } from "../SessionCore.ts"
import type { Writer } from "../Writer.ts"

export class CommitRide implements CommitBehind {
  private readonly core: SessionCore
  private readonly writer: Writer
  private readonly cancellation: Cancellation
  private readonly toExit: (tag: string | undefined) => Exit.Exit<void, SqlError>
  private readonly count: number
  private readonly statements: Array<StatementExchange> = []
  private isOff = false
  private commit: RidingCommit | undefined = undefined
  private answer: Exit.Exit<void, SqlError> | undefined = undefined
  private waiter: (() => void) | undefined = undefined

  constructor(
    core: SessionCore,
    writer: Writer,
    cancellation: Cancellation,
    toExit: (tag: string | undefined) => Exit.Exit<void, SqlError>,
    count: number
  ) {
    this.core = core
    this.writer = writer
    this.cancellation = cancellation
    this.toExit = toExit
    this.count = count
  }

  /** A statement was asked for. */
  opened(statement: StatementExchange): void {
    if (this.isOff || this.commit !== undefined) return
    const isReady = statement.stage === Stage.Run && !statement.isSettled && !statement.abandoned &&
      statement.progress === Progress.Unsent && !this.core.parked.has(statement)
    if (!isReady) {
      this.isOff = true
      return
    }
    this.statements.push(statement)
    if (this.statements.length < this.count) return
    this.commit = new RidingCommit(this.statements, this.core.options.controlLimit, (effect) => {
      const exit = effect as Exit.Exit<string | undefined, SqlError>
      this.answer = Exit.isSuccess(exit) ? this.toExit(exit.value) : exit
      this.waiter?.()
    })
    this.writer.submit(this.commit)
  }

  get isAskedFor(): boolean {
    return this.commit !== undefined
  }

  readonly answered: Effect.Effect<Exit.Exit<void, SqlError>> = Effect.callback((resume) => {
    const tell = () => resume(Effect.succeed(this.answer!))
    if (this.answer !== undefined) tell()
    else this.waiter = tell
  })

  abandon(): void {
    this.isOff = true
    if (this.commit !== undefined) this.cancellation.abandon(this.commit)
  }
}
