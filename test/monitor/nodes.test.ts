/** `watertight top` of several servers as one. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { Database } from "watertight"
import { Monitor } from "watertight/monitor"
import { screen } from "../../src/cli/top/screen.ts"
import * as Cluster from "../../src/cluster/Cluster.ts"
import { FakeCluster } from "../cluster/fake.ts"

it.live("shows what each server is, and what has happened to it", () => {
  const fake = new FakeCluster("db1", "db2", "db3")
  return Effect.gen(function*() {
    const monitor = yield* Monitor.make({ port: 0 })
    const until = (isThere: (one: Monitor.DatabaseSnapshot) => boolean) =>
      Effect.repeat(monitor.snapshot, {
        until: ({ databases: [one] }) => isThere(one!),
        schedule: Schedule.spaced("10 millis")
      })
    yield* until(({ nodes }) => nodes!.every(({ staleMillis }) => staleMillis !== undefined))
    fake.promote("db2")
    fake.at("db1").adapter.open.forEach((connection) => connection.lose())
    const snapshot = yield* until(({ nodes }) =>
      nodes!.map(({ status }) => status).join() === "Unreachable,Primary,Replica"
    )
    const text = screen(snapshot, { columns: 160, rows: 60 }, (_, text) => text).join("\n")
    assert.match(text, /db1 Unreachable: it refuses connections/)
    assert.match(text, /- {2}db2 Primary/)
    assert.match(text, / ms {2}db3 Replica/)
    assert.match(text, /db2 is the primary, after \d+ ms without one/)
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Database.layer({ breaker: false }).pipe(
        Layer.provideMerge(Cluster.layer(fake.adapter({ replicas: { probe: "50 millis" } })))
      )
    )
  )
})
