/**
 * Gets statements ready to be written: plans them, and asks for what has to be known first.
 *
 * A statement that nobody has run yet is described before it runs. Others with the same text wait for its columns. A
 * type that is not known is looked up in the catalogue. Whatever waits for that is parked, so that the end of the
 * session finds it.
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { SqlError } from "effect/sql/SqlError"
import { type PgError, unknownError } from "../errors/errors.ts"
import { Control, ControlExchange } from "../exchange/ControlExchange.ts"
import type { Exchange } from "../exchange/Exchange.ts"
import { LookUp } from "../exchange/ScriptExchange.ts"
import type { StatementExchange } from "../exchange/StatementExchange.ts"
import type { Prepared } from "../statement/PreparedCache.ts"
import { forgetQuestion } from "../statement/StatementEncoder.ts"
import { Stage } from "../statement/StatementPlan.ts"
import { type TypeNames, UnknownTypes } from "../types/TypeStore.ts"
import { simpleQuery } from "../wire/frames.ts"
import type { SessionCore } from "./SessionCore.ts"
import type { Writer } from "./Writer.ts"

/** How often the catalogue is asked for the names of one statement: another session may make it forget an answer. */
const maxLookUps = 3

/** What fails an exchange with the server's report. */
export type Fail = (exchange: Exchange, error: PgProtocol.ErrorFields) => void

export class Describer {
  private readonly core: SessionCore
  private readonly writer: Writer
  /** Statements that wait for the columns of one that is being described. */
  private followers: Map<Prepared, Array<StatementExchange>> | undefined = undefined

  constructor(core: SessionCore, writer: Writer) {
    this.core = core
    this.writer = writer
  }

  /** Plans a statement and queues it. One that cannot be encoded fails, and nothing is written for it. */
  readonly open = (exchange: StatementExchange): void => {
    const { core } = this
    if (core.end !== undefined) return this.writer.submit(exchange)
    if (core.inFlight.size === 0) core.tick()
    // The codec boundary: codecs throw what they cannot encode.
    try {
      core.encoder.plan(exchange, core)
    } catch (cause) {
      return this.refuseOrLookUp(exchange, cause)
    }
    if (exchange.stage === Stage.Waiting) this.follow(exchange)
    else this.writer.submit(exchange)
  }

  private refuseOrLookUp(exchange: StatementExchange, cause: unknown): void {
    if (cause instanceof UnknownTypes && exchange.lookUps++ < maxLookUps) this.lookUpTypes(exchange, cause)
    else this.refuse(exchange, cause)
  }

  /** An exchange cannot be sent. */
  refuse(exchange: Exchange, cause: unknown): void {
    const what = `the statement was not sent: ${cause instanceof Error ? cause.message : String(cause)}`
    exchange.settle(Effect.fail(unknownError(this.core.options.database, what, cause, exchange.operation)))
  }

  private follow(exchange: StatementExchange): void {
    const prepared = exchange.prepared!
    const followers = this.followers?.get(prepared)
    if (followers === undefined) (this.followers ??= new Map()).set(prepared, [exchange])
    else followers.push(exchange)
    this.core.parked.add(exchange)
  }

  /** Those that wait for the columns of a statement, which have waited long enough. */
  takeFollowers(prepared: Prepared): ReadonlyArray<StatementExchange> {
    const followers = this.followers?.get(prepared)
    if (followers === undefined) return []
    this.followers!.delete(prepared)
    for (const follower of followers) this.core.parked.delete(follower)
    return followers
  }

  /** Plans once more and puts in front of what waits. */
  replan(exchange: StatementExchange, described?: Prepared): void {
    const { core } = this
    exchange.again()
    // The codec boundary, as in `open`.
    try {
      core.encoder.planAgain(exchange, core, described)
    } catch (cause) {
      return this.refuseOrLookUp(exchange, cause)
    }
    if (exchange.stage === Stage.Waiting) this.follow(exchange)
    else core.pending.unshift(exchange)
  }

  /** The question for the description was answered: now the statement can run, and those that waited for it. */
  described(exchange: StatementExchange, fail: Fail): void {
    const { core } = this
    const prepared = exchange.prepared!
    const exists = exchange.error === undefined
    if (exists) {
      if (prepared.description === undefined) throw new Error("the columns of a statement were not announced")
      const missing = core.encoder.unknownTypes(exchange, prepared)
      if (missing.length > 0) {
        core.parked.add(exchange)
        return this.lookUp(missing, [], (error) => this.typesKnown(exchange, error, fail))
      }
    }
    const goesOn = exists || core.encoder.isUndecided(exchange, prepared, exchange.error!)
    core.encoder.onDescribed(prepared, exists)
    const followers = this.takeFollowers(prepared)
    // In front of what waits, in their order. If there is no such statement, each of the others asks for itself.
    for (let index = followers.length - 1; index >= 0; index--) {
      const follower = followers[index]!
      if (follower.abandoned) core.encoder.release(follower)
      else this.replan(follower, exists ? prepared : undefined)
    }
    if (!goesOn) return fail(exchange, exchange.error!)
    const { guarded } = exchange
    if (exchange.abandoned) core.encoder.release(exchange)
    else this.replan(exchange, exists ? prepared : undefined)
    if (!exists && guarded) core.pending.unshift(this.goBack())
  }

  /** Takes the transaction back to where it was before a question that was refused. */
  private goBack(): Exchange {
    const { core } = this
    const exchange = new ControlExchange(Control.Other, simpleQuery(forgetQuestion), "execute", () => {})
    core.tick()
    core.startTime(exchange, core.options.controlLimit)
    return exchange
  }

  /** The types of a described statement were looked up, or not. */
  private typesKnown(exchange: StatementExchange, error: SqlError | undefined, fail: Fail): void {
    const { core } = this
    core.parked.delete(exchange)
    // The end of the session has told everybody.
    if (core.end !== undefined) return
    core.inHand = exchange
    if (error === undefined) core.encoder.describeAgain(exchange.prepared!)
    else exchange.error = error.reason.cause as PgError
    this.described(exchange, fail)
    core.inHand = undefined
  }

  private lookUpTypes(exchange: StatementExchange, { names, oids }: UnknownTypes): void {
    const { core } = this
    core.parked.add(exchange)
    this.lookUp(oids, names, (error) => {
      core.parked.delete(exchange)
      if (error !== undefined) exchange.settle(Effect.fail(error))
      else if (!exchange.abandoned) {
        core.inHand = exchange
        this.replan(exchange)
        core.inHand = undefined
      }
    })
  }

  /** Asks the catalogue for types, ahead of whatever waits, and then goes on. */
  private lookUp(
    oids: ReadonlyArray<number>,
    names: ReadonlyArray<string>,
    done: (error: SqlError | undefined) => void
  ): void {
    const { core } = this
    // As they are now: the answer may come when the names mean something else.
    const into = core.encoder.names
    core.describing++
    const question = new LookUp(core.types.question(oids, names), core.options.controlLimit, (effect) => {
      core.describing--
      const exit = effect as Exit.Exit<ReadonlyArray<Result>, SqlError>
      if (Exit.isFailure(exit)) return done(Option.getOrThrow(Cause.findErrorOption(exit.cause)))
      const more = this.load(oids, exit.value, into)
      if (more === undefined) {
        return done(unknownError(core.options.database, "the catalogue cannot be read", undefined, "execute"))
      }
      if (more.length > 0) this.lookUp(more, [], done)
      else done(undefined)
    })
    this.writer.submitFirst(question)
  }

  /** Takes in what the catalogue has answered; `undefined` if that makes no sense. */
  private load(
    oids: ReadonlyArray<number>,
    results: ReadonlyArray<Result>,
    into: TypeNames
  ): ReadonlyArray<number> | undefined {
    const [named, found] = results.map((result) => result.rows.map((row) => Object.values(row) as Array<any>))
    if (named === undefined || found === undefined) return undefined
    // What the server makes of its catalogue is not ours to trust.
    try {
      return this.core.types.load(oids, named as never, found, into)
    } catch {
      return undefined
    }
  }

  /** Makes sure that types are known. */
  knowTypes(oids: Iterable<number>): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const missing = this.core.types.missing(oids)
      return missing.length === 0 ?
        Effect.void :
        Effect.callback((resume) =>
          this.lookUp(missing, [], (error) => resume(error === undefined ? Effect.void : Effect.fail(error)))
        )
    })
  }

  /** The server is about to forget every name: statements that wait are planned anew, without them. */
  forgetNames(): void {
    const { core } = this
    core.encoder.forgetNames()
    const waiting = core.pending.drain()
    for (let index = waiting.length - 1; index >= 0; index--) {
      const exchange = waiting[index]!
      if (isStatement(exchange) && !exchange.abandoned) this.replan(exchange)
      else core.pending.unshift(exchange)
    }
  }
}

const isStatement = (exchange: Exchange): exchange is StatementExchange => "prepared" in exchange
