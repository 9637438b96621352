/**
 * An HTTP service: accounts and transfers, readiness, metrics, traces, and an end in order.
 *
 * `DATABASE_URL=postgres://app@localhost/bank node --conditions=watertight-source examples/service.ts`. Without
 * `DATABASE_URL` it uses an embedded database. `OTEL_EXPORTER_OTLP_ENDPOINT` sends traces, metrics and logs there. SIGTERM
 * ends it: requests are answered, then the pool is closed.
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Option, Schema } from "effect"
import { FetchHttpClient, HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Otlp, PrometheusMetrics } from "effect/observability"
import { SqlClient, SqlSchema } from "effect/sql"
import { createServer } from "node:http"
import { Health, Outcome, Pool, SqlFailure, Transaction } from "watertight"
import { Migrations } from "watertight/migrations"
import { Pglite } from "watertight/pglite"
import { Postgres } from "watertight/postgres"

// The API ------------------------------------------------------------------------------------------------------------

// An int8 is a bigint: numbers of JavaScript cannot hold all of its values.
const Account = Schema.Struct({ id: Schema.String, cents: Schema.BigIntFromString })

class Refused extends Schema.TaggedError<Refused>()("Refused", { message: Schema.String }, { httpApiStatus: 422 }) {}
class TryAgain extends Schema.TaggedError<TryAgain>()("TryAgain", { message: Schema.String }, { httpApiStatus: 503 }) {}

export class Api extends HttpApi.make("bank").add(
  HttpApiGroup.make("accounts").add(
    HttpApiEndpoint.get("list", "/accounts", { success: Schema.Array(Account), error: [Refused, TryAgain] }),
    HttpApiEndpoint.post("transfer", "/transfers", {
      payload: Schema.Struct({
        /** Chosen by the caller: the same transfer is made once, however often it is asked for. */
        id: Schema.String,
        from: Schema.String,
        to: Schema.String,
        cents: Schema.Int
      }),
      success: Schema.Struct({ applied: Schema.Literals(["now", "before"]) }),
      error: [Refused, TryAgain]
    })
  )
) {}

// What it does -------------------------------------------------------------------------------------------------------

const list = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  return yield* SqlSchema.findAll({
    Request: Schema.Void,
    Result: Schema.Struct({ id: Schema.String, cents: Schema.BigInt }),
    execute: () => sql`select id, cents from account order by id`
  })(undefined)
})

const transfer = (
  request: { readonly id: string; readonly from: string; readonly to: string; readonly cents: number }
) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const changes = [{ id: request.from, by: -request.cents }, { id: request.to, by: request.cents }]
    // In one order, so that two opposing transfers wait for each other instead of deadlocking.
    for (const { by, id } of changes.sort((a, b) => a.id < b.id ? -1 : 1)) {
      yield* sql`update account set cents = cents + ${by} where id = ${id}`
    }
  }).pipe(
    Transaction.run({ idempotencyKey: request.id, deadline: "5 seconds" }),
    Effect.as({ applied: "now" as const }),
    Transaction.catchReason("AlreadyApplied", () => Effect.succeed({ applied: "before" as const }))
  )

/** What a caller is told of a failure of the database. */
const respond = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.catch(
    effect,
    (error): Effect.Effect<never, Refused | TryAgain> =>
      SqlFailure.of(error).constraint === "account_cents_check"
        ? Effect.fail(new Refused({ message: "there is not enough on the account" }))
        : Effect.andThen(
          Effect.logError("the database failed", error),
          Effect.fail(
            new TryAgain({
              // The caller's id makes it safe, also when nobody knows whether it was applied.
              message: Outcome.isUnknown(error) ? "repeat it with the same id" : "the database is not available"
            })
          )
        )
  )

const Handlers = HttpApiBuilder.group(
  Api,
  "accounts",
  Effect.fn(function*(handlers) {
    const services = yield* Effect.context<SqlClient.SqlClient | Transaction.Manager>()
    return handlers.handleAll({
      list: () => respond(list.pipe(Effect.provide(services))),
      transfer: ({ payload }) => respond(transfer(payload).pipe(Effect.provide(services)))
    })
  })
)

// What is around it --------------------------------------------------------------------------------------------------

const Ready = HttpRouter.use((router) =>
  Effect.gen(function*() {
    const pool = yield* Pool.Pool
    yield* router.add(
      "GET",
      "/ready",
      Effect.map(pool.health, (health) =>
        HttpServerResponse.text(Health.describe(health), { status: Health.isCritical(health) ? 503 : 200 }))
    )
    // Alive without the database: a restart would not bring it back.
    yield* router.add("GET", "/live", HttpServerResponse.text("alive"))
  })
)

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers)),
  Ready,
  PrometheusMetrics.layerHttp()
)

const Telemetry = Layer.unwrap(Effect.gen(function*() {
  const endpoint = yield* Config.String("OTEL_EXPORTER_OTLP_ENDPOINT").pipe(Config.option)
  return Option.match(endpoint, {
    onNone: () => Layer.empty,
    onSome: (baseUrl) => Otlp.layerJson({ baseUrl, resource: { serviceName: "bank" } })
  })
})).pipe(Layer.provide(FetchHttpClient.layer))

const loader = Migrations.fromRecord({
  "20261101120000_account": Migrations.sql`
    create table account (id text primary key, cents bigint not null check (cents >= 0));
    insert into account values ('ann', 1000), ('bob', 1000)
  `
})

const Database = Layer.unwrap(
  Effect.map(
    Config.option(Config.Redacted("DATABASE_URL")),
    Option.match({
      onNone: () => Pglite.layer(),
      onSome: (url) => Postgres.layer({ url, applicationName: "bank", pool: Pool.webApplication })
    })
  )
)
const Migrated = Migrations.layer({ loader }).pipe(Layer.provideMerge(Database))

/** The server uses the database and the telemetry, so it is closed before them. */
export const layer = (port: number) =>
  HttpRouter.serve(Routes).pipe(
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port })),
    Layer.provide(Migrated),
    Layer.provide(Telemetry)
  )

if (import.meta.main) {
  Config.Port("PORT").pipe(
    Config.withDefault(3000),
    Effect.flatMap((port) => Layer.launch(layer(port))),
    NodeRuntime.runMain
  )
}
