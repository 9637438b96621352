/** The table "evidence → decision" of docs/resilience.md says what the guards decide. */
import { assert, it } from "@effect/vitest"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as fs from "node:fs"
import { isFailure } from "../../src/breaker/isFailure.ts"
import * as Evidence from "../../src/failure/Evidence.ts"
import { lostError } from "../../src/failure/lostError.ts"
import * as Outcome from "../../src/failure/Outcome.ts"
import * as PoolError from "../../src/pool/PoolError.ts"

const page = fs.readFileSync(new URL("../../docs/resilience.md", import.meta.url), "utf8")

const header = "what is known"
const table = page.slice(page.indexOf(`| ${header}`)).split("\n\n", 1)[0]!.split("\n")
const rows = table.slice(2).map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))

/** Who ended it, if that is what a row is about. */
const endedByOf = (row: ReadonlyArray<string>): Evidence.EndedBy | undefined =>
  /^`(\w+)`/.exec(row[0]!)?.[1] as Evidence.EndedBy | undefined

const server = { severity: "FATAL", code: "57P01" }

const lost = (endedBy: Evidence.EndedBy, sent: boolean, answer: Evidence.Evidence["answer"] = "None"): SqlError =>
  Outcome.attach(
    lostError({ database: "fake", operation: "execute", what: "lost", sent, answer, endedBy, serverError: server }),
    "Statement",
    () => undefined
  )

const outcomeOf = (error: SqlError): string => `\`${Outcome.of(error)!.outcome}\``

/** Whether it counts for the breaker, and so for what reads its state. */
const counts = (...errors: ReadonlyArray<SqlError>): string =>
  errors.some((error) => isFailure(error))
    ? Evidence.of(errors[0]!).endedBy === undefined ? "yes" : "once per event"
    : errors.some((error) => isFailure(error, true))
    ? "with `slowCall`"
    : "no"

const expectedOf = (endedBy: Evidence.EndedBy): ReadonlyArray<string> => {
  const { mayRepeat, suspects } = Evidence.consequences[endedBy]
  const [unsent, undone, sent] = [lost(endedBy, false), lost(endedBy, true, "Undone"), lost(endedBy, true)]
  assert.strictEqual(Outcome.isSafe(Outcome.of(unsent)!), mayRepeat)
  assert.strictEqual(Outcome.isSafe(Outcome.of(undone)!), mayRepeat)
  assert.isFalse(Outcome.isSafe(Outcome.of(sent)!))
  return [
    outcomeOf(unsent),
    outcomeOf(undone),
    outcomeOf(sent),
    mayRepeat ? "unless `Unknown`" : "never",
    counts(sent, unsent, undone),
    suspects ? "yes" : "no"
  ]
}

const situation: PoolError.Situation = {
  database: "fake",
  max: 10,
  total: 10,
  idle: 0,
  used: 10,
  connecting: 0,
  waiting: 3,
  holders: [],
  connectError: undefined
}

const judged = (error: SqlError, rule?: Outcome.Rule): SqlError => Outcome.attach(error, "Statement", () => rule)
const answered = (rule?: Outcome.Rule): SqlError =>
  judged(new SqlError({ reason: new ConnectionError({ cause: server, operation: "execute" }) }), rule)
const refused = new SqlError({
  reason: new ConnectionError({ cause: new Error("ECONNREFUSED"), operation: "connect" })
})
const inVain = (known: Partial<PoolError.Situation>): SqlError =>
  judged(PoolError.toSqlError(new PoolError.AcquireTimeout({ ...situation, ...known, waitedMillis: 1_000 })))

/** What is not about the end of a session. */
const others: { readonly [known: string]: SqlError } = {
  "an error was answered, the session goes on": answered(),
  "a pooler, a proxy or a node says that it has not reached a server": answered({
    about: "no server",
    scope: "Connect",
    unreachable: true
  }),
  "connecting failed": judged(refused),
  "no connection in time, and none can be opened": inVain({ total: 1, used: 0, connecting: 1, connectError: refused }),
  "no connection in time, all are in use": inVain({})
}

it("the table of docs/resilience.md has each way in which a session ends, and each decision is as it says", () => {
  const documented = rows.flatMap((row) => endedByOf(row) ?? [])
  assert.sameMembers(documented, Object.keys(Evidence.consequences))
  for (const row of rows) {
    const endedBy = endedByOf(row)
    if (endedBy === undefined) continue
    assert.deepStrictEqual(row.slice(1), [...expectedOf(endedBy)], endedBy)
  }
})

it("and so is what it says of the rest", () => {
  const rest = rows.filter((row) => endedByOf(row) === undefined)
  assert.sameMembers(rest.map(([known]) => known!), Object.keys(others))
  for (const [known, , , outcome, , breaker, suspects] of rest) {
    const error = others[known!]!
    assert.strictEqual(outcome, outcomeOf(error), known)
    assert.strictEqual(breaker, counts(error), known)
    assert.strictEqual(suspects, "no", known)
  }
})
