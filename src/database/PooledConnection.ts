import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as SqlConnection from "effect/sql/SqlConnection"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter, Connection, LeftOpen } from "../Adapter.ts"
import type * as Breaker from "../breaker/Breaker.ts"
import * as ClusterError from "../cluster/ClusterError.ts"
import * as Reads from "../cluster/Reads.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import type { Body, Lease, Pool } from "../pool/Pool.ts"
import { StatementProfile } from "../pool/state/StatementProfile.ts"
import type { StatementLog } from "./StatementLog.ts"

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Takes up a failed statement. */
export type Recover = <A>(cause: Cause.Cause<SqlError>, again: Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>

/** What statements outside transactions are run on: the pool, in the shape of a connection. */
export class PooledConnection implements SqlConnection.Connection {
  private readonly pool: Pool
  private readonly adapter: Adapter
  private readonly breaker: Breaker.Breaker | undefined
  private readonly recover: Recover
  /** How many calls have succeeded. */
  private readonly tally: { successes: number }
  private readonly log: StatementLog | undefined
  private readonly profiles = new Map<string, StatementProfile>()
  /** Texts that need a connection of their own. */
  private readonly refused = new WeakSet<StatementProfile>()
  private hasRefused = false
  /** Texts that may leave a transaction open, and what they fail with if they do. */
  private readonly suspects = new WeakMap<StatementProfile, LeftOpen>()
  private hasSuspects = false

  constructor(
    pool: Pool,
    adapter: Adapter,
    breaker: Breaker.Breaker | undefined,
    tally: { successes: number },
    recover: Recover,
    log?: StatementLog | undefined
  ) {
    this.log = log
    this.tally = tally
    this.pool = pool
    this.adapter = adapter
    this.breaker = breaker
    this.recover = recover
  }

  /** Runs a statement in a fiber, which is running. */
  runIn<A>(
    fiber: AnyFiber,
    profile: StatementProfile,
    params: ReadonlyArray<unknown>,
    body: Body<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    const { log } = this
    const leftOpen = this.hasSuspects ? this.suspects.get(profile) : undefined
    const once = this.share(fiber, profile, leftOpen === undefined ? body : checked(body, leftOpen))
    return log === undefined ? once : log.around(profile.sql, params, once)
  }

  private run<A>(
    profile: StatementProfile,
    params: ReadonlyArray<unknown>,
    runOn: (connection: Connection) => Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    return Effect.withFiber((fiber) => this.runIn(fiber, profile, params, { runOn }))
  }

  /** Everything here but asking the pool is for failures, what the breaker wants to know, and the retry budget. */
  private share<A>(
    fiber: AnyFiber,
    profile: StatementProfile,
    body: Body<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    if (this.hasRefused && this.refused.has(profile)) return this.refuse(profile.sql)
    const { breaker } = this
    let startedAt = 0
    let permit: Breaker.Permit | undefined
    if (breaker !== undefined) {
      startedAt = breaker.now()
      breaker.touch(startedAt)
      if (!breaker.closed) return this.guarded(profile, body)
      permit = breaker.permit
    }
    const lease = this.pool.leaseUnsafe(fiber, profile, body) ?? this.leaseOf(profile, body)
    const once = Effect.onExitPrimitive(lease.effect, (exit) => {
      if (Exit.isFailure(exit)) {
        lease.end(exit.cause)
        return undefined
      }
      lease.end(undefined)
      this.tally.successes++
      if (permit !== undefined && this.breaker!.watching) {
        this.breaker!.succeeded(this.breaker!.now() - startedAt, permit)
      }
      return undefined
    })
    // An interruption passes it by.
    return Effect.catchCause(once, (cause) => this.failed(cause, lease, startedAt, permit))
  }

  /** The lease of a statement whose way to a connection is not known beforehand. */
  private leaseOf<A>(profile: StatementProfile, body: Body<A, SqlError>): Lease<A, SqlError> {
    return { profile, body, effect: this.pool.share(profile, (connection) => body.runOn(connection)), end: () => {} }
  }

  private failed<A>(
    cause: Cause.Cause<SqlError>,
    { body, profile }: Lease<A, SqlError>,
    startedAt: number,
    permit: Breaker.Permit | undefined
  ): Effect.Effect<A, SqlError> {
    const error = this.judge(cause, profile!.sql)
    if (error !== undefined && permit !== undefined) {
      this.breaker!.failed(error, this.breaker!.now() - startedAt, permit)
    }
    return this.repeat(cause, profile!, body)
  }

  /** A statement that the breaker has to admit. */
  private guarded<A>(profile: StatementProfile, body: Body<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.matchCauseEffect(this.attempt(profile, body), {
      onSuccess: (value) => this.succeeded(value),
      onFailure: (cause) => this.repeat(cause, profile, body)
    })
  }

  private refuse(sql: string): Effect.Effect<never, SqlError> {
    return Effect.suspend(() => {
      const error = this.adapter.refuseOnPool!(sql)!
      return Effect.fail(SqlFailure.attach(Outcome.attach(error, "Statement", this.adapter.ruleOf), sql))
    })
  }

  private succeeded<A>(value: A): Effect.Effect<A> {
    this.tally.successes++
    return Effect.succeed(value)
  }

  private repeat<A>(
    cause: Cause.Cause<SqlError>,
    profile: StatementProfile,
    body: Body<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    return Effect.flatMap(this.recover(cause, this.attempt(profile, body)), (value) => this.succeeded(value))
  }

  /** One attempt that is judged, and admitted by the breaker. */
  private attempt<A>(profile: StatementProfile, body: Body<A, SqlError>): Effect.Effect<A, SqlError> {
    const judged = Effect.tapCause(
      this.leaseOf(profile, body).effect,
      (cause) => Effect.sync(() => this.judge(cause, profile.sql))
    )
    return this.breaker === undefined ? judged : this.breaker.execute(judged)
  }

  private judge(cause: Cause.Cause<SqlError>, sql: string): SqlError | undefined {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    if (!isSqlError(error)) return undefined
    return SqlFailure.attach(Outcome.attach(error, "Statement", this.adapter.ruleOf), sql)
  }

  profile(sql: string): StatementProfile {
    let profile = this.profiles.get(sql)
    if (profile === undefined) {
      profile = new StatementProfile(sql)
      if (this.adapter.refuseOnPool?.(sql) !== undefined) {
        this.refused.add(profile)
        this.hasRefused = true
      }
      const leftOpen = this.adapter.leftOpen?.(sql)
      if (leftOpen !== undefined) {
        this.suspects.set(profile, leftOpen)
        this.hasSuspects = true
      }
      // Statements that are built from values would otherwise stay for ever.
      if (this.profiles.size >= maxProfiles) this.profiles.delete(this.profiles.keys().next().value!)
      this.profiles.set(sql, profile)
    }
    return profile
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run(this.profile(sql), params, (connection) => connection.execute(sql, params, transformRows))
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(this.profile(sql), params, (connection) => connection.executeRaw(sql, params))
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(this.profile(sql), params, (connection) => connection.executeValues(sql, params))
  }
  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(this.profile(sql), params, (connection) => connection.executeValuesUnprepared(sql, params))
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run(this.profile(sql), params, (connection) => connection.executeUnprepared(sql, params, transformRows))
  }
  // Rows that were handed out cannot be taken back, so a stream is never repeated.
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    const profile = this.profile(sql)
    if (this.hasRefused && this.refused.has(profile)) return Stream.fromEffect(this.refuse(sql))
    const { adapter } = this
    const leftOpen = this.suspects.get(profile)
    const failed = (isInReads: boolean) => (error: SqlError): SqlError => {
      const judged = Outcome.attach(error, "Statement", adapter.ruleOf)
      return SqlFailure.attach(isInReads ? ClusterError.inReads(judged, adapter.name) : judged, sql)
    }
    const rows = Stream.unwrap(Effect.withFiber((fiber) => {
      const mapped = failed(fiber.getRef(Reads.Current) !== undefined)
      return this.pool.reserve.pipe(
        Effect.map((connection) => {
          const rows = connection.executeStream(sql, params, transformRows)
          return Stream.mapError(leftOpen === undefined ? rows : checkedStream(connection, rows, leftOpen), mapped)
        }),
        Effect.mapError(mapped)
      )
    }))
    return this.log === undefined ? rows : this.log.aroundStream(sql, params, rows)
  }
}

const maxProfiles = 1000

/** A statement that must not leave a transaction open: what is in it would be rolled back without a word. */
const checked = <A>(body: Body<A, SqlError>, { error }: LeftOpen): Body<A, SqlError> => ({
  runOn: (connection) =>
    Effect.flatMap(
      body.runOn(connection),
      (value) => connection.inTransaction ? Effect.fail(error()) : Effect.succeed(value)
    )
})

/** Rows that come one by one do not say whether a transaction is open. */
const checkedStream = <A>(
  connection: Connection,
  rows: Stream.Stream<A, SqlError>,
  { error, probe }: LeftOpen
): Stream.Stream<A, SqlError> =>
  Stream.concat(
    rows,
    Stream.unwrap(Effect.map(
      connection.executeUnprepared(probe, [], undefined),
      () => connection.inTransaction ? Stream.fail(error()) : Stream.empty
    ))
  )
