/** What a failure means: every phase with every evidence, one line each. */
import { assert, describe, it } from "@effect/vitest"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { Outcome } from "watertight"
import { endsTransaction } from "../../src/database/ClassifyingConnection.ts"
import { ConnectionLost } from "../../src/failure/ConnectionLost.ts"

const evidence = {
  /** Nothing came from the server, and nothing is wrong with the connection: a value that cannot be encoded. */
  "nothing sent": { answered: false },
  "lost before it was sent": { answered: false, lost: { sent: false } },
  "lost after it was sent": { answered: false, lost: { sent: true } },
  "answer of unknown code": { answered: true },
  "answer: conflict": { answered: true, rule: { about: "conflict", scope: "Transaction" } },
  "answer: statement": { answered: true, rule: { about: "lock", scope: "Statement" } },
  "answer: never": { answered: true, rule: { about: "constraint", scope: "Never" } },
  "answer: other node": { answered: true, rule: { about: "read only", scope: "OtherNode", ladder: "Instant" } },
  "answer: no room": { answered: true, rule: { about: "no room", scope: "Connect", ladder: "Overload" } },
  "answer: who knows": { answered: true, rule: { about: "ambiguous", scope: "Never", unknown: true } },
  "ended by shutdown": {
    answered: false,
    lost: { sent: true },
    rule: { about: "shutdown", scope: "TransactionOnNewConnection", ladder: "Overload", unknown: true }
  },
  "ended for good": { answered: false, lost: { sent: true }, rule: { about: "idle too long", scope: "Never" } },
  "ended for good, before it was sent": {
    answered: false,
    lost: { sent: false },
    rule: { about: "idle too long", scope: "Never" }
  }
} satisfies Record<string, Outcome.Evidence>

type Row = readonly [keyof typeof evidence, Outcome.Outcome, Outcome.Scope, Outcome.Ladder, "safe" | "not safe"]

const inside: ReadonlyArray<Row> = [
  ["nothing sent", "NotSent", "Never", "Conflict", "not safe"],
  ["lost before it was sent", "NotApplied", "TransactionOnNewConnection", "Instant", "safe"],
  ["lost after it was sent", "NotApplied", "TransactionOnNewConnection", "Instant", "safe"],
  ["answer of unknown code", "NotApplied", "Never", "Conflict", "not safe"],
  ["answer: conflict", "NotApplied", "Transaction", "Conflict", "safe"],
  ["answer: statement", "NotApplied", "Statement", "Conflict", "safe"],
  ["answer: never", "NotApplied", "Never", "Conflict", "not safe"],
  ["answer: other node", "NotApplied", "OtherNode", "Instant", "safe"],
  ["answer: no room", "NotApplied", "Connect", "Overload", "safe"],
  ["answer: who knows", "NotApplied", "Never", "Conflict", "not safe"],
  ["ended by shutdown", "NotApplied", "TransactionOnNewConnection", "Overload", "safe"],
  ["ended for good", "NotApplied", "Never", "Instant", "not safe"],
  ["ended for good, before it was sent", "NotApplied", "Never", "Instant", "not safe"]
]

const table: Record<Outcome.Phase, ReadonlyArray<Row>> = {
  Acquire: [
    ["nothing sent", "NotSent", "Connect", "Overload", "safe"],
    ["answer: never", "NotSent", "Never", "Overload", "not safe"]
  ],
  Connect: [
    ["nothing sent", "NotSent", "Connect", "Overload", "safe"],
    ["lost after it was sent", "NotSent", "Connect", "Overload", "safe"],
    ["answer: no room", "NotSent", "Connect", "Overload", "safe"],
    ["answer: never", "NotSent", "Never", "Overload", "not safe"],
    ["answer: other node", "NotSent", "OtherNode", "Overload", "safe"],
    ["ended by shutdown", "NotSent", "Connect", "Overload", "safe"]
  ],
  Statement: [
    ["nothing sent", "NotSent", "Never", "Conflict", "not safe"],
    ["lost before it was sent", "NotSent", "Statement", "Instant", "safe"],
    ["lost after it was sent", "Unknown", "Never", "Overload", "not safe"],
    ["answer of unknown code", "NotApplied", "Never", "Conflict", "not safe"],
    // A statement of its own is a transaction of its own.
    ["answer: conflict", "NotApplied", "Statement", "Conflict", "safe"],
    ["answer: statement", "NotApplied", "Statement", "Conflict", "safe"],
    ["answer: never", "NotApplied", "Never", "Conflict", "not safe"],
    ["answer: other node", "NotApplied", "OtherNode", "Instant", "safe"],
    ["answer: no room", "NotApplied", "Connect", "Overload", "safe"],
    ["answer: who knows", "Unknown", "Never", "Overload", "not safe"],
    ["ended by shutdown", "Unknown", "Never", "Overload", "not safe"],
    ["ended for good", "Unknown", "Never", "Overload", "not safe"],
    ["ended for good, before it was sent", "NotSent", "Statement", "Instant", "safe"]
  ],
  // Inside a transaction nothing but the statement may be repeated; the rest is judged when it has ended.
  InTransaction: inside.map(([name, outcome, scope, ladder, safe]) => [
    name,
    outcome,
    scope,
    ladder,
    safe === "safe" && scope === "Statement" ? "safe" : "not safe"
  ]),
  Ended: inside,
  Commit: [
    ["lost before it was sent", "NotApplied", "TransactionOnNewConnection", "Instant", "safe"],
    ["lost after it was sent", "Unknown", "Never", "Overload", "not safe"],
    ["answer of unknown code", "NotApplied", "Never", "Conflict", "not safe"],
    ["answer: conflict", "NotApplied", "Transaction", "Conflict", "safe"],
    ["answer: never", "NotApplied", "Never", "Conflict", "not safe"],
    ["answer: who knows", "Unknown", "Never", "Overload", "not safe"],
    ["ended by shutdown", "Unknown", "Never", "Overload", "not safe"],
    ["ended for good", "Unknown", "Never", "Overload", "not safe"],
    ["ended for good, before it was sent", "NotApplied", "Never", "Instant", "not safe"]
  ]
}

describe("judge", () => {
  for (const phase of Object.keys(table) as Array<Outcome.Phase>) {
    for (const [name, outcome, scope, ladder, safe] of table[phase]) {
      it(`${phase}, ${name}: ${outcome}, repeat ${scope}`, () => {
        const verdict = Outcome.judge(phase, evidence[name])
        assert.deepStrictEqual(
          { outcome: verdict.outcome, scope: verdict.scope, ladder: verdict.ladder, safe: Outcome.isSafe(verdict) },
          { outcome, scope, ladder, safe: safe === "safe" }
        )
      })
    }
  }

  it("whatever was lost after it was sent is unknown, unless a transaction around it came to nothing", () => {
    for (const phase of ["Statement", "Commit"] as const) {
      for (const [name, seen] of Object.entries(evidence) as Array<[string, Outcome.Evidence]>) {
        if (seen.lost?.sent !== true) continue
        const verdict = Outcome.judge(phase, seen)
        assert.strictEqual(verdict.outcome, "Unknown", `${phase}, ${name}`)
        assert.isFalse(Outcome.isSafe(verdict), `${phase}, ${name}`)
      }
    }
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// Errors
// ---------------------------------------------------------------------------------------------------------------------

const connectionError = (cause: unknown, operation = "execute") =>
  new SqlError({ reason: new ConnectionError({ cause, message: "lost", operation }) })

const noRules = () => undefined

describe("attach", () => {
  it("Effect's isRetryable says the same as the verdict", () => {
    const unknown = Outcome.attach(connectionError(new ConnectionLost({ sent: true })), "Statement", noRules)
    assert.isTrue(Outcome.isUnknown(unknown))
    assert.isFalse(unknown.isRetryable)
    const notSent = Outcome.attach(connectionError(new ConnectionLost({ sent: false })), "Statement", noRules)
    assert.isTrue(Outcome.isNotSent(notSent))
    assert.isTrue(notSent.isRetryable)
  })

  it("an error of the driver that does not say how it lost the connection is taken for the worst", () => {
    const socket = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" })
    assert.isTrue(Outcome.isUnknown(Outcome.attach(connectionError(socket), "Statement", noRules)))
    assert.isTrue(Outcome.isUnknown(Outcome.attach(connectionError(socket), "Commit", noRules)))
    assert.isTrue(Outcome.isNotApplied(Outcome.attach(connectionError(socket), "InTransaction", noRules)))
  })

  it("what failed to connect was not sent, wherever it was asked for", () => {
    const error = Outcome.attach(connectionError(new Error("ECONNREFUSED"), "connect"), "Commit", noRules)
    assert.isTrue(Outcome.isNotSent(error))
  })

  it("the first judgement stands", () => {
    const error = Outcome.attach(connectionError(new ConnectionLost({ sent: true })), "Commit", noRules)
    Outcome.attach(error, "InTransaction", noRules)
    assert.isTrue(Outcome.isUnknown(error))
  })

  it("only what failed inside a transaction is revised when that has ended", () => {
    const inside = Outcome.attach(connectionError(new ConnectionLost({ sent: true })), "InTransaction", noRules)
    assert.isFalse(inside.isRetryable)
    Outcome.ended(inside)
    assert.isTrue(inside.isRetryable)
    const commit = Outcome.attach(connectionError(new ConnectionLost({ sent: true })), "Commit", noRules)
    Outcome.ended(commit)
    assert.isTrue(Outcome.isUnknown(commit))
    assert.isFalse(commit.isRetryable)
  })
})

describe("of", () => {
  it("looks through what an error was wrapped into", () => {
    const error = Outcome.attach(connectionError(new ConnectionLost({ sent: true })), "Statement", noRules)
    const wrapped = new Error("domain", { cause: new Error("repository", { cause: error }) })
    assert.isTrue(Outcome.isUnknown(wrapped))
    assert.strictEqual(Outcome.find(wrapped), error)
  })

  it("knows nothing of other errors, and does not loop on a circle", () => {
    assert.isUndefined(Outcome.of(new Error("no")))
    assert.isUndefined(Outcome.of(undefined))
    assert.isUndefined(Outcome.of(
      new SqlError({ reason: new UnknownError({ cause: undefined, message: "not ours", operation: "execute" }) })
    ))
    const circle: { cause?: unknown } = {}
    circle.cause = circle
    assert.isUndefined(Outcome.of(circle))
    assert.isFalse(Outcome.isUnknown(circle))
  })
})

describe("endsTransaction", () => {
  for (
    const sql of ["commit", "COMMIT;", "  end", "-- now\ncommit and chain", "/* a */ commit", "prepare transaction 'x'"]
  ) {
    it(`${JSON.stringify(sql)} may commit`, () => assert.isTrue(endsTransaction(sql)))
  }
  for (const sql of ["", "select 'commit'", "insert into commits values (1)", "prepare x as select 1", "rollback"]) {
    it(`${JSON.stringify(sql)} does not`, () => assert.isFalse(endsTransaction(sql)))
  }
})
