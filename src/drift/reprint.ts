/**
 * Has the shadow print what the database has, where the two print it differently: another version may write the same
 * expression in other words. Everything is undone at once.
 */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as Introspection from "../introspection/Introspection.ts"
import * as Transaction from "../transaction/Transaction.ts"
import type { Difference } from "./compare.ts"
import { type Part, readTables } from "./Shape.ts"

/** What the things of a moment are called in the shadow. */
const scratch = "watertight_drift"

/** The differences that are left when the shadow has printed both sides. PostgreSQL only. */
export const reprint = Effect.fnUntraced(function*(
  differences: ReadonlyArray<Difference>
): Effect.fn.Return<
  ReadonlyArray<Difference>,
  never,
  SqlClient.SqlClient | Introspection.Introspection | Transaction.Manager
> {
  return yield* Effect.filter(
    differences,
    (difference) =>
      difference.foundPart?.again === undefined || difference.expected === undefined
        ? Effect.succeed(true)
        : Effect.map(printed(difference, difference.foundPart), (text) => text !== difference.expected)
  )
})

/** How the shadow prints a part. What it does not take differs anyway. */
const printed = (difference: Difference, part: Part) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const db = yield* Introspection.Introspection
    yield* sql`select pg_catalog.set_config('search_path', '', true)`.withoutTransform
    if (part.kind === "query") yield* sql.unsafe(`create schema ${scratch}`).unprepared
    yield* sql.unsafe(part.again!(scratch)).unprepared
    const [schema, table] = part.kind === "query" ? [scratch, scratch] : pathOf(difference.name)
    const [read] = yield* readTables(db, { schema, table }, { isPostgres: true, home: "public" })
    const text = read?.thing.parts.find((other) =>
      other.kind === part.kind && (part.kind === "query" || other.name === scratch)
    )?.text
    return yield* Effect.fail({ printed: text })
  }).pipe(
    Transaction.run({}),
    Effect.catch((error) => Effect.succeed("printed" in error ? error.printed : undefined))
  )

const pathOf = (name: string): readonly [string, string] => {
  const dot = name.indexOf(".")
  return dot === -1 ? ["public", name] : [name.slice(0, dot), name.slice(dot + 1)]
}
