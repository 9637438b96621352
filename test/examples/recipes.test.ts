/** The recipes of `examples/`, run. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Redacted, Stream } from "effect"
import { HttpServer } from "effect/http"
import { SqlClient } from "effect/sql"
import { Outbox } from "watertight/outbox"
import { Postgres } from "watertight/postgres"
import * as Csv from "../../examples/csv.ts"
import * as Drizzle from "../../examples/drizzle.ts"
import * as Kysely from "../../examples/kysely.ts"
import { nightly } from "../../examples/nightly.ts"
import * as Queue from "../../examples/queue.ts"
import * as Service from "../../examples/service.ts"
import { describeWith, freshDatabase } from "../support/index.ts"

const live = Layer.unwrap(Effect.map(freshDatabase(), (url) => Postgres.layer({ url: Redacted.make(url) }))).pipe(
  Layer.provideMerge(Logger.layer([]))
)

describeWith("url-postgresql")("recipes", () => {
  it.layer(live, { excludeTestServices: true, timeout: "60 seconds" })((it) => {
    it.effect("builders, a queue, a nightly job, CSV", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table account (id text primary key, cents bigint not null)`
        yield* sql`insert into account values ('ann', 1000), ('bob', 10)`

        assert.deepStrictEqual(yield* Kysely.rich(100n), [{ id: "ann", cents: 1000n }])
        assert.deepStrictEqual(yield* Kysely.raise("bob", 5n), [{ cents: 15n }])
        assert.deepStrictEqual(yield* Drizzle.rich(100n), [{ id: "ann", cents: 1000n }])
        assert.deepStrictEqual(yield* Drizzle.raise("bob", 5n), [{ cents: 20n }])

        yield* sql`create table picture (name text primary key)`
        yield* sql`create table thumbnail (picture text, width int)`
        yield* Outbox.createTable
        yield* Queue.upload("cat")
        const worker = yield* Effect.forkChild(Queue.worker)
        while ((yield* Outbox.stats("resize")).waiting > 0) yield* Effect.sleep("20 millis")
        yield* Fiber.interrupt(worker)
        assert.lengthOf(yield* sql`select * from thumbnail`, 2)

        yield* sql`create table report (day date primary key, cents numeric)`
        yield* Effect.all([nightly, nightly], { concurrency: 2 })
        assert.lengthOf(yield* sql`select * from report`, 1)

        yield* sql`create table city (name text, people int)`
        yield* sql`insert into city values ('Trier, the old', 110000), ('Ulm', 10)`
        const text = yield* Csv.cities(100).pipe(Stream.decodeText, Stream.mkString)
        assert.strictEqual(text, "name,people\n\"Trier, the old\",110000\n")
      }), 90_000)
  })
})

it.live("the service: accounts, a transfer that is asked for twice, readiness, metrics", () =>
  Effect.gen(function*() {
    const { address } = yield* HttpServer.HttpServer
    const base = `http://127.0.0.1:${(address as { readonly port: number }).port}`
    const get = (path: string, init?: RequestInit) =>
      Effect.promise(async () => {
        const response = await fetch(base + path, init)
        return { status: response.status, body: await response.text() }
      })
    const transfer = (id: string, cents: number) =>
      get("/transfers", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ id, from: "ann", to: "bob", cents })
      })
    assert.strictEqual((yield* get("/live")).status, 200)
    assert.strictEqual((yield* get("/ready")).status, 200)
    assert.strictEqual((yield* transfer("a", 300)).body, "{\"applied\":\"now\"}")
    assert.strictEqual((yield* transfer("a", 300)).body, "{\"applied\":\"before\"}")
    assert.strictEqual((yield* transfer("b", 10_000)).status, 422)
    assert.deepStrictEqual(JSON.parse((yield* get("/accounts")).body), [
      { id: "ann", cents: "700" },
      { id: "bob", cents: "1300" }
    ])
    assert.match((yield* get("/metrics")).body, /db_client_connection/)
  }).pipe(Effect.provide(Layer.fresh(Service.layer(0))), Effect.provide(Logger.layer([]))), 90_000)
