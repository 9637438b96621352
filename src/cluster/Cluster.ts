/**
 * Several servers of one database that are used as one: a primary that is found again after a failover, and replicas for
 * the reads that say so.
 *
 * **Details**
 *
 * Each node has a pool and a circuit breaker of its own; all share the retry budget of their `Database`. One connection
 * for each node, beside its pool, asks it what it is: once a second, and at once when something hints at a change. No
 * statement is ever delayed by such a question.
 *
 * Writers wait for a primary while there is none, in the order in which they came, as long as `acquireTimeout`. What
 * servers say of themselves decides: a server of an older generation is fenced, and never written to again.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter as AdapterService } from "../Adapter.ts"
import { Adapter } from "../Adapter.ts"
import type * as Breaker from "../breaker/Breaker.ts"
import { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Pool from "../pool/Pool.ts"
import { resolve as resolvePool } from "../pool/PoolOptions.ts"
import { timeoutOrElse } from "../timing/timeout.ts"
import type { Candidates, ClusterAdapter, NodeOptions } from "./ClusterAdapter.ts"
import * as ClusterError from "./ClusterError.ts"
import { registerCluster, registerNode } from "./clusterMetrics.ts"
import * as ClusterPool from "./ClusterPool.ts"
import { ClusterRuntime } from "./ClusterRuntime.ts"
import { describe } from "./describe.ts"
import * as Member from "./Member.ts"
import * as Options from "./options.ts"
import { Router } from "./route/Router.ts"
import * as Topology from "./Topology.ts"

export * from "./Topology.ts"

/**
 * What a cluster is made of.
 *
 * @category models
 * @since 0.2.0
 */
export interface Parts {
  readonly cluster: Topology.Cluster
  readonly pool: Pool.Pool
  readonly adapter: AdapterService
}

/**
 * Makes a cluster. It ends when the scope closes.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function*(
  cluster: ClusterAdapter,
  options: { readonly pool?: Pool.Options | undefined; readonly breaker?: Breaker.Options | false | undefined } = {}
): Effect.fn.Return<Parts, InvalidOptions | SqlError, Scope.Scope> {
  const replicas = yield* Options.replicas.resolve(cluster.replicas)
  const pool = options.pool ?? {}
  const { acquireTimeout } = (yield* resolvePool(pool, { maxConnections: undefined })).state
  const events = yield* Effect.acquireRelease(PubSub.sliding<Topology.TopologyEvent>(256), PubSub.shutdown)
  const random = yield* Random.Random
  const context = yield* Effect.context<never>()
  const runtime = new ClusterRuntime({
    cluster,
    options: replicas,
    clock: yield* Clock.Clock,
    random: () => random.nextDoubleUnsafe(),
    runFork: Effect.runForkWith(context),
    report: (event) => void PubSub.publishUnsafe(events, event)
  })
  const memberOptions = { pool, breaker: options.breaker ?? {}, overflow: replicas.overflow }
  yield* Effect.addFinalizer((exit) => {
    const members = Array.from(runtime.members.values())
    runtime.close()
    return Effect.forEach(members, ({ scope }) => Scope.close(scope, exit), { concurrency: "unbounded", discard: true })
  })

  /** Joins those that are new, and leaves those that are gone. */
  const update = Effect.fnUntraced(function*(nodes: ReadonlyArray<NodeOptions>) {
    const wanted = new Map(nodes.map((node) => [Member.nameOf(node), node]))
    for (const member of Array.from(runtime.members.values())) {
      if (wanted.delete(member.node.spec.name)) continue
      runtime.leave(member)
      yield* Effect.forkDetach(Scope.close(member.scope, Exit.void))
    }
    for (const node of wanted.values()) {
      yield* Options.node.resolve(node)
      const member = yield* Member.make(cluster, node, memberOptions, runtime)
      yield* Scope.addFinalizer(member.scope, Effect.sync(registerNode(context, runtime, member.node)))
      runtime.join(member)
    }
  })

  yield* discover(cluster.candidates, update, cluster)
  yield* Deferred.await(runtime.started)
  const members = Array.from(runtime.members.values())
  const refusal = members.find(({ adapter, error }) => error !== undefined && adapter.isPermanent(error))
  if (refusal !== undefined && members.every(({ error }) => error !== undefined)) {
    return yield* Effect.fail(refusal.error!)
  }

  const router = new Router(runtime, acquireTimeout)
  yield* Effect.acquireRelease(
    Effect.sync(() => registerCluster(context, runtime, router)),
    (remove) => Effect.sync(remove)
  )
  const [first] = members
  return {
    pool: ClusterPool.make(runtime, router),
    adapter: whole(runtime, first!.adapter, acquireTimeout),
    cluster: service(runtime, router, Stream.fromPubSub(events))
  }
})

/** The adapter of all servers. What is opened beside the pools goes to the primary. */
const whole = (runtime: ClusterRuntime, { spanAttributes, ...one }: AdapterService, limit: number): AdapterService => {
  const { cluster } = runtime
  const late = Effect.suspend(() =>
    Effect.fail(ClusterError.toSqlError(
      new ClusterError.NoPrimary({ database: cluster.name, waitedMillis: limit, topology: describe(runtime) })
    ))
  )
  const adapter: AdapterService = {
    ...one,
    name: cluster.name,
    // Which server a statement ran on is another one each time.
    spanAttributes: spanAttributes.filter(([key]) => !key.startsWith("server.")),
    connect: Effect.flatMap(
      timeoutOrElse(runtime.awaitWriter, { duration: limit, orElse: () => late }),
      ({ adapter }) => adapter.connect
    )
  }
  return cluster.together?.(adapter) ?? adapter
}

/** Takes the candidates as they come. The first ones must be there before anything else. */
const discover = (
  candidates: Candidates,
  update: (nodes: ReadonlyArray<NodeOptions>) => Effect.Effect<void, InvalidOptions | SqlError>,
  cluster: ClusterAdapter
): Effect.Effect<void, InvalidOptions | SqlError, Scope.Scope> => {
  const checked = (nodes: ReadonlyArray<NodeOptions>) =>
    nodes.length > 0 ? update(nodes) : Effect.fail(
      new InvalidOptions({ module: cluster.name, option: "nodes", problem: "must name one node at least" })
    )
  if (Effect.isEffect(candidates)) return Effect.flatMap(candidates, checked)
  if (!Stream.isStream(candidates)) return checked(candidates)
  return Effect.gen(function*() {
    const first = yield* Deferred.make<void, InvalidOptions | SqlError>()
    yield* candidates.pipe(
      // A list that has become empty is no reason to leave all nodes.
      Stream.filter((nodes) => nodes.length > 0),
      Stream.runForEach((nodes) => Effect.flatMap(update(nodes), () => Deferred.succeed(first, undefined))),
      Effect.catchCause((cause) =>
        Effect.flatMap(
          Deferred.failCause(first, cause),
          (isFirst) =>
            isFirst ? Effect.void : Effect.logWarning(`${cluster.name}: no nodes are found out any more`, cause)
        )
      ),
      Effect.forkScoped
    )
    yield* Deferred.await(first)
  })
}

const service = (
  runtime: ClusterRuntime,
  router: Router,
  events: Stream.Stream<Topology.TopologyEvent>
): Topology.Cluster => {
  const { name } = runtime.cluster
  const named = (node: string) => Array.from(runtime.members.values()).find((member) => member.node.spec.name === node)
  return {
    name,
    describe: Effect.sync(() => describe(runtime)),
    topology: Effect.suspend(() => {
      const { state } = runtime
      const now = runtime.now()
      const nodes = Effect.forEach(
        runtime.members.values(),
        ({ error, node, pool }) =>
          Effect.map(pool.stats, (stats): Topology.NodeState => ({
            name: node.spec.name,
            status: node.status,
            forMillis: now - node.since,
            why: node.why ?? error?.message,
            zone: node.spec.zone,
            generation: node.generation,
            staleMillis: state.staleness(node, now),
            inFlight: node.load.inFlight,
            pool: stats
          }))
      )
      return Effect.map(nodes, (nodes) => ({
        name,
        primary: state.writer?.spec.name,
        generation: state.generation,
        nodes,
        reads: { ...router.routed },
        unusableTokens: { ...router.unusable }
      }))
    }),
    events: Stream.map(events, (event) => ({ ...event, database: name })),
    node: (node) => named(node),
    pin: (node) =>
      Effect.sync(() =>
        runtime.tell(() => runtime.state.pin(node === undefined ? undefined : named(node)?.node, runtime.now()))
      ),
    refresh: Effect.sync(() =>
      runtime.tell(() => {
        for (const { node } of runtime.members.values()) runtime.state.suspect(node, runtime.now())
      })
    )
  }
}

/**
 * Provides a cluster, and its pool and its adapter as those of one database.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (
  cluster: ClusterAdapter,
  options: { readonly pool?: Pool.Options | undefined; readonly breaker?: Breaker.Options | false | undefined } = {}
): Layer.Layer<Topology.Cluster | Pool.Pool | AdapterService, InvalidOptions | SqlError> =>
  Layer.effectContext(
    Effect.map(make(cluster, options), ({ adapter, cluster, pool }) =>
      Context.make(Topology.Cluster, cluster).pipe(
        Context.add(Pool.Pool, pool),
        Context.add(Adapter, adapter)
      ))
  )
