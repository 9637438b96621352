/**
 * How transactions begin and end on a session.
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import type { CommitBehind } from "../../../Adapter.ts"
import { RolledBack } from "../../../failure/RolledBack.ts"
import type { Begin } from "../../../transaction/TransactionSpec.ts"
import { unknownError } from "../../errors/errors.ts"
import { Control, ControlExchange } from "../../exchange/ControlExchange.ts"
import { Carries, type Exchange } from "../../exchange/Exchange.ts"
import { ScriptExchange } from "../../exchange/ScriptExchange.ts"
import { StatementExchange } from "../../exchange/StatementExchange.ts"
import { Stage } from "../../statement/StatementPlan.ts"
import * as frames from "../../wire/frames.ts"
import type { Cancellation } from "../Cancellation.ts"
import type { Describer, Fail } from "../Describer.ts"
import type { SessionCore } from "../SessionCore.ts"
import { Trace, traceOf } from "../SessionResidue.ts"
import type { Writer } from "../Writer.ts"
import { beginStatement, openingOf, settingOf } from "./begin.ts"
import { CommitRide } from "./CommitRide.ts"

/**
 * How lately the server must have been heard for BEGIN to travel with the first statement, in milliseconds. After a
 * longer silence it goes ahead, and shows within its own limit whether the server is there.
 */
const freshness = 1_000

const firstRow = (exit: Exit.Exit<ReadonlyArray<Result>, SqlError>): ReadonlyArray<unknown> | undefined =>
  Exit.isSuccess(exit) ? Object.values(exit.value[0]?.rows[0] ?? {}) : undefined

const commitFrame = frames.simpleQuery("COMMIT")
const rollbackFrame = frames.simpleQuery("ROLLBACK")

export class TransactionControl {
  private readonly core: SessionCore
  private readonly writer: Writer
  private readonly cancellation: Cancellation
  /** A COMMIT that follows statements which have not been answered. */
  ride: CommitRide | undefined = undefined

  constructor(core: SessionCore, writer: Writer, cancellation: Cancellation) {
    this.core = core
    this.writer = writer
    this.cancellation = cancellation
  }

  /** A control statement has its time from the moment it is asked for, whatever is ahead of it. */
  control(kind: Control, frame: Uint8Array, operation: string): Effect.Effect<string | undefined, SqlError> {
    return Effect.callback((resume) => {
      const exchange = new ControlExchange(kind, frame, operation, resume)
      if (kind === Control.Begin) exchange.carries = Carries.Begin
      return this.queue(exchange)
    })
  }

  private queue(exchange: ControlExchange): Effect.Effect<void> {
    const { core } = this
    core.tick()
    core.startTime(exchange, core.options.controlLimit)
    this.writer.submit(exchange)
    return Effect.sync(() => this.cancellation.abandon(exchange))
  }

  private command(sql: string, operation: string): Effect.Effect<void, SqlError> {
    return this.begun(
      Effect.suspend(() => Effect.asVoid(this.control(Control.Other, frames.simpleQuery(sql), operation)))
    )
  }

  get ping(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => Effect.asVoid(this.control(Control.Sync, frames.sync, "ping")))
  }

  /** Runs a statement of our own that has nothing to return. */
  run(sql: string, operation: string): Effect.Effect<void, SqlError> {
    return this.command(sql, operation)
  }

  begin(how: Begin): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const { core } = this
      this.ride = undefined
      core.ownTransaction = "Open"
      const question = core.evidence.begins(how)
      // Its answer has to be there before the first write.
      if (question !== undefined) this.ask(question, (exit) => core.evidence.introduced(exit))
      const statement = beginStatement(how)
      core.residue.onStatement(traceOf(statement) & Trace.ReadOnly)
      core.limit.onBegin()
      core.tick()
      const { settings } = how
      if (settings !== undefined) {
        core.settle(settings)
        core.begin.hold(frames.join(openingOf(statement), settingOf(settings)), 2)
        core.status = "T"
        return how.lazy === true && core.now - core.heardAt <= freshness ? Effect.void : this.begun(Effect.void)
      }
      if (
        how.lazy !== true || how.statement !== undefined || question !== undefined || core.end !== undefined ||
        core.now - core.heardAt > freshness
      ) return this.command(statement, "begin")
      core.begin.hold(openingOf(statement), 1)
      core.status = "T"
      return Effect.void
    })
  }

  /** For what cannot be the first statement that BEGIN travels with: BEGIN is sent, and waited for. */
  begun<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> {
    return Effect.suspend(() => {
      const { begin } = this.core
      if (!begin.isHeld) return effect
      return Effect.andThen(this.control(Control.Begin, frames.join(begin.take(), frames.sync), "begin"), effect)
    })
  }

  /** BEGIN was refused. What waits was meant for the transaction, and must not run outside of it. */
  refused(
    cycle: ReadonlyArray<Exchange>,
    error: PgProtocol.ErrorFields,
    describer: Describer,
    fail: Fail
  ): void {
    const { core } = this
    const all = [...cycle, ...core.pending.drain()]
    for (const one of all.slice()) {
      if (one instanceof StatementExchange && one.prepared !== undefined && one.stage === Stage.Describe) {
        core.encoder.onDescribed(one.prepared, false)
        all.push(...describer.takeFollowers(one.prepared))
      }
    }
    for (const one of all) {
      if (one instanceof StatementExchange) core.encoder.onSkipped(one, core.now)
      if (one instanceof ControlExchange && one.endsTransaction && !one.isCommit) one.settle(Effect.void)
      else fail(one, error)
    }
  }

  /** Asks something for our own purposes. A failure concerns `answered` alone. */
  private ask(sql: string, answered: (exit: Exit.Exit<ReadonlyArray<Result>, SqlError>) => void): void {
    this.writer.submit(
      new ScriptExchange(sql, this.core.options.controlLimit, (effect) => {
        answered(effect as Exit.Exit<ReadonlyArray<Result>, SqlError>)
      })
    )
  }

  /**
   * Asks something in one message, so that what is asked for next on this session is answered later: a statement would
   * perhaps be described first, and be overtaken. Returns the first row, as text.
   */
  question(sql: string, operation: string): Effect.Effect<ReadonlyArray<unknown>, SqlError> {
    return Effect.map(
      Effect.callback<ReadonlyArray<Result>, SqlError>((resume) => {
        const { core } = this
        const exchange = new ScriptExchange(sql, core.options.controlLimit, resume, operation)
        this.writer.submit(exchange)
        return Effect.sync(() => this.cancellation.abandon(exchange))
      }),
      ([answer]) => Object.values(answer?.rows[0] ?? {})
    )
  }

  /** COMMIT is to follow the next statements without waiting for their answers. */
  commitBehind(count: number): CommitBehind | undefined {
    const { core } = this
    if (!core.inTransaction || !core.evidence.mayStayOpen) return undefined
    return this.ride = new CommitRide(core, this.writer, this.cancellation, (tag) => this.committed(tag), count)
  }

  /** What the answer to COMMIT says. */
  private committed(tag: string | undefined): Exit.Exit<void, SqlError> {
    return tag !== "ROLLBACK" ? Exit.void : Exit.fail(unknownError(
      this.core.options.database,
      "the transaction was rolled back, because a statement in it had failed",
      new RolledBack(),
      "commit"
    ))
  }

  get commit(): Effect.Effect<void, SqlError> {
    return Effect.uninterruptible(
      Effect.suspend(() => this.ride?.isAskedFor === true ? Effect.flatten(this.ride.answered) : this.ownCommit)
    )
  }

  private get ownCommit(): Effect.Effect<void, SqlError> {
    return Effect.flatMap(
      Effect.suspend(() => {
        const { evidence } = this.core
        const question = this.core.status === "T" ? evidence.question : undefined
        const commit = this.control(Control.Commit, commitFrame, "commit")
        if (question === undefined) return commit
        // Not with COMMIT in one write: whatever cuts off the answer to the one would cut off that to the other.
        const asked = Effect.callback<void>((resume) =>
          this.ask(question, (exit) => {
            evidence.confirmed(exit)
            resume(Effect.void)
          })
        )
        return Effect.andThen(asked, commit)
      }),
      (tag) => this.committed(tag)
    )
  }

  /**
   * The questions go with COMMIT in one write. What `synchronous_commit` is has to be asked before it: the transaction may
   * have set it for itself, and that is what COMMIT obeys.
   */
  commitAt(flushed: string, written: string): Effect.Effect<ReadonlyArray<unknown> | undefined, SqlError> {
    return Effect.suspend(() => {
      const { begin, evidence, status } = this.core
      // Nothing was asked for in it.
      if (begin.isHeld) return Effect.as(this.commit, undefined)
      let setting: unknown
      let ofFlushed: ReadonlyArray<unknown> | undefined
      let ofWritten: ReadonlyArray<unknown> | undefined
      this.ask("show synchronous_commit", (exit) => {
        setting = firstRow(exit)?.[0]
      })
      const behind = Effect.callback<void>((resume) => {
        this.ask(flushed, (exit) => {
          ofFlushed = firstRow(exit)
        })
        this.ask(written, (exit) => {
          ofWritten = firstRow(exit)
          resume(Effect.void)
        })
      })
      return Effect.map(
        // COMMIT waits for an answer of its own first, perhaps. What is behind it must not overtake it.
        status === "T" && evidence.question !== undefined
          ? Effect.andThen(this.commit, behind)
          : Effect.all([this.commit, behind], { concurrency: 2 }),
        () => setting === "off" ? ofWritten : setting === undefined ? undefined : ofFlushed
      )
    })
  }

  get rollback(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => Effect.asVoid(this.control(Control.Rollback, rollbackFrame, "rollback")))
  }

  /** Rolls back what is open when nothing is on the wire any more. */
  get rollbackAll(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => Effect.asVoid(this.control(Control.Reset, rollbackFrame, "reset")))
  }

  savepoint(name: string): Effect.Effect<void, SqlError> {
    return this.command(`SAVEPOINT ${name}`, "savepoint")
  }

  releaseSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.command(`RELEASE SAVEPOINT ${name}`, "releaseSavepoint")
  }

  rollbackSavepoint(name: string): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      this.core.limit.onRollbackToSavepoint()
      return this.command(`ROLLBACK TO SAVEPOINT ${name}`, "rollbackSavepoint")
    })
  }
}
