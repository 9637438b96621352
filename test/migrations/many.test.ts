/** Many migrations, many processes, and what they leave. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import { type ChildProcess, spawn } from "node:child_process"
import * as path from "node:path"
import type { MigrationsError } from "watertight/migrations"
import { folder, root, write } from "../cli/support.ts"
import { describeWith, freshDatabase, PgBouncer } from "../support/index.ts"
import { layerAt, migrate, reasonOf, recorded, tables, text } from "./support.ts"

/** The program in a process of its own. */
const start = (cwd: string, url: string) => {
  const child = spawn(
    path.join(root, "node_modules/node/bin/node"),
    [
      "--conditions=watertight-source",
      path.join(root, "src/cli/main.ts"),
      "migrate",
      "-d",
      path.join(cwd, "migrations")
    ],
    { env: { PATH: process.env["PATH"] ?? "", DATABASE_URL: url }, stdio: ["ignore", "pipe", "pipe"] }
  )
  const printed = { out: "" }
  child.stdout.on("data", (chunk) => void (printed.out += String(chunk)))
  child.stderr.on("data", (chunk) => void (printed.out += String(chunk)))
  const ended = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)))
  return { child: child as ChildProcess, printed, ended }
}

const waitFor = (isThere: () => boolean) =>
  Effect.gen(function*() {
    while (!isThere()) yield* Effect.sleep("50 millis")
  }).pipe(Effect.timeout("200 seconds"))

/** Eight start at once, and the one that migrates is killed in the middle. */
const eight = (url: string, direct = url) =>
  Effect.scoped(Effect.gen(function*() {
    const cwd = yield* folder
    const sleep = url.startsWith("postgres") ? "select pg_sleep(0.3)" : "do sleep(0.3)"
    for (let id = 1; id <= 6; id++) {
      write(cwd, `${id}_step.sql`, `create table t${id} (id int);\ninsert into t${id} values (${id});\n${sleep};\n`)
    }
    const all = Array.from({ length: 8 }, () => start(cwd, url))
    yield* Effect.addFinalizer(() => Effect.sync(() => all.forEach(({ child }) => child.kill("SIGKILL"))))
    const migrating = () => all.find(({ printed }) => /[23]_step/.test(printed.out))
    yield* waitFor(() => migrating() !== undefined)
    const killed = migrating()!
    killed.child.kill("SIGKILL")
    const codes = yield* Effect.promise(() => Promise.all(all.map(({ ended }) => ended)))
    const survivors = all.map((one, index) => ({ ...one, code: codes[index] })).filter((one) =>
      one !== killed && one.child !== killed.child
    )
    for (const { code, printed } of survivors) assert.strictEqual(code, 0, printed.out)
    yield* Effect.gen(function*() {
      assert.deepStrictEqual(yield* recorded, [1, 2, 3, 4, 5, 6])
      assert.deepStrictEqual(yield* tables, ["t1", "t2", "t3", "t4", "t5", "t6"])
      const sql = yield* SqlClient.SqlClient
      for (let id = 1; id <= 6; id++) {
        assert.deepStrictEqual((yield* sql.unsafe(`select id from t${id}`).values).map(([value]) => Number(value)), [
          id
        ])
      }
    }).pipe(Effect.provide(layerAt(direct)))
  }))

for (const server of ["postgresql", "mariadb", "mysql"] as const) {
  describeWith(`url-${server}`)(`many: ${server}`, () => {
    const scheme = server === "postgresql" ? "postgres:" : `${server}:`
    const fresh = Effect.map(freshDatabase(server), (url) => url.replace(/^\w+:/, scheme))

    it.live(
      "eight processes start at once, one is killed → each migration once, and all others end well",
      () => Effect.scoped(Effect.flatMap(fresh, (url) => eight(url))),
      240_000
    )

    it.live("500 migrations → all of them, and none twice", () =>
      Effect.scoped(Effect.gen(function*() {
        const url = yield* fresh
        const all = Object.fromEntries(
          Array.from({ length: 500 }, (_, index) => [`${index + 1}_a`, text(`create table t${index + 1} (id int)`)])
        )
        yield* Effect.gen(function*() {
          assert.strictEqual((yield* migrate(all)).applied.length, 500)
          assert.strictEqual((yield* migrate(all)).applied.length, 0)
          assert.strictEqual((yield* recorded).length, 500)
        }).pipe(Effect.provide(layerAt(url)))
      })), 400_000)
  })
}

describeWith("url-postgresql", "pgbouncer")("many: PgBouncer", () => {
  it.live("eight processes through it in transaction mode, one is killed", () =>
    Effect.scoped(Effect.gen(function*() {
      const url = yield* freshDatabase("postgresql")
      yield* eight(yield* PgBouncer.make(url, "transaction"), url)
    })), 400_000)
})

describe("many", () => {
  it.live("what REINDEX CONCURRENTLY has left is gone", () =>
    Effect.scoped(Effect.gen(function*() {
      const url = yield* freshDatabase("postgresql")
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        for (
          const statement of [
            "create table a (id int)",
            "create index a_id on a (id)",
            "create index a_id_ccnew on a (id)",
            "update pg_index set indisvalid = false where indexrelid = 'a_id_ccnew'::regclass"
          ]
        ) yield* sql.unsafe(statement).unprepared
        yield* migrate({ "1_r": text("-- watertight: no-transaction\nreindex index concurrently a_id") })
        const left = yield* sql.unsafe("select relname from pg_class where relname like 'a_id%'").values
        assert.deepStrictEqual(left.map(([name]) => name), ["a_id"])
      }).pipe(Effect.provide(layerAt(url)))
    })), 60_000)

  it.live("durations that are none → refused before anything is sent", () =>
    Effect.gen(function*() {
      for (
        const options of [
          { wait: "soon" },
          { wait: NaN },
          { lock: { first: "-1 seconds" } },
          { lock: { limit: null } },
          { lock: { firts: "1 second" } }
        ] as ReadonlyArray<any>
      ) {
        const reason = yield* reasonOf(migrate({ "1_a": text("create table a (id int)") }, options))
        assert.strictEqual(reason._tag, "Refused", JSON.stringify(options))
        assert.match((reason as MigrationsError.Refused).problem, /^Migrations: option `(?:wait|lock)`/)
      }
    }).pipe(Effect.provide(layerAt("postgres://u@127.0.0.1:1/x"))), 60_000)
})
