/**
 * Several statements that are on the wire at once are answered in one chunk: each answer has the status that the server
 * sent with it, whatever stands behind it.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as net from "node:net"
import { type Driver, type DriverConnection, Status } from "../../../src/mysql-family/driver/Driver.ts"
import { describeEach, subjects } from "../support.ts"

const pipelining = subjects.filter((subject) => subject.pipelines)

const connectAt = (driver: Driver, url: URL) =>
  Effect.acquireRelease(
    Effect.callback<DriverConnection>((resume) => {
      const socket = net.connect(Number(url.port), url.hostname, () =>
        driver.connect({
          socket,
          host: url.hostname,
          port: Number(url.port),
          socketPath: undefined,
          user: decodeURIComponent(url.username),
          password: url.password === "" ? undefined : decodeURIComponent(url.password),
          database: url.pathname.slice(1),
          tls: undefined,
          compress: false,
          allowPublicKeyRetrieval: true,
          connectAttributes: {},
          preparedStatements: 10
        }, (error, connection) => resume(connection === undefined ? Effect.die(error) : Effect.succeed(connection))))
    }),
    (connection) => Effect.sync(() => connection.quit())
  )

/** Lets all answers arrive before any of them is read. */
const standStill = (millis: number) => {
  const end = performance.now() + millis
  while (performance.now() < end);
}

/** What is said of each statement: flags of its answer, or that it failed. */
const flagsOf = (connection: DriverConnection, statements: ReadonlyArray<string>) =>
  Effect.callback<ReadonlyArray<string>>((resume) => {
    const answers: Array<string> = []
    const add = (status: number | undefined, error?: unknown) => {
      answers.push(
        error !== undefined
          ? "failed"
          : (status! & Status.InTransaction) === 0
          ? "outside"
          : "inside"
      )
      if (answers.length === statements.length) resume(Effect.succeed(answers))
    }
    connection.together!(() => {
      for (const sql of statements) {
        connection.query(sql, {
          isWanted: true,
          onOk: (_, status) => add(status),
          onRows: (_rows, _decoder, status) => add(status),
          onMany: (_, status) => add(status),
          onError: (error) => add(undefined, error)
        })
      }
    })
    // The connector may write in a later turn.
    setImmediate(() => standStill(40))
  })

const table: ReadonlyArray<readonly [statements: ReadonlyArray<string>, expected: ReadonlyArray<string>]> = [
  [["do 1", "select nope"], ["outside", "failed"]],
  [["select 1", "select nope", "do 1"], ["outside", "failed", "outside"]],
  [["begin", "select 1", "commit", "do 1"], ["inside", "inside", "outside", "outside"]],
  [["begin", "select nope", "rollback", "select 1"], ["inside", "failed", "outside", "outside"]],
  [["do 1", "begin", "rollback", "begin", "rollback"], ["outside", "inside", "outside", "inside", "outside"]],
  [["select nope", "do 1", "select nope", "select 1", "select nope"], [
    "failed",
    "outside",
    "failed",
    "outside",
    "failed"
  ]]
]

describeEach("the status of each answer: $name", (subject) => {
  for (const [statements, expected] of table) {
    it.live(statements.join("; "), () =>
      Effect.gen(function*() {
        const connection = yield* connectAt(subject.driver, new URL(subject.server.url()))
        for (let round = 0; round < 3; round++) {
          assert.deepEqual(yield* flagsOf(connection, statements), expected)
        }
      }))
  }
}, pipelining)
