/** What a session does when the server refuses to end a transaction, and what is never cancelled on the server. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Evidence from "../../../src/failure/Evidence.ts"
import * as Outcome from "../../../src/failure/Outcome.ts"
import { ruleOf } from "../../../src/postgres/errors/sqlState.ts"
import { FaultProxy, postgresUrl } from "../../support/index.ts"
import { connect, eventually, fields, run, sqlFailure } from "../support.ts"
import { scriptedServer } from "../wire/scriptedServer.ts"

describe("COMMIT", () => {
  it.live("refused while the transaction stays open: the session is over, and no borrower gets the transaction", () =>
    Effect.gen(function*() {
      const server = yield* scriptedServer
      const session = yield* connect({
        host: "127.0.0.1",
        port: server.port,
        username: "u",
        password: Redacted.make("p"),
        database: "d",
        sslmode: "disable"
      })
      const heard: Array<string> = []
      session.onLost((error) => heard.push(error.message))
      yield* session.begin({})
      yield* run(session, "insert into t values (1)")
      server.refuseCommit()
      const error = yield* sqlFailure(session.commit)
      assert.strictEqual(fields(error)["code"], "40001")
      assert.strictEqual(Outcome.of(Outcome.attach(error, "Commit", ruleOf))?.outcome, "NotApplied")
      assert.isTrue(session.isClosed)
      assert.isFalse(session.isReady)
      assert.match(heard.join(), /COMMIT was refused and the transaction is still open/)
      const next = yield* sqlFailure(run(session, "select 1"))
      assert.isFalse(Evidence.of(next).sent)
    }))
})

describe("an interruption", () => {
  const controls = {
    "BEGIN": { word: "BEGIN", before: "", of: "begin" },
    "SAVEPOINT": { word: "SAVEPOINT", before: "begin", of: "savepoint" },
    "ROLLBACK TO": { word: "ROLLBACK TO", before: "savepoint", of: "rollbackSavepoint" },
    "LISTEN": { word: "LISTEN", before: "", of: "listen" },
    "COMMIT": { word: "COMMIT", before: "begin", of: "commit" },
    "ROLLBACK": { word: "ROLLBACK", before: "begin", of: "rollback" }
  } as const

  for (const [name, { before, of, word }] of Object.entries(controls)) {
    it.live(`of ${name} asks the server to cancel nothing: that would hit what comes next`, () =>
      Effect.gen(function*() {
        const proxy = yield* FaultProxy.make(postgresUrl())
        const session = yield* connect({ url: Redacted.make(proxy.url) })
        const steps = {
          begin: session.begin({}),
          savepoint: session.savepoint("a"),
          rollbackSavepoint: session.rollbackSavepoint("a"),
          listen: Effect.scoped(session.listen("news")),
          commit: session.commit,
          rollback: session.rollback
        }
        if (before !== "") yield* steps.begin
        if (before !== "") yield* run(session, "select 1")
        if (before === "savepoint") yield* steps.savepoint
        const attempts = proxy.attempts()
        const rule = yield* proxy.when(word, "holdReply")
        const fiber = yield* Effect.forkChild(steps[of], { startImmediately: true })
        // BEGIN travels with the first statement.
        const first = of === "begin"
          ? yield* Effect.forkChild(Effect.exit(run(session, "select 2")), { startImmediately: true })
          : undefined
        yield* rule.fired
        // COMMIT cannot be interrupted: whoever tries waits for it.
        const interrupted = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
        yield* rule.release
        yield* Fiber.join(interrupted)
        if (first !== undefined) yield* Fiber.join(first)
        yield* eventually(Effect.andThen(Effect.ignore(session.reset), Effect.sync(() => session.isReady)))
        assert.deepStrictEqual(yield* run(session, "select 3 as three"), [{ three: 3 }])
        assert.strictEqual(proxy.attempts(), attempts)
      }))
  }
})
