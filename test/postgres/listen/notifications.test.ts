import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Transaction } from "watertight"
import { Notifications } from "watertight/postgres"
import { FaultProxy, freshDatabase, seed } from "../../support/index.ts"
import { database, databaseAt } from "../clientSupport.ts"
import { eventually, sqlFailure } from "../support.ts"

const payloads = (events: ReadonlyArray<Notifications.Event>) =>
  events.map((event) => event._tag === "Gap" ? "gap" : `${event.channel}:${event.payload}`)

const listeners = Effect.gen(function*() {
  const sql = yield* SqlClient
  const rows = yield* sql`select 1 from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and query like '%LISTEN%'`
  return rows.length
})

it.layer(database({ maxConnections: 3 }), { excludeTestServices: true })("notifications", (it) => {
  it.effect("channels share a connection, and each listener gets its own", () =>
    Effect.gen(function*() {
      const both = yield* Notifications.subscribe("a", "b \"c")
      const one = yield* Notifications.subscribe("a")
      assert.strictEqual(yield* listeners, 1)
      yield* Notifications.notify("a", "1")
      yield* Notifications.notify("b \"c", "2")
      yield* Notifications.notify("c", "3")
      yield* Notifications.notify("a")
      assert.deepStrictEqual(payloads(yield* Queue.takeN(both, 3)), ["a:1", "b \"c:2", "a:"])
      assert.deepStrictEqual(payloads(yield* Queue.takeN(one, 2)), ["a:1", "a:"])
      // Leaving a channel that another one listens to takes nothing from that one.
      yield* Effect.scoped(Notifications.subscribe("a"))
      yield* Notifications.notify("a", "4")
      assert.deepStrictEqual(payloads([yield* Queue.take(one)]), ["a:4"])
    }))

  it.effect("the connection ends with the last listener, and begins again", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 3; round++) {
        const got = yield* Notifications.stream("again").pipe(
          Stream.take(1),
          Stream.runCollect,
          Effect.forkChild
        )
        yield* eventually(Effect.map(listeners, (n) => n === 1))
        yield* eventually(Effect.gen(function*() {
          yield* Notifications.notify("again", `${round}`)
          return got.pollUnsafe() !== undefined
        }))
        assert.deepStrictEqual(payloads(yield* Fiber.join(got)), [`again:${round}`])
        yield* eventually(Effect.map(listeners, (n) => n === 0))
      }
    }))

  it.effect("a notification of a transaction is sent with its commit, or not at all", () =>
    Effect.gen(function*() {
      const queue = yield* Notifications.subscribe("tx")
      yield* Notifications.notify("tx", "undone").pipe(
        Effect.andThen(Effect.fail("undo")),
        Transaction.run(),
        Effect.flip
      )
      yield* Effect.gen(function*() {
        yield* Notifications.notify("tx", "done")
        assert.strictEqual(yield* Queue.size(queue), 0)
      }).pipe(Transaction.run())
      assert.deepStrictEqual(payloads([yield* Queue.take(queue)]), ["tx:done"])
    }))

  it.effect("names that no channel can have", () =>
    Effect.gen(function*() {
      for (const name of ["", "x".repeat(64), "a\0"]) {
        yield* sqlFailure(Notifications.subscribe(name))
        yield* sqlFailure(Notifications.notify(name))
      }
      yield* sqlFailure(Notifications.notify("a", "x".repeat(8001)))
    }))
})

it.live(
  "ten kills: everything that was sent while it listened, and a gap for each time it did not",
  () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase()
      const proxy = yield* FaultProxy.make(url)
      const random = seed(4)
      yield* Effect.gen(function*() {
        const queue = yield* Notifications.subscribe("n")
        const events: Array<Notifications.Event> = []
        yield* Effect.forkScoped(
          Effect.forever(Effect.map(Queue.take(queue), (event) => void events.push(event)))
        )
        const gaps = () => events.filter((event) => event._tag === "Gap").length
        let sent = 0
        // The sender has a way of its own, which nobody cuts.
        const send = Effect.provide(
          Effect.gen(function*() {
            const sql = yield* SqlClient
            for (let kill = 0; kill < 10; kill++) {
              const before = random.int(1, 30)
              for (let i = 0; i < before; i++) yield* sql`select pg_notify('n', ${`${++sent}`})`
              if (random.chance(0.5)) {
                yield* sql`select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and query like 'LISTEN%'`
              } else {
                yield* proxy.cutAll
              }
              const during = random.int(0, 30)
              for (let i = 0; i < during; i++) yield* sql`select pg_notify('n', ${`${++sent}`})`
              yield* eventually(Effect.sync(() => gaps() > kill))
            }
            yield* sql`select pg_notify('n', ${`${++sent}`})`
          }),
          databaseAt(url)
        )
        yield* send
        yield* eventually(Effect.sync(() => {
          const last = events.at(-1)
          return last?._tag === "Notification" && last.payload === `${sent}`
        }))
        assert.strictEqual(gaps(), 10, `seed ${random.value}`)
        // Between two gaps nothing is missing: what is missing is missing at a gap.
        let previous = 0
        let afterGap = false
        for (const event of events) {
          if (event._tag === "Gap") {
            afterGap = true
            assert.isAtMost(event.from, event.to)
            continue
          }
          const n = Number(event.payload)
          assert.isTrue(n === previous + 1 || afterGap && n > previous, `${n} after ${previous}, seed ${random.value}`)
          previous = n
          afterGap = false
        }
      }).pipe(Effect.provide(databaseAt(proxy.url)))
    }).pipe(Effect.scoped),
  60_000
)

it.live("a connection that has gone silent is found out", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    const proxy = yield* FaultProxy.make(url)
    yield* Effect.gen(function*() {
      const queue = yield* Notifications.subscribe("quiet")
      yield* proxy.blackhole
      yield* Effect.forkScoped(Effect.andThen(Effect.sleep("300 millis"), proxy.heal))
      assert.strictEqual((yield* Queue.take(queue))._tag, "Gap")
      yield* Notifications.notify("quiet", "heard")
      assert.deepStrictEqual(payloads([yield* Queue.take(queue)]), ["quiet:heard"])
    }).pipe(Effect.provide(databaseAt(proxy.url, {
      controlTimeout: "200 millis",
      connectTimeout: "500 millis",
      notifications: { keepAlive: "100 millis" }
    })))
  }).pipe(Effect.scoped), 30_000)

it.live(
  "a password that cannot be had once while it reconnects: a failed attempt like any other",
  () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase()
      let hiccup = false
      let hiccups = 0
      const password = Effect.suspend(() => {
        if (hiccup) {
          hiccup = false
          hiccups++
          throw new Error("hiccup")
        }
        return Effect.succeed(Redacted.make("secret"))
      })
      yield* Effect.gen(function*() {
        const queue = yield* Notifications.subscribe("token")
        hiccup = true
        yield* Effect.provide(
          Effect.flatMap(SqlClient, (sql) =>
            sql`select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and query like 'LISTEN%'`),
          databaseAt(url)
        )
        assert.strictEqual((yield* Queue.take(queue))._tag, "Gap")
        assert.strictEqual(hiccups, 1)
        const other = yield* Notifications.subscribe("another")
        yield* Effect.provide(
          Effect.flatMap(SqlClient, (sql) => sql`select pg_notify('another', 'heard')`),
          databaseAt(url)
        )
        assert.deepStrictEqual(payloads([yield* Queue.take(other)]), ["another:heard"])
      }).pipe(Effect.provide(databaseAt(url, { password })))
    }).pipe(Effect.scoped),
  30_000
)

it.live(
  "a listener that is too slow: its queue is bounded, and a gap stands for what it misses",
  () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase()
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient
        const queue = yield* Notifications.subscribe("flood")
        yield* sql`select pg_notify('flood', i::text) from generate_series(1, 100) i`
        yield* eventually(Effect.map(Queue.size(queue), (size) => size === 6))
        assert.deepStrictEqual(
          payloads(yield* Queue.takeN(queue, 6)),
          [...[1, 2, 3, 4, 5].map((n) => `flood:${n}`), "gap"]
        )
        // Some of the others may come as well, now that there is room, and another gap.
        let last = "gap"
        while (last !== "flood:after") {
          if (last === "gap") yield* sql`select pg_notify('flood', 'after')`
          last = payloads([yield* Queue.take(queue)])[0]!
        }
      }).pipe(Effect.provide(databaseAt(url, { notifications: { maxWaiting: 5 } })))
    }).pipe(Effect.scoped),
  30_000
)
