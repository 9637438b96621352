import { assert, describe, it } from "@effect/vitest"
import * as Evidence from "../../../src/failure/Evidence.ts"
import { judge } from "../../../src/failure/Outcome.ts"
import { endsConnection, ruleOfError } from "../../../src/mysql-family/errors/errno.ts"
import { MysqlError, serverErrorOf } from "../../../src/mysql-family/errors/errors.ts"
import { needsConnection } from "../../../src/mysql-family/session/ownConnection.ts"
import { profileOf } from "../../../src/mysql-family/statement/statements.ts"

const answered = (errno: number, message = "") => {
  const error = new MysqlError({ errno, code: undefined, sqlState: "HY000", message })
  const verdict = judge("Statement", Evidence.answered(error), ruleOfError(error, false))
  return `${verdict.outcome} ${verdict.scope}`
}

describe("an errno that was answered on a session that goes on → outcome and scope", () => {
  it.each([
    // Proxies that reach no server.
    [2002, "", "NotSent Connect"],
    [2003, "Lost connection to backend server", "NotSent Connect"],
    [9001, "Max connect timeout reached while reaching hostgroup 0 after 10000ms", "NotSent Connect"],
    [9501, "Timed-out waiting to acquire database connection", "NotSent Connect"],
    [1105, "target: ks.-80.primary: vttablet: rpc error: code = Unavailable desc = no connection", "NotSent Connect"],
    [1105, "target: ks.-80.primary: vttablet: rpc error: code = Aborted desc = lost", "NotApplied Statement"],
    [1105, "unknown error", "NotApplied Never"],
    [2013, "Lost connection to MySQL server during query", "Unknown Never"],
    // Conflicts.
    [3058, "Deadlock found when trying to get user-level lock", "NotApplied Statement"],
    [3101, "", "NotApplied Statement"],
    [1213, "", "NotApplied Statement"],
    // What a statement has raised, or what is about another server.
    [1053, "raised", "NotApplied Never"],
    [1158, "raised", "NotApplied Never"],
    [1927, "raised", "NotApplied Never"],
    [1040, "of another server", "NotApplied Never"],
    // Final.
    [3748, "", "NotApplied Never"],
    [1665, "", "NotApplied Never"],
    [3098, "", "NotApplied Never"]
  ])("%i %s", (errno, message, expected) => {
    assert.strictEqual(answered(errno, message), expected)
  })

  it("a session that ended with the answer: what the statement caused is not applied, and final", () => {
    for (const [errno, message] of [[1153, ""], [4082, "Connection memory limit exceeded"]] as const) {
      const error = new MysqlError({ errno, code: undefined, sqlState: "HY000", message })
      assert.isTrue(endsConnection(errno))
      const rule = ruleOfError(error, false)!
      const evidence = Evidence.lost(rule.endedBy!, { sent: true, answer: "Error", serverError: error })
      assert.deepInclude(judge("Statement", evidence, rule), { outcome: "NotApplied", scope: "Never" })
    }
  })

  it("connecting: a server that is offline for now is waited for", () => {
    for (const errno of [1040, 3032, 3168]) {
      const error = new MysqlError({ errno, code: undefined, sqlState: "HY000", message: "" })
      assert.deepInclude(judge("Connect", Evidence.make({ connecting: true }), ruleOfError(error, false)), {
        outcome: "NotSent",
        scope: "Connect"
      })
    }
  })

  it("numbers of proxies are those of a server; those of the system and of the drivers are not", () => {
    assert.isDefined(serverErrorOf({ errno: 2003, sqlMessage: "x" }))
    assert.isUndefined(serverErrorOf({ errno: -104, code: "ECONNRESET" }))
    assert.isUndefined(serverErrorOf({ errno: 45009, code: "ER_SOCKET_UNEXPECTED_CLOSE" }))
  })
})

describe("a statement on the pool → whether it needs a connection of its own", () => {
  it.each([
    "begin",
    "BEGIN WORK",
    "start transaction read only",
    "commit",
    "rollback",
    "rollback to a",
    "savepoint a",
    "release savepoint a",
    "set transaction isolation level serializable",
    "select get_lock('a', 0)",
    "do get_lock ('a', 0)",
    "xa start 'a'",
    "lock tables t write",
    "unlock tables",
    "handler t open",
    "/* note */ begin;"
  ])("%s → refused", (sql) => {
    assert.match(needsConnection(sql, profileOf(sql))!.message, /Use `|Use the option/)
  })
  it.each([
    "select 1",
    "insert into t values ('begin')",
    "begin not atomic select 1; end",
    "begin; insert into t values (1); commit",
    "lock tables t write; insert into t values (1); unlock tables",
    "set session transaction isolation level serializable",
    "start replica",
    "select release_lock('a')",
    "select is_free_lock('a')"
  ])("%s → runs", (sql) => {
    assert.isUndefined(needsConnection(sql, profileOf(sql)))
  })
})
