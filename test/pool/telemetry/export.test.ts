import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as OtlpExporter from "effect/observability/OtlpExporter"
import * as OtlpMetrics from "effect/observability/OtlpMetrics"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import { Pool } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Postgres } from "watertight/postgres"
import { freshDatabase } from "../../support/index.ts"
import { hold } from "../support.ts"
import { parse, scrape, serve } from "./support.ts"

const secret = "hunter2-which-nobody-may-see"

/** A database whose password is known, with something done to it. */
const setUp = Effect.gen(function*() {
  const url = new URL(yield* freshDatabase())
  // The server of the tests trusts everybody.
  url.password = secret
  const context = yield* Layer.build(
    Postgres.layer({ url: Redacted.make(url.href), pool: { max: 3, acquireTimeout: "1 second" } })
  )
  yield* Effect.provide(
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table orders (id int primary key)`
      yield* sql.withTransaction(sql`insert into orders values (1)`)
      yield* Effect.exit(sql`insert into orders values (1)`)
      yield* Effect.exit(sql.withTransaction(sql`insert into orders values (1)`))
      const pool = yield* Pool.Pool
      const holders = yield* Effect.forEach([1, 2, 3], () => hold(pool))
      for (const holder of holders) yield* holder.connection
      assert.isTrue(Exit.isFailure(yield* Effect.exit(pool.use(() => Effect.void))))
      for (const holder of holders) yield* holder.release
    }),
    context
  )
  return { name: `${url.hostname}:${url.port}/${url.pathname.slice(1)}` }
})

it.live("a scrape by Prometheus gets every metric, over HTTP", () =>
  Effect.gen(function*() {
    const { name } = yield* setUp
    const text = yield* scrape
    const { samples, types } = parse(text)
    const value = (metric: string, labels: Record<string, string> = {}) => {
      const found = samples.filter((sample) =>
        sample.name === metric && sample.labels["db_client_connection_pool_name"] === name &&
        Object.entries(labels).every(([key, value]) => sample.labels[key] === value)
      )
      assert.strictEqual(found.length, 1, metric)
      return found[0]!.value
    }
    assert.strictEqual(value("db_client_connection_max"), 3)
    assert.strictEqual(value("db_client_connection_idle_max"), 3)
    assert.strictEqual(value("db_client_connection_idle_min"), 0)
    assert.strictEqual(value("db_client_connection_count", { db_client_connection_state: "idle" }), 3)
    assert.strictEqual(value("db_client_connection_count", { db_client_connection_state: "used" }), 0)
    assert.strictEqual(value("db_client_connection_pending_requests"), 0)
    assert.strictEqual(value("db_client_connection_timeouts"), 1)
    assert.strictEqual(value("db_client_connection_create_time_count"), 3)
    assert.strictEqual(
      value("db_client_connection_wait_time_bucket", { le: "+Inf" }),
      value("db_client_connection_wait_time_count")
    )
    // Three were used for longer than that, and now and then another one on a machine with much to do.
    assert.isAtMost(
      value("db_client_connection_use_time_bucket", { le: "0.1" }),
      value("db_client_connection_use_time_count") - 3
    )
    assert.strictEqual(
      value("db_client_connection_use_time_bucket", { le: "+Inf" }),
      value("db_client_connection_use_time_count")
    )
    assert.strictEqual(value("watertight_pool_failed", { watertight_pool_reason: "AcquireTimeout" }), 1)
    assert.strictEqual(types.get("db_client_connection_timeouts"), "counter")
    assert.strictEqual(types.get("db_client_connection_wait_time"), "histogram")
    const operations = samples.filter(({ name }) => name === "db_client_operation_duration_count")
    const failed = operations.filter(({ labels }) => labels["error_type"] !== undefined)
    assert.deepStrictEqual(
      failed.map(({ labels, value }) => [labels["error_type"], labels["db_response_status_code"], value]),
      [
        ["23505", "23505", 2]
      ]
    )
    assert.sameMembers(
      operations.map(({ labels }) => labels["db_operation_name"]).filter((name) => name !== undefined),
      ["BEGIN", "COMMIT", "ROLLBACK"]
    )
    for (const { labels } of operations) assert.strictEqual(labels["db_system_name"], "postgresql")
    assert.notInclude(text, secret)
    // A unit is no attribute.
    assert.notMatch(text, /unit=/)
  }), 60_000)

it.live(
  "a receiver of OTLP gets every metric with its unit, and nothing that is no attribute",
  () =>
    Effect.gen(function*() {
      const { name } = yield* setUp
      const bodies: Array<string> = []
      const url = yield* serve(async (_, body) => {
        bodies.push(body)
        return { type: "application/json", body: "{}" }
      })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* OtlpMetrics.make({ url: `${url}/v1/metrics`, resource: { serviceName: "shop" } })
        const flusher = yield* OtlpExporter.Flusher
        yield* flusher.flush
      })).pipe(
        Effect.provide(Layer.mergeAll(OtlpExporter.layerFlusher, OtlpSerialization.layerJson, FetchHttpClient.layer))
      )
      const body = bodies[0]!
      assert.notInclude(body, secret)
      const metrics: ReadonlyArray<any> = JSON.parse(body).resourceMetrics[0].scopeMetrics[0].metrics
      const find = (id: string) => {
        const found = metrics.filter((metric) => metric.name === id)
        assert.strictEqual(found.length, 1, id)
        return found[0]
      }
      const units = {
        "db.client.connection.count": "{connection}",
        "db.client.connection.idle.max": "{connection}",
        "db.client.connection.idle.min": "{connection}",
        "db.client.connection.max": "{connection}",
        "db.client.connection.pending_requests": "{request}",
        "db.client.connection.timeouts": "{timeout}",
        "db.client.connection.create_time": "s",
        "db.client.connection.wait_time": "s",
        "db.client.connection.use_time": "s",
        "db.client.operation.duration": "s"
      }
      for (const [id, unit] of Object.entries(units)) assert.strictEqual(find(id).unit, unit, id)
      for (const metric of metrics.filter(({ name }) => /^(db|watertight)\./.test(name))) {
        for (const point of (metric.sum ?? metric.histogram ?? metric.gauge).dataPoints) {
          for (const { key } of point.attributes) assert.match(key, /^(db|server|error|watertight)\./)
        }
      }
      const count = find("db.client.connection.count")
      assert.isFalse(count.sum.isMonotonic)
      assert.strictEqual(count.sum.aggregationTemporality, 2)
      const attributes = (point: any) =>
        Object.fromEntries(point.attributes.map(({ key, value }: any) => [key, value.stringValue]))
      assert.deepStrictEqual(
        count.sum.dataPoints.map(attributes).filter((a: any) => a["db.client.connection.pool.name"] === name),
        ["idle", "used"].map((state) => ({
          "db.client.connection.pool.name": name,
          "db.client.connection.state": state
        }))
      )
      assert.isTrue(find("db.client.connection.timeouts").sum.isMonotonic)
      const duration = find("db.client.operation.duration").histogram.dataPoints[0]
      assert.deepStrictEqual(duration.explicitBounds, [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10])
      assert.strictEqual(duration.bucketCounts.length, 10)
      assert.strictEqual(duration.bucketCounts.reduce((a: number, b: number) => a + b, 0), duration.count)
    }),
  60_000
)

it.live("the errors of MariaDB go by their number", () =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      Mariadb.layer({ url: Redacted.make(yield* freshDatabase("mariadb")) })
    )
    const sql = yield* Effect.provide(SqlClient, context)
    yield* sql`create table orders (id int primary key)`
    yield* sql`insert into orders values (1)`
    yield* Effect.exit(sql`insert into orders values (1)`)
    const { samples } = parse(yield* scrape)
    const operations = samples.filter(({ labels, name }) =>
      name === "db_client_operation_duration_count" && labels["db_system_name"] === "mariadb"
    )
    assert.deepStrictEqual(
      operations.map(({ labels, value }) => [labels["error_type"], labels["db_response_status_code"], value]),
      [[undefined, undefined, 2], ["1062", "1062", 1]]
    )
  }), 60_000)
