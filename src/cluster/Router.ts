/**
 * The way of a caller to a node: the pool that a cluster is, for what is above it.
 *
 * | asks                                  | goes to                                                                    |
 * | ------------------------------------- | -------------------------------------------------------------------------- |
 * | outside of `Reads`                    | the primary; while there is none, it waits in its order                    |
 * | inside                                | a replica that is fit; else, after a short wait, as the policy says        |
 *
 * A caller who waits in the pool of a node that loses its role is sent here again, and keeps its deadline.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Connection } from "../Adapter.ts"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import { Lane } from "../pool/Lending.ts"
import type { Pool } from "../pool/Pool.ts"
import * as PoolError from "../pool/PoolError.ts"
import type { StatementProfile } from "../pool/state/StatementProfile.ts"
import { timeoutOrElse } from "../timing/timeout.ts"
import type { Target } from "./ClusterAdapter.ts"
import * as ClusterError from "./ClusterError.ts"
import type { ClusterRuntime } from "./ClusterRuntime.ts"
import { describe } from "./describe.ts"
import { type Member, overflowLane } from "./Member.ts"
import { readOnly } from "./readOnly.ts"
import * as Reads from "./Reads.ts"
import type { Node } from "./state/Node.ts"

/** How a call is run on a node, and whether the node itself has to see to it that nothing is written. */
type Run = (member: Member, isGuarded: boolean) => Effect.Effect<any, any, any>

/** How often reads were served by what. */
export interface Routed {
  replica: number
  overflow: number
  refused: number
}

type AnyFiber = Fiber.Fiber<unknown, unknown>

export class Router {
  readonly routed: Routed = { replica: 0, overflow: 0, refused: 0 }
  /** The policy of whatever runs outside of `Reads`. */
  readonly standing: Reads.Policy | undefined
  private readonly runtime: ClusterRuntime
  /** How long a caller waits for a connection, in milliseconds. */
  private readonly acquireTimeout: number

  constructor(runtime: ClusterRuntime, acquireTimeout: number) {
    this.runtime = runtime
    this.standing = standing[runtime.cluster.target]
    this.acquireTimeout = acquireTimeout
  }

  readonly share: Pool["share"] = (profile, f) =>
    Effect.withFiber((fiber) => {
      const reads = fiber.getRef(Reads.Current) ?? this.standing
      return reads === undefined
        ? this.write("Statement", (member) => member.pool.share(profile, f))
        : this.read(reads, fiber, shared(profile, f))
    })

  readonly use: Pool["use"] = (f) =>
    Effect.withFiber((fiber) => {
      const reads = fiber.getRef(Reads.Current) ?? this.standing
      return reads === undefined
        ? this.write("Statement", (member) => member.pool.use(f))
        : this.read(reads, fiber, (member, isGuarded) => member.pool.use(isGuarded ? f : readOnly(f)))
    })

  readonly reserve: Pool["reserve"] = Effect.withFiber((fiber) => {
    const reads = fiber.getRef(Reads.Current) ?? this.standing
    return reads === undefined
      ? this.write("Acquire", (member) => member.pool.reserve)
      : this.read(reads, fiber, reserved)
  })

  // -------------------------------------------------------------------------------------------------------------------
  // Writes
  // -------------------------------------------------------------------------------------------------------------------

  private write(phase: "Statement" | "Acquire", run: Run): Effect.Effect<any, any, any> {
    const member = this.runtime.usableWriter
    return member === undefined
      ? this.waitForPrimary(phase, run, this.runtime.now())
      : this.onPrimary(member, phase, run, undefined)
  }

  private onPrimary(
    member: Member,
    phase: "Statement" | "Acquire",
    run: Run,
    askedAt: number | undefined
  ): Effect.Effect<any, any, any> {
    const startedAt = this.runtime.now()
    return this.attempt(member, phase, run(member, true), (error, cause) => {
      if (wasSentAway(error, member)) return this.waitForPrimary(phase, run, askedAt ?? startedAt)
      // A primary that refuses to write has become something else.
      if (error !== undefined && phase === "Statement" && Outcome.of(error)?.scope === "OtherNode") {
        this.runtime.onDoubt(member)
      }
      return Effect.failCause(cause)
    })
  }

  private waitForPrimary(phase: "Statement" | "Acquire", run: Run, askedAt: number): Effect.Effect<any, any, any> {
    const { runtime } = this
    if (runtime.held === "reject") return Effect.fail(this.suspended(0))
    const left = Math.max(0, askedAt + this.acquireTimeout - runtime.now())
    const late = Effect.suspend(() => {
      const waitedMillis = runtime.now() - askedAt
      return Effect.fail(
        runtime.held === undefined
          ? ClusterError.toSqlError(
            new ClusterError.NoPrimary({ database: runtime.cluster.name, waitedMillis, topology: describe(runtime) })
          )
          : this.suspended(waitedMillis)
      )
    })
    return Effect.flatMap(
      timeoutOrElse(runtime.awaitWriter, { duration: left, orElse: () => late }),
      (member) => this.onPrimary(member, phase, run, askedAt)
    )
  }

  private suspended(waitedMillis: number): SqlError {
    const { ruleOf } = this.runtime.members.values().next().value!.adapter
    const reason = new PoolError.Suspended({ database: this.runtime.cluster.name, waitedMillis })
    return Outcome.attach(PoolError.toSqlError(reason), "Acquire", ruleOf)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Reads
  // -------------------------------------------------------------------------------------------------------------------

  private read(reads: Reads.Policy, fiber: AnyFiber, run: Run): Effect.Effect<any, any, any> {
    const { runtime } = this
    if (runtime.held !== undefined) return this.write("Acquire", run)
    const isGuarded = fiber.getRef(Reads.IsGuarded)
    const query = {
      bound: reads.bound,
      unproved: reads === this.standing,
      zone: reads.zone ?? runtime.cluster.zone,
      use: reads.on
    }
    const find = (): Member | undefined => this.memberOf(runtime.state.choose(query, runtime.now()))
    if (reads.bound < Infinity) runtime.tell(() => runtime.state.wants(reads.bound, runtime.now()))
    const member = find()
    if (member !== undefined) return this.onReplica(member, run, reads, fiber)
    const otherwise = this.otherwise(reads, isGuarded, run)
    const mayCome = runtime.state.nodes.some(({ spec, status }) =>
      spec.use === reads.on && spec.reads !== false && (status === "Replica" || status === "Unknown")
    )
    if (!mayCome || runtime.options.wait === 0) return otherwise
    return Effect.flatMap(
      timeoutOrElse(runtime.awaitReader(find), {
        duration: runtime.options.wait,
        orElse: () => Effect.succeed(undefined)
      }),
      (found) => found === undefined ? otherwise : this.onReplica(found, run, reads, fiber)
    )
  }

  private memberOf(node: Node | undefined): Member | undefined {
    return node === undefined ? undefined : this.runtime.members.get(node)
  }

  private onReplica(
    member: Member,
    run: Run,
    reads: Reads.Policy,
    fiber: AnyFiber
  ): Effect.Effect<any, any, any> {
    const { runtime } = this
    const { load } = member.node
    const startedAt = runtime.now()
    this.routed.replica++
    load.inFlight++
    let failed = false
    const attempt = this.attempt(member, "Statement", run(member, true), (error, cause) => {
      if (wasSentAway(error, member)) return this.read(reads, fiber, run)
      if (error === undefined) return Effect.failCause(cause)
      failed = isAboutNode(error)
      return Effect.fail(this.readFailed(error))
    })
    return Effect.onExitPrimitive(attempt, () => {
      load.inFlight--
      const now = runtime.now()
      runtime.state.ended(member.node, now - startedAt, failed, now)
      return undefined
    })
  }

  /** No replica is fit. */
  private otherwise(reads: Reads.Policy, isGuarded: boolean, run: Run): Effect.Effect<any, any, any> {
    return Effect.suspend(() => {
      const { options, cluster } = this.runtime
      if ((reads.otherwise ?? options.otherwise) === "fail" || options.overflow === 0) {
        this.routed.refused++
        return Effect.fail(ClusterError.toSqlError(
          new ClusterError.NoReplica({
            database: cluster.name,
            boundMillis: reads.bound,
            topology: describe(this.runtime)
          })
        ))
      }
      this.routed.overflow++
      const onPrimary = this.write("Statement", (member) => run(member, isGuarded))
      return Effect.provideService(
        Effect.mapError(onPrimary, (error) => isSqlError(error) ? this.readFailed(error) : error),
        Lane,
        overflowLane
      )
    })
  }

  /** A read has done nothing, whatever became of it, and may be repeated on another node. A write was refused. */
  private readFailed(error: SqlError): SqlError {
    const verdict = Outcome.of(error)
    if (verdict?.scope === "OtherNode") return ClusterError.inReads(error, this.runtime.cluster.name)
    if (verdict === undefined || !isAboutNode(error)) return error
    return Outcome.mark(error, { ...verdict, outcome: "NotApplied", scope: "OtherNode", ladder: "Instant" })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Attempts
  // -------------------------------------------------------------------------------------------------------------------

  /** One attempt that is judged, and admitted by the breaker of the node. */
  private attempt(
    member: Member,
    phase: "Statement" | "Acquire",
    once: Effect.Effect<any, any, any>,
    onFailure: (error: SqlError | undefined, cause: Cause.Cause<unknown>) => Effect.Effect<any, any, any>
  ): Effect.Effect<any, any, any> {
    const { adapter, breaker } = member
    const judge = (cause: Cause.Cause<unknown>): SqlError | undefined => {
      const error = Option.getOrUndefined(Cause.findErrorOption(cause))
      return isSqlError(error) ? Outcome.attach(error, phase, adapter.ruleOf) : undefined
    }
    if (breaker === undefined) return Effect.catchCause(once, (cause) => onFailure(judge(cause), cause))
    const startedAt = breaker.now()
    breaker.touch(startedAt)
    if (!breaker.closed) {
      const judged = Effect.tapCause(once, (cause) => Effect.sync(() => judge(cause)))
      return Effect.catchCause(breaker.execute(judged), (cause) => onFailure(judge(cause), cause))
    }
    const { permit } = breaker
    return Effect.matchCauseEffect(once, {
      onSuccess: (value) => {
        if (breaker.watching) breaker.succeeded(breaker.now() - startedAt, permit)
        return Effect.succeed(value)
      },
      onFailure: (cause) => {
        const error = judge(cause)
        if (error !== undefined && !wasSentAway(error, member)) {
          breaker.failed(error, breaker.now() - startedAt, permit)
        }
        return onFailure(error, cause)
      }
    })
  }
}

/** What a client wants that is meant for reads only. */
const standing: { readonly [target in Target]?: Reads.Policy } = {
  any: Reads.make({ otherwise: "primary" }),
  standby: Reads.make({ otherwise: "fail" }),
  "read-only": Reads.make({ otherwise: "fail" }),
  "prefer-standby": Reads.make({ otherwise: "primary" })
}

const shared =
  (profile: StatementProfile | undefined, f: (connection: Connection) => Effect.Effect<any, any, any>): Run =>
  (member, isGuarded) => isGuarded ? member.pool.share(profile, f) : member.pool.use(readOnly(f))

const reserved: Run = (member, isGuarded) =>
  isGuarded
    ? member.pool.reserve
    // What is lent is in a transaction that may not write. The pool ends it when the connection comes back.
    : Effect.tap(member.pool.reserve, (connection) => connection.begin({ access: "read only", lazy: true }))

/** Whether the pool of the node has been shut while the caller waited there. */
const wasSentAway = (error: SqlError | undefined, member: Member): boolean => {
  const reason = error === undefined ? undefined : PoolError.fromSqlError(error)?.reason
  return reason?._tag === "Suspended" && reason.database === member.adapter.name
}

/** Whether a read failed because of the node, and not because of what it asked for. */
const isAboutNode = (error: SqlError): boolean => {
  const verdict = Outcome.of(error)
  const { endedBy } = Evidence.of(error)
  if (endedBy !== undefined) return Evidence.consequences[endedBy].mayRepeat
  if (PoolError.fromSqlError(error) !== undefined) return false
  return verdict?.phase === "Connect" || error.reason._tag === "ConnectionError"
}
