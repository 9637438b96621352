import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import { SpanPropagationEnabled } from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import { Adapter } from "../../../src/Adapter.ts"
import * as Database from "../../../src/Database.ts"
import { FakeAdapter } from "../../../src/testing/FakeAdapter.ts"
import { fork } from "../support.ts"

/** A database with one connection that nobody shares, and all spans that are made. */
const setUp = Effect.gen(function*() {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const context = yield* Layer.build(
    Database.layerOf(Layer.succeed(Adapter, new FakeAdapter()), {
      pool: { startup: "lazy", shutdownTimeout: 0, max: 1, pipelineDepth: 1, acquireTimeout: "1 second" }
    })
  )
  const sql = yield* Effect.provide(SqlClient, context)
  const traced = <A, E, R>(effect: Effect.Effect<A, E, R>, propagate = true) =>
    effect.pipe(
      Effect.provideService(Tracer.Tracer, tracer),
      Effect.provideService(SpanPropagationEnabled, propagate)
    )
  // What the names of spans are made with is loaded with the first one, which takes a time that no clock here tells.
  yield* traced(sql.unsafe("select 1"))
  spans.length = 0
  return { sql, spans, traced }
})

const wait = "db.client.connection.wait_time_ms"
const parentOf = (span: Tracer.Span): string | undefined =>
  span.parent._tag === "Some" ? span.parent.value.spanId : undefined

it.effect("a statement that had to wait for its connection has a span of that, and says for how long", () =>
  Effect.gen(function*() {
    const { spans, sql, traced } = yield* setUp
    yield* fork(sql.unsafe("sleep 200"))
    yield* fork(traced(sql.unsafe("sleep 10")))
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(spans.map(({ kind, name }) => [name, kind]), [["sleep", "client"], [
      "db.acquire",
      "internal"
    ]])
    const [statement, acquire] = spans
    assert.strictEqual(parentOf(acquire!), statement!.spanId)
    assert.strictEqual(acquire!.attributes.get(wait), 200)
    assert.strictEqual(acquire!.attributes.get("db.client.connection.pool.name"), "fake://db")
    assert.strictEqual(statement!.attributes.get(wait), 200)
    const millis = (span: Tracer.NativeSpan) =>
      span.status._tag === "Ended" ? Number(span.status.endTime - span.status.startTime) / 1e6 : NaN
    assert.strictEqual(millis(acquire!), 200)
    assert.strictEqual(millis(statement!), 210)
  }))

it.effect("without propagation of spans, the span of waiting belongs to whoever runs the statement", () =>
  Effect.gen(function*() {
    const { spans, sql, traced } = yield* setUp
    yield* fork(sql.unsafe("sleep 200"))
    yield* fork(traced(Effect.withSpan(sql.unsafe("select 1"), "request"), false))
    yield* TestClock.adjust("1 second")
    const [request, statement, acquire] = spans
    assert.deepStrictEqual(spans.map(({ name }) => name), ["request", "select", "db.acquire"])
    assert.strictEqual(parentOf(acquire!), request!.spanId)
    assert.strictEqual(acquire!.attributes.get(wait), 200)
    assert.isFalse(request!.attributes.has(wait))
    assert.isFalse(statement!.attributes.has(wait))
  }))

it.effect("a statement that need not wait has no such span", () =>
  Effect.gen(function*() {
    const { spans, sql, traced } = yield* setUp
    yield* sql.unsafe("select 1")
    yield* traced(sql.unsafe("select 1"))
    assert.deepStrictEqual(spans.map(({ name }) => name), ["select"])
    assert.strictEqual(spans[0]!.attributes.get(wait), 0)
  }))

it.effect("a stream and a transaction that had to wait have one too, and the span around them is left alone", () =>
  Effect.gen(function*() {
    const { spans, sql, traced } = yield* setUp
    yield* fork(sql.unsafe("sleep 100"))
    yield* fork(traced(Stream.runDrain(sql.unsafe("rows 1").stream)))
    yield* TestClock.adjust("100 millis")
    assert.strictEqual(spans.find(({ name }) => name === "rows")!.attributes.get(wait), 100)
    assert.strictEqual(spans.find(({ name }) => name === "db.acquire")!.attributes.get(wait), 100)
    spans.length = 0
    yield* fork(sql.unsafe("sleep 100"))
    yield* fork(Effect.withSpan(sql.withTransaction(sql`select 1`), "checkout").pipe(traced))
    yield* TestClock.adjust("100 millis")
    const outer = spans.find(({ name }) => name === "checkout")!
    assert.isFalse(outer.attributes.has(wait))
    assert.strictEqual(spans.filter(({ name }) => name === "db.acquire").length, 1)
  }))

it.effect("a caller who got no connection in time has a span that failed", () =>
  Effect.gen(function*() {
    const { spans, sql, traced } = yield* setUp
    yield* fork(sql.unsafe("sleep 5000"))
    const late = yield* fork(Effect.exit(traced(sql.unsafe("select 1"))))
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(late)
    const acquire = spans.find(({ name }) => name === "db.acquire")!
    assert.strictEqual(acquire.status._tag === "Ended" ? acquire.status.exit._tag : "", "Failure")
    assert.strictEqual(acquire.attributes.get(wait), 1000)
  }))

it.effect("nobody who does not trace pays for a span", () =>
  Effect.gen(function*() {
    const { spans, sql, traced } = yield* setUp
    yield* fork(sql.unsafe("sleep 100"))
    yield* fork(Effect.withTracerEnabled(traced(sql.unsafe("select 1")), false))
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(spans, [])
  }))
