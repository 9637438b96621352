/**
 * A node with what is used to reach it: its adapter, its pool, its circuit breaker, and the connection on which it is
 * asked what it is.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Breaker from "../breaker/Breaker.ts"
import { mark, type Place } from "../database/place.ts"
import { reachable, reachableBeside } from "../database/reachable.ts"
import * as Evidence from "../failure/Evidence.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Pool from "../pool/Pool.ts"
import type { ClusterAdapter, NodeOptions } from "./ClusterAdapter.ts"
import { Node } from "./state/Node.ts"

/** The lane of the primary's pool for reads that no replica could serve. */
export const overflowLane = "watertight/overflow"

/** What a member tells the cluster. */
export interface Listener {
  readonly now: () => number
  /** A connection of the pool was lost. */
  readonly onLost: (member: Member) => void
  /** A connection says that the server is not what it was. */
  readonly onDoubt: (member: Member) => void
}

export interface MemberOptions {
  readonly pool: Pool.Options
  readonly breaker: Breaker.Options | false
  readonly overflow: number
}

export interface Member {
  readonly node: Node
  readonly options: NodeOptions
  readonly adapter: Adapter
  /** What the spans of its statements tell. */
  readonly place: Place
  readonly pool: Pool.Pool
  readonly breaker: Breaker.Breaker | undefined
  readonly scope: Scope.Closeable
  /** How many connections the pool keeps while the node is in use. */
  readonly min: number
  /** On which the server is asked what it is. */
  monitor: Connection | undefined
  /** Why it could not be reached when it was asked last. */
  error: SqlError | undefined
  /** Whether its pool lends connections. */
  isOpen: boolean
  /** Whether its pool has been told how many connections to keep. */
  isSized: boolean
}

/** Two of the same name are the same server. */
export const nameOf = ({ host, port }: NodeOptions): string => port === undefined ? host : `${host}:${port}`

/** Makes a member, whose pool lends nothing yet. */
export const make = Effect.fnUntraced(function*(
  cluster: ClusterAdapter,
  options: NodeOptions,
  { breaker: breakerOptions, overflow, pool: poolOptions }: MemberOptions,
  listener: Listener
): Effect.fn.Return<Member, InvalidOptions | SqlError> {
  const adapter = yield* cluster.adapterOf(options)
  const max = poolOptions.max ?? 10
  const load = {
    inFlight: 0,
    max,
    get isOpen() {
      const state = member.breaker?.stateUnsafe()
      return state === "Open" || state === "Isolated"
    }
  }
  const node = new Node({ ...options, name: nameOf(options) }, listener.now(), load)
  const place: Place = { host: options.host, port: options.port, role: () => node.status.toLowerCase() }
  const scope = yield* Scope.make()
  const admitting: Adapter = {
    ...adapter,
    connect: Effect.flatMap(adapter.connect, (connection) => admit(connection))
  }
  const pool = yield* Pool.make(admitting, {
    ...poolOptions,
    min: 0,
    startup: "lazy",
    // The least that is one connection.
    lanes: { ...poolOptions.lanes, [overflowLane]: { max: Math.min(1, Math.max(overflow, 1 / max)) } }
  }).pipe(Scope.provide(scope))
  const breaker = breakerOptions === false
    ? undefined
    : yield* Scope.provide(
      Breaker.make(adapter, breakerOptions, {
        probe: reachable(pool, adapter),
        witness: reachableBeside(adapter)
      }),
      scope
    )
  if (breaker !== undefined) yield* Scope.provide(pool.guardedBy(breaker), scope)
  const member: Member = {
    node,
    options,
    adapter,
    place,
    pool,
    breaker,
    scope,
    min: poolOptions.min ?? 0,
    monitor: undefined,
    error: undefined,
    isOpen: false,
    isSized: false
  }

  /** A connection is lent only if its server is what the node is taken for: a name may lead elsewhere by now. */
  const admit = (connection: Connection): Effect.Effect<Connection, SqlError> => {
    const refuse = (isPrimary?: boolean): Effect.Effect<never, SqlError> => {
      connection.destroy("the server is not what its node is taken for")
      listener.onDoubt(member)
      return Effect.fail(wrongRole(adapter.name, isPrimary))
    }
    const watch = (isPrimary: boolean | undefined): Effect.Effect<Connection, SqlError> => {
      const isExpected = node.status === "Primary" ? true : node.status === "Replica" ? false : undefined
      if (isPrimary !== undefined && isExpected !== undefined && isPrimary !== isExpected) return refuse(isPrimary)
      mark(connection, place)
      connection.onLost(() => listener.onLost(member))
      connection.onRetire(() => listener.onDoubt(member))
      return Effect.succeed(connection)
    }
    const known = cluster.isPrimary(connection)
    if (known !== undefined) return watch(known)
    return Effect.onExit(cluster.observe(connection, []), (exit) =>
      Effect.sync(() => {
        if (Exit.isFailure(exit)) connection.destroy("nobody knows what the server is")
      })).pipe(
        Effect.flatMap(({ role }) =>
          role === "unfit" ? refuse() : watch(role === "peer" ? undefined : role === "primary")
        )
      )
  }
  return member
})

const wrongRole = (database: string, isPrimary: boolean | undefined): SqlError => {
  const role = isPrimary === undefined ? "a server that must not be used" : isPrimary ? "a primary" : "a replica"
  const message = `${database} answered as ${role}, which it was not taken for`
  const reason = new ConnectionError({ cause: new Error(message), message, operation: "connect" })
  return Evidence.attach(new SqlError({ reason }), Evidence.make({ connecting: true }))
}
