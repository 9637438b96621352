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
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { trace } from "../../database/place.ts"
import * as Outcome from "../../failure/Outcome.ts"
import { Lane } from "../../pool/Lending.ts"
import type { Pool } from "../../pool/Pool.ts"
import * as PoolError from "../../pool/PoolError.ts"
import { timeoutOrElse } from "../../timing/timeout.ts"
import * as Causal from "../Causal.ts"
import type { Target } from "../ClusterAdapter.ts"
import * as ClusterError from "../ClusterError.ts"
import type { ClusterRuntime } from "../ClusterRuntime.ts"
import { describe } from "../describe.ts"
import { type Member, overflowLane } from "../Member.ts"
import * as Reads from "../Reads.ts"
import type { Node } from "../state/Node.ts"
import type { Query } from "../state/ReadChoice.ts"
import type { TokenProblem } from "../state/TopologyEvent.ts"
import { aroundOf, type Call, type Following, nothing, reserved, type Run, shared, waitedSince } from "./calls.ts"
import { isAboutNode, judge, wasSentAway } from "./failures.ts"
import { behind, noted } from "./following.ts"
import { readOnly } from "./readOnly.ts"

/** How long a read pauses before it asks again whether a replica has got there, in milliseconds. */
const firstPause = 1
const longestPause = 20

/** How often reads were served by what. */
export interface Routed {
  replica: number
  overflow: number
  refused: number
}

/** How often what a region of `Causal` must see proved nothing. */
export type Unusable = { [problem in TokenProblem]: number }

/** What is concluded from a failure of a call. A read that writes says nothing of its server. */
type Phase = "Statement" | "Acquire" | "Read"

type AnyFiber = Fiber.Fiber<unknown, unknown>

export class Router {
  readonly routed: Routed = { replica: 0, overflow: 0, refused: 0 }
  readonly unusable: Unusable = { Unreadable: 0, Foreign: 0, OtherGeneration: 0, Ahead: 0 }
  /** The policy of whatever runs outside of `Reads`. */
  readonly standing: Reads.Policy | undefined
  private readonly runtime: ClusterRuntime
  /** How long a caller waits for a connection, in milliseconds. */
  private readonly acquireTimeout: number

  constructor(runtime: ClusterRuntime, acquireTimeout: number) {
    this.runtime = runtime
    this.standing = standing[runtime.cluster.target]
    for (const { adapter } of runtime.members.values()) Causal.introduce(runtime.cluster.name, adapter.causality)
    this.acquireTimeout = acquireTimeout
  }

  readonly share: Pool["share"] = (profile, f) =>
    Effect.withFiber((fiber) => {
      const reads = this.policyOf(fiber)
      if (reads !== undefined) return this.read(reads, fiber, shared(profile, f))
      const region = Causal.isUsed() ? fiber.getRef(Causal.Current) : undefined
      return this.write("Statement", fiber, (member, around) => {
        const { causality } = member.adapter
        const body = region === undefined || causality === undefined
          ? f
          : noted({ region, causality, database: this.runtime.cluster.name, as: "Statement" }, f)
        return member.pool.share(profile, around(body))
      })
    })

  readonly use: Pool["use"] = (f) =>
    Effect.withFiber((fiber) => {
      const reads = this.policyOf(fiber)
      return reads === undefined
        ? this.write("Statement", fiber, (member, around) => member.pool.use(around(f)))
        : this.read(reads, fiber, (member, isGuarded, around) =>
          member.pool.use(isGuarded ? around(f) : readOnly(around(f))))
    })

  readonly reserve: Pool["reserve"] = Effect.withFiber((fiber) => {
    const reads = this.policyOf(fiber)
    return reads === undefined
      ? this.write(
        "Acquire",
        fiber,
        (member, around) =>
          around === nothing ? member.pool.reserve : Effect.flatMap(member.pool.reserve, around(Effect.succeed))
      )
      : this.read(reads, fiber, reserved)
  })

  /** Nobody looks for what no program has used so far. */
  private policyOf(fiber: AnyFiber): Reads.Policy | undefined {
    return Reads.isUsed() ? fiber.getRef(Reads.Current) ?? this.standing : this.standing
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Writes
  // -------------------------------------------------------------------------------------------------------------------

  private write(phase: Phase, fiber: AnyFiber, run: Call): Effect.Effect<any, any, any> {
    const member = this.runtime.usableWriter
    return member === undefined
      ? this.waitForPrimary(phase, fiber, run, this.runtime.now())
      : this.onPrimary(member, phase, fiber, run, undefined)
  }

  private onPrimary(
    member: Member,
    phase: Phase,
    fiber: AnyFiber,
    run: Call,
    askedAt: number | undefined
  ): Effect.Effect<any, any, any> {
    trace(fiber, member.place)
    const once = askedAt === undefined ? run(member, nothing) : waitedSince(askedAt, member, run)
    return this.attempt(member, phase === "Read" ? "Statement" : phase, once, (error, cause, startedAt) => {
      if (wasSentAway(error, member)) return this.waitForPrimary(phase, fiber, run, askedAt ?? startedAt)
      // A primary that refuses to write has become something else.
      if (error !== undefined && phase === "Statement" && Outcome.of(error)?.scope === "OtherNode") {
        this.runtime.onDoubt(member)
      }
      return Effect.failCause(cause)
    })
  }

  private waitForPrimary(phase: Phase, fiber: AnyFiber, run: Call, askedAt: number): Effect.Effect<any, any, any> {
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
      (member) => this.onPrimary(member, phase, fiber, run, askedAt)
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
    const query: Query = {
      bound: reads.bound,
      unproved: reads === this.standing,
      zone: reads.zone ?? runtime.cluster.zone,
      use: reads.on
    }
    const region = Causal.isUsed() ? fiber.getRef(Causal.Current) : undefined
    if (region !== undefined) return this.readAfter(region, reads, query, fiber, run)
    return this.readFrom(reads, query, fiber, run)
  }

  /**
   * A read that must see what its region has written and seen. A replica that is known to have it comes first, then any
   * other one, which is asked. If that has not got it, the read waits a little, and goes to the primary at last.
   */
  private readAfter(
    region: Causal.Region,
    reads: Reads.Policy,
    query: Query,
    fiber: AnyFiber,
    run: Run
  ): Effect.Effect<any, any, any> {
    const { members, state } = this.runtime
    const since = this.runtime.now()
    const causality = members.values().next().value?.adapter.causality
    if (causality === undefined) return this.otherwise(reads, fiber, run)
    const { name: database } = this.runtime.cluster
    const floor = region.floor(causality.lineage ?? state.lineage, causality)
    const tell = () => this.tellOf(region.problem(database, state.generation, floor))
    const following: Following = { region, causality, database, as: "ReplicaRead", floor: undefined, since, tell }
    tell()
    if (floor?.generation !== undefined) this.runtime.tell(() => state.hint(floor.generation!, since))
    // A place of another generation cannot be held against positions of this one.
    if (region.isPinned(database) || (floor !== undefined && floor.generation !== state.generation)) {
      return this.otherwise(reads, fiber, run, following)
    }
    if (floor === undefined) return this.readFrom(reads, query, fiber, run, following)
    const proved: Query = {
      ...query,
      accepts: ({ observation }) =>
        observation?.position !== undefined && causality.includes?.(observation.position, floor.value) === true
    }
    return state.choose(proved, since) === undefined
      ? this.readFrom(reads, query, fiber, run, { ...following, floor })
      : this.readFrom(reads, proved, fiber, run, following)
  }

  private tellOf(reason: TokenProblem | undefined): void {
    if (reason === undefined) return
    this.unusable[reason]++
    this.runtime.report({ _tag: "TokenUnusable", reason })
  }

  private readFrom(
    reads: Reads.Policy,
    query: Query,
    fiber: AnyFiber,
    run: Run,
    following?: Following
  ): Effect.Effect<any, any, any> {
    const { runtime } = this
    const find = (): Member | undefined => this.memberOf(runtime.state.choose(query, runtime.now()))
    if (reads.bound < Infinity) runtime.tell(() => runtime.state.wants(reads.bound, runtime.now()))
    const member = find()
    if (member !== undefined) return this.onReplica(member, run, reads, fiber, following)
    const otherwise = this.otherwise(reads, fiber, run, following)
    const mayCome = runtime.state.nodes.some(({ spec, status }) =>
      spec.use === reads.on && spec.reads !== false && (status === "Replica" || status === "Unknown")
    )
    if (!mayCome || runtime.options.wait === 0) return otherwise
    return Effect.flatMap(
      timeoutOrElse(runtime.awaitReader(find), {
        duration: runtime.options.wait,
        orElse: () => Effect.succeed(undefined)
      }),
      (found) => found === undefined ? otherwise : this.onReplica(found, run, reads, fiber, following)
    )
  }

  private memberOf(node: Node | undefined): Member | undefined {
    return node === undefined ? undefined : this.runtime.usable(this.runtime.members.get(node))
  }

  private onReplica(
    member: Member,
    run: Run,
    reads: Reads.Policy,
    fiber: AnyFiber,
    following: Following | undefined,
    pause: number = firstPause
  ): Effect.Effect<any, any, any> {
    const { runtime } = this
    const { load } = member.node
    const startedAt = runtime.now()
    trace(fiber, member.place)
    load.inFlight++
    let failed = false
    const attempt = this.attempt(member, "Statement", run(member, true, aroundOf(following)), (error, cause) => {
      if (wasSentAway(error, member)) return this.read(reads, fiber, run)
      if (error === undefined) return Effect.failCause(cause)
      failed = isAboutNode(error)
      return Effect.fail(this.readFailed(error))
    })
    const counted = Effect.onExitPrimitive(attempt, () => {
      load.inFlight--
      const now = runtime.now()
      runtime.state.ended(member.node, now - startedAt, failed, now)
      return undefined
    })
    this.routed.replica++
    if (following?.floor === undefined) return counted
    return Effect.flatMap(counted, (value) => {
      if (value !== behind) return Effect.succeed(value)
      this.routed.replica--
      const left = following.since + runtime.options.wait - runtime.now()
      return left <= pause
        ? this.otherwise(reads, fiber, run, following)
        : Effect.andThen(
          Effect.sleep(pause),
          Effect.suspend(() => this.onReplica(member, run, reads, fiber, following, Math.min(longestPause, pause * 2)))
        )
    })
  }

  /** No replica is fit. */
  private otherwise(
    reads: Reads.Policy,
    fiber: AnyFiber,
    run: Run,
    following?: Following
  ): Effect.Effect<any, any, any> {
    return Effect.suspend(() => {
      const { held, options, cluster } = this.runtime
      const mode = options.overflow === 0 ? "fail" : reads.otherwise ?? options.otherwise
      if (mode === "fail" && held === undefined) {
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
      const isGuarded = fiber.getRef(Reads.IsGuarded)
      // The primary has everything.
      const around = aroundOf(following === undefined ? undefined : { ...following, as: "Read", floor: undefined })
      const onPrimary = this.write(
        "Read",
        fiber,
        (member, begun) => run(member, isGuarded, begun === nothing ? around : (f) => begun(around(f)))
      )
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
    onFailure: (
      error: SqlError | undefined,
      cause: Cause.Cause<unknown>,
      startedAt: number
    ) => Effect.Effect<any, any, any>
  ): Effect.Effect<any, any, any> {
    const { breaker } = member
    if (breaker === undefined) {
      const startedAt = this.runtime.now()
      return Effect.catchCause(once, (cause) => onFailure(judge(cause, phase, member), cause, startedAt))
    }
    const startedAt = breaker.now()
    breaker.touch(startedAt)
    if (!breaker.closed) {
      const judged = Effect.tapCause(once, (cause) => Effect.sync(() => judge(cause, phase, member)))
      return Effect.catchCause(
        breaker.execute(judged),
        (cause) => onFailure(judge(cause, phase, member), cause, startedAt)
      )
    }
    const { permit } = breaker
    return Effect.matchCauseEffect(once, {
      onSuccess: (value) => {
        if (breaker.watching) breaker.succeeded(breaker.now() - startedAt, permit)
        return Effect.succeed(value)
      },
      onFailure: (cause) => {
        const error = judge(cause, phase, member)
        if (error !== undefined && !wasSentAway(error, member)) {
          breaker.failed(error, breaker.now() - startedAt, permit)
        }
        return onFailure(error, cause, startedAt)
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
