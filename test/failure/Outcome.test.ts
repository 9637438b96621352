/** What a failure means: every phase with every evidence, one line each. */
import { assert, describe, it } from "@effect/vitest"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { Outcome } from "watertight"
import { endsTransaction } from "../../src/database/ClassifyingConnection.ts"
import { ConnectionLost } from "../../src/failure/ConnectionLost.ts"
import * as Evidence from "../../src/failure/Evidence.ts"

const server = { severity: "ERROR", code: "XX000" }

/** What was seen, and what the table of codes says about it. */
const seen: Record<string, { readonly evidence: Evidence.Evidence; readonly rule?: Outcome.Rule }> = {
  /** Nothing came from the server, and nothing is wrong with the connection: a value that cannot be encoded. */
  "nothing sent": { evidence: Evidence.make({}) },
  "lost before it was sent": { evidence: Evidence.lost("Network", { sent: false }) },
  "lost after it was sent": { evidence: Evidence.lost("Network", { sent: true }) },
  "cut off by our limit": { evidence: Evidence.lost("Limit", { sent: true }) },
  "stopped by our limit, session kept": {
    evidence: Evidence.make({ endedBy: "Limit", sent: true, answer: "Error" }),
    rule: { about: "cancelled", scope: "Never" }
  },
  "refused before it was sent": { evidence: Evidence.make({ endedBy: "Statement" }) },
  "ended by the statement, answered": {
    evidence: Evidence.lost("Statement", { sent: true, answer: "Error" }),
    rule: { about: "packet too large", scope: "TransactionOnNewConnection", unknown: false }
  },
  "ended by the reader": { evidence: Evidence.lost("Reader", { sent: true }) },
  "result unreadable": { evidence: Evidence.make({ endedBy: "Statement", sent: true, answer: "Done" }) },
  "rolled back instead": { evidence: Evidence.make({ sent: true, answer: "RolledBack" }) },
  "answer of unknown code": { evidence: Evidence.answered(server) },
  "answer: conflict": { evidence: Evidence.answered(server), rule: { about: "conflict", scope: "Transaction" } },
  "answer: lock": { evidence: Evidence.answered(server), rule: { about: "lock", scope: "Statement", ladder: "Lock" } },
  "answer: never": { evidence: Evidence.answered(server), rule: { about: "constraint", scope: "Never" } },
  "answer: other node": {
    evidence: Evidence.answered(server),
    rule: { about: "read only", scope: "OtherNode", ladder: "Instant" }
  },
  "answer: no room": {
    evidence: Evidence.answered(server),
    rule: { about: "no room", scope: "Connect", ladder: "Overload" }
  },
  "answer: no memory": {
    evidence: Evidence.answered(server),
    rule: { about: "no memory", scope: "Transaction", ladder: "Overload" }
  },
  "answer: connection lost": {
    evidence: Evidence.answered(server),
    rule: { about: "connection lost", scope: "TransactionOnNewConnection", ladder: "Instant", unknown: true }
  },
  "answer: who knows": {
    evidence: Evidence.answered(server),
    rule: { about: "ambiguous", scope: "Never", unknown: true }
  },
  "answer: done in part": {
    evidence: Evidence.answered(server),
    rule: { about: "in part", scope: "Never", partial: true }
  },
  "answer of a middleman": {
    evidence: Evidence.answered(server),
    rule: { about: "no server", scope: "Connect", ladder: "Overload", unreachable: true }
  },
  "last word of a middleman": {
    evidence: Evidence.lost("Server", { sent: true, serverError: server }),
    rule: { about: "no server", scope: "Connect", ladder: "Overload", unreachable: true }
  },
  "ended by shutdown": {
    evidence: Evidence.lost("Server", { sent: true, serverError: server }),
    rule: { about: "shutdown", scope: "TransactionOnNewConnection", ladder: "Overload", unknown: true }
  },
  "ended by shutdown, and undone": {
    evidence: Evidence.lost("Server", { sent: true, answer: "Undone", serverError: server }),
    rule: { about: "shutdown", scope: "TransactionOnNewConnection", ladder: "Instant", unknown: true }
  },
  "ended for good, and undone": {
    evidence: Evidence.lost("Idle", { sent: true, answer: "Undone", serverError: server }),
    rule: { about: "idle too long", scope: "Never" }
  },
  "ended for good": {
    evidence: Evidence.lost("Idle", { sent: true, serverError: server }),
    rule: { about: "idle too long", scope: "Never" }
  },
  "ended for good, before it was sent": {
    evidence: Evidence.lost("Idle", { sent: false, serverError: server }),
    rule: { about: "idle too long", scope: "Never" }
  }
}

type Row = readonly [string, Outcome.Outcome, Outcome.Scope, Outcome.Ladder, "safe" | "not safe"]

const inside: ReadonlyArray<Row> = [
  ["nothing sent", "NotSent", "Never", "Conflict", "not safe"],
  ["lost before it was sent", "NotApplied", "TransactionOnNewConnection", "Instant", "safe"],
  ["lost after it was sent", "NotApplied", "TransactionOnNewConnection", "Instant", "safe"],
  ["cut off by our limit", "NotApplied", "Never", "Instant", "not safe"],
  ["stopped by our limit, session kept", "NotApplied", "Never", "Conflict", "not safe"],
  ["refused before it was sent", "NotSent", "Never", "Instant", "not safe"],
  ["ended by the statement, answered", "NotApplied", "Never", "Instant", "not safe"],
  ["ended by the reader", "NotApplied", "Never", "Instant", "not safe"],
  ["result unreadable", "NotApplied", "Never", "Conflict", "not safe"],
  ["answer of unknown code", "NotApplied", "Never", "Conflict", "not safe"],
  ["answer: conflict", "NotApplied", "Transaction", "Conflict", "safe"],
  ["answer: lock", "NotApplied", "Statement", "Lock", "safe"],
  ["answer: never", "NotApplied", "Never", "Conflict", "not safe"],
  ["answer: other node", "NotApplied", "OtherNode", "Instant", "safe"],
  ["answer: no room", "NotApplied", "Never", "Overload", "not safe"],
  ["answer: no memory", "NotApplied", "Never", "Overload", "not safe"],
  ["answer: connection lost", "NotApplied", "Never", "Instant", "not safe"],
  ["answer: who knows", "NotApplied", "Never", "Conflict", "not safe"],
  ["answer: done in part", "NotApplied", "Never", "Conflict", "not safe"],
  ["answer of a middleman", "NotApplied", "TransactionOnNewConnection", "Overload", "safe"],
  ["last word of a middleman", "NotApplied", "TransactionOnNewConnection", "Overload", "safe"],
  ["ended by shutdown", "NotApplied", "TransactionOnNewConnection", "Overload", "safe"],
  ["ended by shutdown, and undone", "NotApplied", "TransactionOnNewConnection", "Instant", "safe"],
  ["ended for good, and undone", "NotApplied", "Never", "Instant", "not safe"],
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
    ["cut off by our limit", "Unknown", "Never", "Overload", "not safe"],
    ["stopped by our limit, session kept", "NotApplied", "Never", "Conflict", "not safe"],
    ["refused before it was sent", "NotSent", "Never", "Instant", "not safe"],
    ["ended by the statement, answered", "NotApplied", "Never", "Conflict", "not safe"],
    ["ended by the reader", "Unknown", "Never", "Overload", "not safe"],
    ["result unreadable", "Applied", "Never", "Conflict", "not safe"],
    ["answer of unknown code", "NotApplied", "Never", "Conflict", "not safe"],
    // A statement of its own is a transaction of its own.
    ["answer: conflict", "NotApplied", "Statement", "Conflict", "safe"],
    ["answer: lock", "NotApplied", "Statement", "Lock", "safe"],
    ["answer: never", "NotApplied", "Never", "Conflict", "not safe"],
    ["answer: other node", "NotApplied", "OtherNode", "Instant", "safe"],
    ["answer: no room", "NotApplied", "Never", "Overload", "not safe"],
    ["answer: no memory", "NotApplied", "Never", "Overload", "not safe"],
    ["answer: connection lost", "NotApplied", "Never", "Instant", "not safe"],
    ["answer: who knows", "NotApplied", "Never", "Conflict", "not safe"],
    ["answer: done in part", "Unknown", "Never", "Overload", "not safe"],
    ["answer of a middleman", "NotSent", "Connect", "Overload", "safe"],
    ["last word of a middleman", "NotSent", "Connect", "Overload", "safe"],
    ["ended by shutdown", "Unknown", "Never", "Overload", "not safe"],
    ["ended by shutdown, and undone", "NotApplied", "TransactionOnNewConnection", "Instant", "safe"],
    ["ended for good, and undone", "NotApplied", "Never", "Instant", "not safe"],
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
    ["cut off by our limit", "Unknown", "Never", "Overload", "not safe"],
    ["rolled back instead", "NotApplied", "Never", "Conflict", "not safe"],
    ["answer of unknown code", "NotApplied", "Never", "Conflict", "not safe"],
    ["answer: conflict", "NotApplied", "Transaction", "Conflict", "safe"],
    ["answer: never", "NotApplied", "Never", "Conflict", "not safe"],
    ["answer: connection lost", "NotApplied", "Never", "Instant", "not safe"],
    ["answer: who knows", "Unknown", "Never", "Overload", "not safe"],
    ["answer of a middleman", "NotApplied", "TransactionOnNewConnection", "Overload", "safe"],
    ["ended by shutdown", "Unknown", "Never", "Overload", "not safe"],
    ["ended for good", "Unknown", "Never", "Overload", "not safe"],
    ["ended for good, before it was sent", "NotApplied", "Never", "Instant", "not safe"]
  ]
}

describe("judge", () => {
  for (const phase of Object.keys(table) as Array<Outcome.Phase>) {
    for (const [name, outcome, scope, ladder, safe] of table[phase]) {
      it(`${phase}, ${name}: ${outcome}, repeat ${scope}`, () => {
        const verdict = Outcome.judge(phase, seen[name]!.evidence, seen[name]!.rule)
        assert.deepStrictEqual(
          { outcome: verdict.outcome, scope: verdict.scope, ladder: verdict.ladder, safe: Outcome.isSafe(verdict) },
          { outcome, scope, ladder, safe: safe === "safe" }
        )
      })
    }
  }

  it("whatever was lost after it was sent is unknown, unless a transaction around it came to nothing", () => {
    for (const phase of ["Statement", "Commit"] as const) {
      for (const [name, { evidence, rule }] of Object.entries(seen)) {
        if (!evidence.sent || evidence.ready || evidence.answer !== "None" || rule?.unreachable === true) continue
        const verdict = Outcome.judge(phase, evidence, rule)
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
