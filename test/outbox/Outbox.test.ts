/** Messages are handled at least once if their transaction commits, never if it does not, and in order per key. */
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import { Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Outbox } from "watertight/outbox"
import { Notifications, Postgres } from "watertight/postgres"
import { Faults } from "watertight/testing"
import { describeWith, freshDatabase } from "../support/index.ts"

const databases = [
  ["postgresql", (url: Redacted.Redacted) => Postgres.layer({ url })],
  ["mariadb", (url: Redacted.Redacted) => Mariadb.layer({ url })],
  ["mysql", (url: Redacted.Redacted) => Mysql.layer({ url, sslmode: "disable", allowPublicKeyRetrieval: true })]
] as const

/** Runs workers until the condition holds. */
const until = <E, R, E2, R2>(worker: Effect.Effect<never, E, R>, condition: Effect.Effect<boolean, E2, R2>) =>
  Effect.raceFirst(worker, Effect.repeat(Effect.delay(condition, "25 millis"), { until: (holds) => holds }))

const quick = { interval: "50 millis", backoff: "10 millis" } as const

for (const [server, database] of databases) {
  describeWith(`url-${server}`)(`the outbox on ${server}`, () => {
    const live = Layer.unwrap(
      Effect.map(freshDatabase(server), (url): Layer.Layer<any, any> =>
        Layer.provideMerge(
          Layer.effectDiscard(Outbox.createTable),
          Faults.layerProxy({ url: Redacted.make(url), database })
        ))
    ).pipe(Layer.provideMerge(Logger.layer([]))) as Layer.Layer<SqlClient | Transaction.Manager | Faults.Faults>

    it.layer(live, { excludeTestServices: true })((it) => {
      it.effect("a message is handled if its transaction commits, and only then", () =>
        Effect.gen(function*() {
          const seen: Array<unknown> = []
          yield* Transaction.run(Outbox.add("commit", { n: 1 }))
          yield* Transaction.run(Effect.andThen(Outbox.add("commit", { n: 2 }), Effect.fail("no"))).pipe(Effect.flip)
          yield* Transaction.run(Effect.gen(function*() {
            yield* Outbox.add("commit", { n: 3 })
            yield* Effect.ignore(Transaction.run(Effect.andThen(Outbox.add("commit", { n: 4 }), Effect.fail("no"))))
          }))
          assert.strictEqual((yield* Outbox.stats("commit")).waiting, 2)
          yield* until(
            Outbox.run("commit", (message) => Effect.sync(() => seen.push(message.value)), quick),
            Effect.map(Outbox.stats("commit"), ({ waiting }) => waiting === 0)
          )
          assert.deepStrictEqual(seen, [{ n: 1 }, { n: 3 }])
        }), 60_000)

      it.effect(
        "messages of a key are handled in order by many workers, others beside them",
        () =>
          Effect.gen(function*() {
            const seen = new Map<string, Array<number>>()
            let under = 0
            let most = 0
            for (let n = 0; n < 30; n++) {
              yield* Transaction.run(Outbox.add("order", n, { key: `key ${n % 3}` }))
            }
            const handler = (message: Outbox.Message) =>
              Effect.gen(function*() {
                most = Math.max(most, ++under)
                // The first ones wait for company.
                yield* Effect.repeat(Effect.sleep("1 millis"), { until: () => most > 1 })
                seen.set(message.key!, [...seen.get(message.key!) ?? [], message.value as number])
              }).pipe(Effect.ensuring(Effect.sync(() => under--)))
            yield* until(
              Outbox.run("order", handler, { ...quick, concurrency: 4 }),
              Effect.map(Outbox.stats("order"), ({ waiting }) => waiting === 0)
            )
            for (const [key, values] of seen) {
              assert.deepStrictEqual(values, Array.from({ length: 10 }, (_, i) => i * 3 + Number(key.slice(-1))))
            }
            assert.isAbove(most, 1)
            assert.isAtMost(most, 3)
          }),
        60_000
      )

      it.effect(
        "a message that always fails is put aside with its error, and can be given back",
        () =>
          Effect.gen(function*() {
            const sql = yield* SqlClient
            yield* sql`create table note (text varchar(50))`
            let attempts = 0
            let isCured = false
            yield* Transaction.run(Outbox.add("poison", "bad", { key: "k" }))
            yield* Transaction.run(Outbox.add("poison", "good", { key: "k" }))
            const handler = (message: Outbox.Message) =>
              Effect.gen(function*() {
                if (message.value === "good" || isCured) return
                attempts++
                yield* sql`insert into note values (${"of a failed attempt"})`
                return yield* Effect.fail(new Error("the mail server is down"))
              })
            const worker = Outbox.run("poison", handler, { ...quick, maxAttempts: 3 })
            yield* until(
              worker,
              Effect.map(Outbox.stats("poison"), ({ failed, waiting }) => failed === 1 && waiting === 0)
            )
            assert.strictEqual(attempts, 3)
            assert.lengthOf(yield* sql`select text from note`, 0)
            const [message] = yield* Outbox.failed("poison")
            assert.include(message, { value: "bad", key: "k", attempts: 3, error: "Error: the mail server is down" })
            isCured = true
            yield* Outbox.requeue("poison", [message!.id])
            yield* until(worker, Effect.map(Outbox.stats("poison"), ({ failed, waiting }) => failed + waiting === 0))
          }),
        60_000
      )

      it.effect("connections are cut and a COMMIT is lost: nothing is missing", () =>
        Effect.gen(function*() {
          const seen = new Set<unknown>()
          for (let n = 0; n < 20; n++) yield* Transaction.run(Outbox.add("faults", n))
          const handler = (message: Outbox.Message) =>
            Effect.suspend(() => {
              // Each fault once: a message that is handled again is left alone.
              if (seen.has(message.value)) return Effect.void
              seen.add(message.value)
              if (message.value === 5) return Effect.asVoid(Faults.cut)
              if (message.value === 10) return Faults.loseCommit({ applied: false })
              return message.value === 15 ? Faults.loseCommit({ applied: true }) : Effect.void
            })
          yield* until(
            Outbox.run("faults", handler, quick),
            Effect.orElseSucceed(Effect.map(Outbox.stats("faults"), ({ waiting }) => waiting === 0), () => false)
          )
          assert.strictEqual(seen.size, 20)
        }), 60_000)

      it.effect("a worker is woken by a message of its own process", () =>
        Effect.gen(function*() {
          const handled = yield* Queue.unbounded<unknown>()
          const fiber = yield* Effect.forkChild(
            Outbox.run("wake", ({ value }) => Queue.offer(handled, value), { interval: "1 hour" })
          )
          // The first one may be found by the first look, the others only when the worker is woken.
          for (const value of [1, 2, 3]) {
            yield* Transaction.run(Outbox.add("wake", value))
            assert.strictEqual(yield* Queue.take(handled), value)
          }
          yield* Fiber.interrupt(fiber)
        }), 60_000)

      it.effect(
        "what is no JSON is refused, and the transaction rolled back by its failure",
        () =>
          Effect.gen(function*() {
            const lost = [
              undefined,
              () => 1,
              { a: NaN },
              [undefined],
              { a: 1n },
              new Map([["s3cret", 1]]),
              new Set([1]),
              { a: new Uint8Array(1) },
              Promise.resolve("s3cret"),
              Redacted.make("s3cret")
            ]
            for (const value of lost) {
              const failure = yield* Effect.flip(Transaction.run(Outbox.add("json", value)))
              assert.strictEqual(failure._tag, "UnfitMessage")
              assert.notInclude(failure.message, "s3cret")
            }
            assert.strictEqual((yield* Outbox.stats("json")).waiting, 0)
            // What JSON takes comes as it was given.
            const kept = [
              null,
              0,
              "",
              "\u0000\ud83d",
              { a: [1, null], __proto: { b: "é💧" } },
              JSON.parse("{\"__proto__\": 1}")
            ]
            for (const value of kept) yield* Transaction.run(Outbox.add("json", value))
            const seen: Array<unknown> = []
            yield* until(
              Outbox.run("json", (message) => Effect.sync(() => seen.push(message.value)), quick),
              Effect.map(Outbox.stats("json"), ({ waiting }) => waiting === 0)
            )
            assert.sameDeepMembers(seen, kept)
          }),
        60_000
      )
    })
  })
}

describeWith("url-postgresql")("the outbox of two processes", () => {
  it.live("the other one is woken by NOTIFY after COMMIT", () =>
    Effect.gen(function*() {
      const url = Redacted.make(yield* freshDatabase("postgresql"))
      const handled = yield* Deferred.make<void>()
      yield* Outbox.createTable.pipe(Effect.provide(Postgres.layer({ url })))
      const worker = Effect.gen(function*() {
        const wakeUps = Notifications.stream("watertight_outbox")
        return yield* Outbox.run("wake", () => Deferred.succeed(handled, undefined), {
          interval: "1 hour",
          wakeUps
        })
      }).pipe(Effect.provide(Layer.fresh(Postgres.layer({ url }))))
      yield* Effect.forkScoped(worker as Effect.Effect<never>)
      const add = Transaction.run(Outbox.add("wake", 1, { notify: true })).pipe(
        Effect.provide(Layer.fresh(Postgres.layer({ url })))
      )
      yield* Effect.raceFirst(Deferred.await(handled), Effect.forever(Effect.andThen(add, Effect.sleep("300 millis"))))
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))), 60_000)
})
