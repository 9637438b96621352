/** The transfer of the README under opposing load: what the order of locks is worth. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Transaction } from "watertight"
import { freshLayer } from "./support.ts"

type Change = { readonly id: string; readonly by: number }

const transfer =
  (order: (changes: ReadonlyArray<Change>) => ReadonlyArray<Change>) => (from: string, to: string, cents: number) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const changes = order([{ id: from, by: -cents }, { id: to, by: cents }])
      for (const { by, id } of changes) yield* sql`update account set cents = cents + ${by} where id = ${id}`
    }).pipe(Transaction.run({ isolation: "serializable" }))

const ordered = transfer((changes) => [...changes].sort((a, b) => a.id < b.id ? -1 : 1))
const asGiven = transfer((changes) => changes)

/** How many transfers of 16 opposing fibers succeed within the time. */
const count = (run: ReturnType<typeof transfer>) =>
  Effect.gen(function*() {
    let done = 0
    const worker = (i: number) =>
      Effect.forever(
        Effect.andThen(
          Effect.ignore(i % 2 === 0 ? run("ann", "bob", 1) : run("bob", "ann", 1)),
          Effect.sync(() => done++)
        )
      )
    yield* Effect.timeoutOption(
      Effect.all(Array.from({ length: 16 }, (_, i) => worker(i)), { concurrency: "unbounded", discard: true }),
      "2 seconds"
    )
    return done
  })

it.live(
  "16 opposing transfers: locks in one order → many times as many as locks as given, and the books are right",
  () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table account (id text primary key, cents bigint not null)`
      yield* sql`insert into account values ('ann', 1000), ('bob', 1000)`
      const inOrder = yield* count(ordered)
      const crosswise = yield* count(asGiven)
      const [sum] = yield* sql<{ sum: string }>`select sum(cents)::text as sum from account`
      assert.strictEqual(sum!.sum, "2000")
      assert.isAbove(inOrder, 10 * crosswise)
    }).pipe(Effect.provide(freshLayer())),
  30_000
)
