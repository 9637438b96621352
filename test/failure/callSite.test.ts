/** The failure of a statement says where in the program it is written. */
import { assert, describe, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql"
import { SqlError, SqlSyntaxError } from "effect/sql/SqlError"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Adapter, Database } from "watertight"
import { FakeAdapter } from "watertight/testing"
import { isNew } from "../../src/failure/callSite.ts"

const fake = new FakeAdapter.FakeAdapter()
fake.onStatement = () =>
  Effect.suspend(() => {
    const cause = new Error("no")
    const error = new SqlError({ reason: new SqlSyntaxError({ cause, message: "no", operation: "execute" }) })
    // A driver's error has no frames of the program.
    return Effect.fail(Object.assign(error, { stack: "" }))
  })
const DatabaseLive = Database.layerOf(Layer.succeed(Adapter.Adapter, fake))

type Write = (sql: SqlClient.SqlClient) => Effect.Effect<unknown, unknown>

const rows = (n: number) => Array.makeBy(n, (id) => ({ id }))

const ways: ReadonlyArray<readonly [name: string, write: Write]> = [
  ["a template", (sql) => sql`select 1 as way`],
  ["a template with a parameter", (sql) => sql`select ${1} as parameter`],
  ["a template with a fragment", (sql) => sql`insert into fragment ${sql.insert(rows(1))}`],
  ["a text", (sql) => sql.unsafe("select 1 as text")],
  ["in a transaction", (sql) => sql.withTransaction(sql`select 1 as inside`)]
]

const framesOf = (write: Write) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const error = (yield* Effect.flip(write(sql))) as Error
    return error.stack!.split("\n").filter((line) => /^ {4}(or )?at /.test(line))
  })

const source = readFileSync(fileURLToPath(import.meta.url), "utf8").split("\n")
const lineOfWay = (name: string): number => source.findIndex((line) => line.includes(`["${name}"`)) + 1

const lineOf = (frame: string | undefined): number => Number(/callSite\.test\.ts:(\d+):\d+/.exec(frame ?? "")?.[1])

describe("the stack of a failed statement", () => {
  it.layer(DatabaseLive)((it) => {
    for (const [name, write] of ways) {
      it.effect(`${name} → the line where it is written, each time`, () =>
        Effect.gen(function*() {
          const first = yield* framesOf(write)
          const again = yield* framesOf(write)
          assert.lengthOf(first, 1, first.join("\n"))
          assert.deepStrictEqual(again, first)
          assert.strictEqual(lineOf(first[0]), lineOfWay(name))
        }))
    }

    it.effect("a text as long as a script → no line, for it is not kept", () =>
      Effect.gen(function*() {
        const text = `select '${"x".repeat(10_000)}'`
        assert.deepStrictEqual(yield* framesOf((sql) => sql.unsafe(text)), [])
        assert.isFalse(isNew(text))
      }))

    it.effect("a fragment of another size → the same line", () =>
      Effect.gen(function*() {
        const write = (n: number): Write => (sql) => sql`insert into sized ${sql.insert(rows(n))}`
        const frames = yield* Effect.forEach([1, 2, 3], (n) => framesOf(write(n)))
        assert.strictEqual(new Set(frames.flat()).size, 1)
      }))

    it.effect("the same text at two places → both", () =>
      Effect.gen(function*() {
        const first: Write = (sql) => sql`select 1 as twice`
        const second: Write = (sql) => sql`select 1 as twice`
        yield* framesOf(first)
        const frames = yield* framesOf(second)
        assert.lengthOf(frames, 2)
        assert.strictEqual(lineOf(frames[1]) - lineOf(frames[0]), 1)
        assert.match(frames[1]!, /^ {4}or at /)
      }))

    it.effect("leaves the limit of stacks as it was", () =>
      Effect.gen(function*() {
        const before = Error.stackTraceLimit
        yield* framesOf((sql) => sql`select 1 as limit`)
        assert.strictEqual(Error.stackTraceLimit, before)
      }))
  })
})
