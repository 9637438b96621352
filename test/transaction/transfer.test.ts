/** The transfer of the README under opposing load: what the order of locks is worth. */
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as fs from "node:fs"
import { Transaction } from "watertight"
import { Postgres } from "watertight/postgres"
import { freshDatabase } from "../support/index.ts"
import { freshLayer } from "./support.ts"

type Change = { readonly id: string; readonly by: number }
type Order = (changes: ReadonlyArray<Change>) => ReadonlyArray<Change>

const byId: Order = (changes) => [...changes].sort((a, b) => a.id < b.id ? -1 : 1)

const transfer =
  (order: Order, before: Effect.Effect<unknown, SqlError, SqlClient> = Effect.void, spec: Transaction.Spec = {}) =>
  (from: string, to: string, cents: number) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* before
      const changes = order([{ id: from, by: -cents }, { id: to, by: cents }])
      for (const { by, id } of changes) yield* sql`update account set cents = cents + ${by} where id = ${id}`
    }).pipe(Transaction.run({ deadline: "5 seconds", ...spec }))

const lockBoth = Effect.flatMap(SqlClient, (sql) => sql`select id from account order by id for update`)

const asInReadme = transfer(byId)
const lockedFirst = transfer(byId, lockBoth)
const serializable = transfer(byId, Effect.void, { isolation: "serializable" })
const asGiven = transfer((changes) => changes)

/** How many transfers of 16 opposing fibers succeed within the time. */
const count = (run: ReturnType<typeof transfer>) =>
  Effect.gen(function*() {
    let done = 0
    const worker = (i: number) =>
      Effect.forever(
        Effect.ignore(Effect.tap(
          i % 2 === 0 ? run("ann", "bob", 1) : run("bob", "ann", 1),
          () => Effect.sync(() => done++)
        ))
      )
    yield* Effect.timeoutOption(
      Effect.all(Array.from({ length: 16 }, (_, i) => worker(i)), { concurrency: "unbounded", discard: true }),
      "800 millis"
    )
    return done
  })

it.live(
  "16 opposing transfers as in the README → at least half of what ordered locks reach, and the books are right",
  () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table account (id text primary key, cents bigint not null)`
      yield* sql`insert into account values ('ann', 1000), ('bob', 1000)`
      const done = { asInReadme: 0, lockedFirst: 0, serializable: 0, asGiven: 0 }
      // In turns, so that what else the machine does meets all of them.
      for (let round = 0; round < 3; round++) {
        done.lockedFirst += yield* count(lockedFirst)
        done.asInReadme += yield* count(asInReadme)
        done.serializable += yield* count(serializable)
      }
      done.asGiven = 3 * (yield* count(asGiven))
      const [sum] = yield* sql<{ sum: string }>`select sum(cents)::text as sum from account`
      assert.strictEqual(sum!.sum, "2000")
      assert.isAtLeast(done.asInReadme / done.lockedFirst, 0.5, JSON.stringify(done))
      // Both begin anew, but nobody waits for a second first.
      assert.isAbove(done.serializable, 10 * done.asGiven, JSON.stringify(done))
    }).pipe(Effect.provide(freshLayer())),
  60_000
)

it("the transfer is that of the README", () => {
  const readme = fs.readFileSync(new URL("../../README.md", import.meta.url), "utf8")
  for (
    const line of [
      "const changes = [{ id: from, by: -cents }, { id: to, by: cents }].sort((a, b) => a.id < b.id ? -1 : 1)",
      "for (const { id, by } of changes) yield* sql`update account set cents = cents + ${by} where id = ${id}`",
      "}).pipe(Transaction.run({ deadline: \"5 seconds\" }))"
    ]
  ) assert.include(readme, line)
})

it.live("three deadlocks → both statements are named once, with what to do", () =>
  Effect.gen(function*() {
    const told: Array<string> = []
    const logger = Logger.make(({ message }) => {
      if (String(message).includes("deadlock")) told.push(String(message))
    })
    const live = Postgres.layer({ url: Redacted.make(yield* freshDatabase()) })
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table account (id text primary key, cents bigint not null)`
      yield* sql`insert into account values ('ann', 1000), ('bob', 1000)`
      for (let round = 0; round < 5; round++) {
        // Each has its first row before either asks for its second one; it is let go when it begins anew.
        const gates = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
        const ann = Effect.asVoid(sql`update account set cents = cents + 1 where id = 'ann'`)
        const lock = Effect.asVoid(sql`select id from account where id = 'bob' for update`)
        const half = (mine: 0 | 1, first: Effect.Effect<void, SqlError>, second: Effect.Effect<void, SqlError>) =>
          Transaction.run(Effect.gen(function*() {
            yield* first
            yield* Deferred.succeed(gates[mine], undefined)
            yield* Deferred.await(gates[1 - mine as 0 | 1])
            yield* second
          }))
        yield* Effect.all([half(0, ann, lock), half(1, lock, ann)], { concurrency: 2 })
      }
    }).pipe(Effect.provide(live), Effect.provide(Logger.layer([logger])))
    assert.isAtMost(told.length, 2)
    assert.isAtLeast(told.length, 1)
    for (const line of told) {
      assert.match(line, /for the 3rd time a deadlock has undone a transaction/)
      assert.include(line, "Lock rows in one order")
      assert.match(
        line,
        /here: (?:update account set cents = cents \+ \? where id = \?|select id from account where id = \? for update)\n/
      )
    }
  }).pipe(Effect.scoped), 60_000)
