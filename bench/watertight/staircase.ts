/**
 * The steps of the staircase: the same statement, each time with one part more around it. `nothing` is a database that
 * answers at once, so that only our own cost is left.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import type * as SqlConnection from "effect/sql/SqlConnection"
import * as Tracer from "effect/Tracer"
import { Adapter, Database, Pool, Reads, Retry } from "watertight"
import { Postgres } from "watertight/postgres"
import { StatementProfile } from "../../src/pool/state/StatementProfile.ts"
import type { Subject, Target } from "../harness/model.ts"
import { built, operations } from "../harness/sqlClient.ts"
import { effects, effectsIn } from "../harness/styles.ts"
import * as Stub from "./stub.ts"

type Run = Effect.Effect<unknown, unknown>

const first = (rows: unknown): unknown => (rows as ReadonlyArray<{ readonly n: unknown }>)[0]!.n

/** `SqlClient` over connections that are lent so. */
const clientOver = (adapter: Adapter.Adapter, borrower: SqlConnection.Borrower) =>
  SqlClient.make({
    acquirer: Effect.die("not asked for"),
    borrower,
    compiler: adapter.compiler,
    driver: adapter.driver,
    spanAttributes: adapter.spanAttributes
  })

/** What a program does that takes all of it from the shelf, around each statement. */
const fromTheShelf = (
  breaker: CircuitBreaker.CircuitBreaker,
  statement: (n: number) => Run
): (n: number) => Run => {
  const timer = Metric.histogram("bench.duration", {
    boundaries: Metric.linearBoundaries({ start: 0, width: 1, count: 20 })
  })
  const schedule = Schedule.exponential("10 millis").pipe(Schedule.jittered, Schedule.upTo({ times: 3 }))
  return (n) =>
    statement(n).pipe(
      Effect.trackDuration(timer, (duration) => Number(duration)),
      Effect.timeout("5 seconds"),
      (self) => breaker.execute(self, { key: "database" }),
      Effect.retry({ schedule, while: () => false }),
      Effect.withSpan("statement")
    )
}

export const open = async ({ connections, options, server, servers }: Target): Promise<Subject<Run>> => {
  const isStub = servers[server] === undefined
  const sql = isStub ? "select ? as n" : "select $1::int as n"
  const adapterLayer = isStub
    ? Layer.succeed(Adapter.Adapter, Stub.adapter)
    : Postgres.adapter({ url: Redacted.make(servers.postgres!.url) })
  const step = String(options["step"])
  // `Database` keeps one for each statement.
  const profile = new StatementProfile()
  const poolLayer = Pool.layer({ min: connections, max: connections })
  const below = options["nodes"] === true
    ? (await import("./nodes.ts")).layerOf(connections)
    : Layer.provideMerge(poolLayer, adapterLayer)
  const everything = Database.layer({
    ...(options["retry"] === false ? { retry: Retry.never } : undefined),
    // Each node has its own.
    ...(options["breaker"] === false || options["nodes"] === true ? { breaker: false } : undefined)
  }).pipe(Layer.provideMerge(below))
  const breakerLayer = CircuitBreaker.layer({
    tripPolicy: CircuitBreaker.consecutive(5),
    openDuration: "5 seconds"
  }).pipe(Layer.provide(CircuitBreaker.layerStoreMemory()))
  const { close, context } = await built(Layer.mergeAll(everything, breakerLayer, Reactivity.layer))
  const adapter = Context.get(context, Adapter.Adapter)
  const pool = Context.get(context, Pool.Pool)
  const echoOf = (client: SqlClient.SqlClient): (n: number) => Run =>
    isStub ? (n) => Effect.map(client`select ${n} as n`, first) : operations(client, "postgres").echo
  const subject = (echo: (n: number) => Run, style = effects): Subject<Run> => ({ style, close, echo })

  switch (step) {
    // One connection after the other, the least loaded first, by hand.
    case "connection": {
      const all = await Promise.all(Array.from({ length: connections }, async () => ({
        connection: await Effect.runPromise(adapter.connect),
        load: 0
      })))
      return {
        ...subject((n) =>
          Effect.suspend(() => {
            let best = all[0]!
            for (let i = 1; i < all.length && best.load > 0; i++) if (all[i]!.load < best.load) best = all[i]!
            best.load++
            return Effect.map(best.connection.execute(sql, [n], undefined), (rows) => {
              best.load--
              return first(rows)
            })
          })
        ),
        close: async () => {
          for (const { connection } of all) await Effect.runPromise(connection.close)
          await close()
        }
      }
    }
    case "share":
      return subject((n) =>
        Effect.map(pool.share(profile, (connection) => connection.execute(sql, [n], undefined)), first)
      )
    case "use":
      return subject((n) => Effect.map(pool.use((connection) => connection.execute(sql, [n], undefined)), first))
    case "bare": {
      const connection = await Effect.runPromise(adapter.connect)
      const client = await Effect.runPromise(
        Effect.provide(clientOver(adapter, (f) => f(connection)), context)
      )
      return subject(echoOf(client))
    }
    case "pool": {
      const client = await Effect.runPromise(
        Effect.provide(clientOver(adapter, (f) => pool.share(profile, f)), context)
      )
      return subject(echoOf(client))
    }
    case "shelf": {
      const client = await Effect.runPromise(
        Effect.provide(clientOver(adapter, (f) => pool.share(profile, f)), context)
      )
      return subject(fromTheShelf(Context.get(context, CircuitBreaker.CircuitBreaker), echoOf(client)))
    }
    case "replica": {
      const echo = echoOf(Context.get(context, SqlClient.SqlClient))
      return subject((n) => Reads.prefer(echo(n)))
    }
    case "database":
      return subject(echoOf(Context.get(context, SqlClient.SqlClient)))
    // As a program runs that exports traces: every fiber has a tracer, and a span of a request above it.
    case "traced": {
      const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
      const parent = Tracer.externalSpan({ spanId: "0123456789abcdef", traceId: "0123456789abcdef0123456789abcdef" })
      return subject(
        echoOf(Context.get(context, SqlClient.SqlClient)),
        effectsIn(Context.make(Tracer.Tracer, tracer).pipe(Context.add(Tracer.ParentSpan, parent)))
      )
    }
    case "untraced":
      return subject(
        echoOf(Context.get(context, SqlClient.SqlClient)),
        effectsIn(Context.make(References.TracerEnabled, false))
      )
    default:
      throw new Error(`There is no step ${step}`)
  }
}
