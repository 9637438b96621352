/** Rare interleavings, step by step: an error and the status, a kill that comes late or in vain, a reset. */
import { assert, describe, it } from "@effect/vitest"
import * as Exit from "effect/Exit"
import { inside, make, start } from "./scriptedDriver.ts"

const run = (session: ReturnType<typeof make>["session"], sql: string) => start(session.execute(sql, [], undefined))

const until = async (condition: () => boolean) => {
  for (let round = 0; round < 500 && !condition(); round++) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.isTrue(condition())
}

describe("a session, step by step", () => {
  it("an error in a transaction: the server is asked for the transaction before the next statement", () => {
    const { log, sent, session } = make()
    start(session.begin({}))
    sent[0]!.ok(inside)
    run(session, "select x")
    sent[0]!.fail(1054)
    const next = run(session, "insert into t values (1)")
    assert.deepStrictEqual(log, ["START TRANSACTION", "select x", "DO 0"])
    // The server says that there is none any more: nothing is sent that would be committed by itself.
    sent[0]!.ok()
    assert.isTrue(Exit.isFailure(next.exit as never))
    assert.deepStrictEqual(log, ["START TRANSACTION", "select x", "DO 0"])
  })

  for (
    const [what, end] of [
      ["is refused", (sent: ReturnType<typeof make>["sent"]) => sent[0]!.fail(1193)],
      ["is not answered any more", (_, session) => session.destroy("the network is gone")]
    ] as ReadonlyArray<
      [string, (sent: ReturnType<typeof make>["sent"], session: ReturnType<typeof make>["session"]) => void]
    >
  ) {
    it(`the question behind COMMIT ${what}: what was committed is committed`, () => {
      const { log, sent, session } = make()
      start(session.begin({}))
      sent[0]!.ok(inside)
      const commit = start(session.commitAt("select place"))
      sent[0]!.ok()
      assert.deepStrictEqual(log, ["START TRANSACTION", "COMMIT", "select place"])
      end(sent, session)
      assert.deepStrictEqual(commit.exit, Exit.succeed(undefined))
    })
  }

  it("COMMIT is refused: nobody asks where it is", () => {
    const { log, sent, session } = make()
    start(session.begin({}))
    sent[0]!.ok(inside)
    const commit = start(session.commitAt("select place"))
    sent[0]!.fail(1213)
    assert.deepStrictEqual(log, ["START TRANSACTION", "COMMIT"])
    assert.isTrue(Exit.isFailure(commit.exit as never))
  })

  it("an interruption while the server is asked: the statement is never sent", () => {
    const { log, sent, session } = make()
    start(session.begin({}))
    sent[0]!.ok(inside)
    run(session, "select x")
    sent[0]!.fail(1054)
    run(session, "insert into t values (1)").interrupt()
    sent[0]!.ok(inside)
    run(session, "select 2")
    assert.deepStrictEqual(log, ["START TRANSACTION", "select x", "DO 0", "select 2"])
  })

  it("a kill that comes after the answer: a statement that does nothing goes ahead of the next", () => {
    const { kills, log, sent, session } = make()
    run(session, "select sleep(1)").interrupt()
    assert.strictEqual(kills.length, 1)
    sent[0]!.ok()
    const next = run(session, "select 2")
    // While the kill is on its way, nothing is begun.
    assert.deepStrictEqual(log, ["select sleep(1)"])
    kills[0]!.done(true)
    assert.deepStrictEqual(log, ["select sleep(1)", "DO 0"])
    // The kill hits what does nothing.
    sent[0]!.fail(1317)
    assert.deepStrictEqual(log, ["select sleep(1)", "DO 0", "select 2"])
    sent[0]!.ok()
    assert.isTrue(Exit.isSuccess(next.exit as never))
  })

  it("a kill that was not sent: nothing goes ahead of the next", () => {
    const { kills, log, sent, session } = make()
    run(session, "select sleep(1)").interrupt()
    sent[0]!.ok()
    kills[0]!.done(false)
    run(session, "select 2")
    assert.deepStrictEqual(log, ["select sleep(1)", "select 2"])
  })

  it("a late kill and no next statement: the session is not ready before a reset has asked", () => {
    const { kills, sent, session } = make()
    run(session, "select sleep(1)").interrupt()
    sent[0]!.ok()
    kills[0]!.done(true)
    assert.isFalse(session.isReady)
  })

  it("an abandoned statement that goes on after a kill: killed again", async () => {
    const { kills, session } = make()
    run(session, "select sleep(9)").interrupt()
    kills[0]!.done(true)
    await until(() => kills.length === 2)
    assert.isTrue(kills[1]!.isNeeded())
  })

  it("an abandoned statement that cannot be stopped: the session is given up, and ended on the server", async () => {
    const { ended, kills, session } = make({ controlLimit: 100 })
    run(session, "select sleep(9)").interrupt()
    kills[0]!.done(true)
    await until(() => session.isClosed)
    assert.strictEqual(ended.count, 1)
  })

  it("a role and a reset: on MySQL the session cannot be reset once, and later resets know nothing of roles", () => {
    const mysql = make()
    run(mysql.session, "set role reader")
    mysql.sent[0]!.ok()
    start(mysql.session.reset)
    assert.isTrue(mysql.session.isClosed)

    const mariadb = make({ isMariadb: true })
    run(mariadb.session, "set role reader")
    mariadb.sent[0]!.ok()
    start(mariadb.session.reset)
    for (const sql of ["RESET", "SET NAMES utf8mb4"]) {
      assert.strictEqual(mariadb.sent[0]!.sql, sql)
      mariadb.sent[0]!.ok()
    }
    assert.isTrue(mariadb.session.isReady)
    assert.isFalse(mariadb.session.residue.hasRole)
  })

  it("BEGIN, COMMIT, ROLLBACK and DDL in a transaction: nothing is left for a reset", () => {
    const { sent, session } = make()
    const statements = [
      ["begin", inside],
      ["commit", 2],
      ["begin", inside],
      ["rollback", 2],
      ["begin", inside],
      ["alter table t add a int", 2]
    ] as const
    for (const [sql, flags] of statements) {
      run(session, sql)
      sent[0]!.ok(flags | 0x4000)
    }
    assert.isTrue(session.isReady)
    run(session, "select 1")
    sent[0]!.ok(2 | 0x4000)
    assert.isFalse(session.isReady)
  })

  it("BEGIN that fails half way: the server's own error, and the session is destroyed", () => {
    const { sent, session } = make()
    const begun = start(session.begin({ isolation: "serializable", access: "read write" }))
    sent[0]!.ok()
    sent[0]!.fail(1290, "running with the --read-only option")
    assert.isTrue(session.isClosed)
    assert.match(String(JSON.stringify(begun.exit)), /1290/)
  })

  it("a limit: KILL, then the server's 1317 is a timeout that was not applied, and the session is kept", async () => {
    const { kills, sent, session } = make({ statementLimit: 30 })
    const write = run(session, "update t set a = 1")
    await until(() => kills.length === 1)
    kills[0]!.done(true)
    sent[0]!.fail(1317)
    assert.match(JSON.stringify(write.exit), /StatementTimeoutError/)
    assert.isFalse(session.isClosed)
    assert.isTrue(session.isReady)
  })

  it("a limit and an answer that overtakes the kill: a success, and the kill hits what does nothing", async () => {
    const { kills, log, sent, session } = make({ statementLimit: 30 })
    const write = run(session, "update t set a = 1")
    await until(() => kills.length === 1)
    sent[0]!.ok()
    assert.isTrue(Exit.isSuccess(write.exit as never))
    kills[0]!.done(true)
    run(session, "select 2")
    assert.deepStrictEqual(log, ["update t set a = 1", "DO 0"])
  })

  it("a limit and a server that cannot be asked: unknown, and the connection is ended on the server", async () => {
    const { ended, kills, session } = make({ statementLimit: 30 })
    const write = run(session, "update t set a = 1")
    await until(() => kills.length === 1)
    kills[0]!.done(false)
    assert.isTrue(session.isClosed)
    assert.strictEqual(ended.count, 1)
    assert.match(JSON.stringify(write.exit), /StatementTimeoutError/)
  })
})
