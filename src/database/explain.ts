/** The plan of a slow read, without the values that it was run with. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { fingerprint } from "./fingerprint.ts"
import { summaryOf } from "./summary.ts"

/** Whether a statement only reads, so that nobody can mind that its plan is asked for. */
export const isRead = (sql: string): boolean => {
  const form = fingerprint(sql)
  return /^select\b/.test(summaryOf(sql)) && !form.includes(";") &&
    !/\b(?:insert|update|delete|merge|into|for (?:no key )?(?:update|share|key share))\b/i.test(form)
}

/**
 * Asks for the plan, which runs nothing of the statement. On PostgreSQL the conditions of a plan have the values in
 * them; they are taken out unless parameters may be shown.
 */
export const planOf = Effect.fnUntraced(function*(
  client: SqlClient,
  sql: string,
  params: ReadonlyArray<unknown>,
  showsValues: boolean
): Effect.fn.Return<ReadonlyArray<string>, SqlError> {
  // The tree that newer versions of MySQL draw has values beside the costs; the table has none.
  const explain = client.onDialectOrElse({ pg: () => "explain", orElse: () => "explain format=traditional" })
  const rows = yield* client.withoutTransforms().unsafe(`${explain} ${sql}`, params)
  return client.onDialectOrElse({
    pg: () => rows.map((row) => String(Object.values(row)[0])).map((line) => showsValues ? line : withoutValues(line)),
    orElse: () => rows.map(describe)
  })
})

/** A line of a node has its costs; the others have conditions, in which literals may be. */
const withoutValues = (line: string): string => {
  if (line.includes("(cost=")) return line
  const [indent] = /^\s*/.exec(line)!
  return `${indent}${fingerprint(line)}`
}

/** A row of MySQL's table, without what is empty. */
const describe = (row: object): string =>
  Object.entries(row)
    .filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => `${name}=${String(value)}`).join(" ")

/** How long a plan may take to be had, and how many forms are remembered as told. */
const patience = "5 seconds"
const kept = 1_000

/** Logs the plan of each form of statement once. */
export class Explainer {
  private readonly told = new Set<string>()
  private readonly database: string
  private readonly client: SqlClient
  private readonly showsValues: boolean

  constructor(database: string, client: SqlClient, showsValues: boolean) {
    this.database = database
    this.client = client
    this.showsValues = showsValues
  }

  tell(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const form = fingerprint(sql)
      if (this.told.has(form) || !isRead(sql)) return Effect.void
      if (this.told.size >= kept) this.told.clear()
      this.told.add(form)
      return planOf(this.client, sql, params, this.showsValues).pipe(
        Effect.timeoutOption(patience),
        Effect.flatMap(Option.match({
          onNone: () => Effect.void,
          onSome: (lines) =>
            Effect.annotateLogs(
              Effect.logInfo(`${this.database}: the plan of ${form}\n${lines.map((line) => `  ${line}`).join("\n")}`),
              { "db.query.summary": form }
            )
        })),
        Effect.catch((error) => Effect.logDebug(`${this.database}: no plan of ${form}`, error))
      )
    })
  }
}
