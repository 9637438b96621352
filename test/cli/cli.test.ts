/** The program as people and scripts run it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import { freshDatabase } from "../support/index.ts"
import { cli, folder, program, write } from "./support.ts"

describe("watertight", () => {
  for (const server of ["postgresql", "mariadb"] as const) {
    it.live(
      `${server}: new, status, migrate, an edit, repair → each says what it found, and exits with its code`,
      () =>
        Effect.scoped(Effect.gen(function*() {
          const cwd = yield* folder
          const url = (yield* freshDatabase(server)).replace(/^mysql:/, "mariadb:")
          const env = { DATABASE_URL: url }
          const made = yield* cli(cwd, ["new", "Add accounts", "--json"])
          assert.strictEqual(made.code, 0, made.stderr)
          const { file } = JSON.parse(made.stdout) as { readonly file: string }
          assert.match(file, /\/migrations\/\d{14}_add_accounts\.sql$/)
          fs.writeFileSync(
            file,
            "create table account (id int primary key);\ninsert into account values (1);\n"
          )
          write(cwd, "99991231000000_more.sql", "insert into account values (2)")
          const pending = yield* cli(cwd, ["status", "--exit-code"], env)
          assert.strictEqual(pending.code, 3, pending.stderr)
          assert.match(pending.stdout, /^pending {2}\d+_add_accounts\npending {2}99991231000000_more\n$/)
          const migrated = yield* cli(cwd, ["migrate", "--json"], env)
          assert.strictEqual(migrated.code, 0, migrated.stderr + migrated.stdout)
          assert.deepInclude(JSON.parse(migrated.stdout), { version: 1, command: "migrate", ok: true, total: 2 })
          assert.strictEqual((yield* cli(cwd, ["migrate"], env)).stdout, "nothing to do: all 2 are applied\n")
          fs.appendFileSync(file, "-- a word more\n")
          const edited = yield* cli(cwd, ["migrate"], env)
          assert.strictEqual(edited.code, 5)
          assert.include(edited.stderr, "add_accounts was edited after it had been applied")
          const id = /\d{14}/.exec(file)![0]
          assert.strictEqual((yield* cli(cwd, ["repair", id, "--accept"], env)).code, 0)
          assert.strictEqual((yield* cli(cwd, ["status", "--exit-code"], env)).code, 0)
        })),
      180_000
    )
  }

  it.live(
    "what it cannot do → exit code, one line without the password, and no stack",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const cwd = yield* folder
        write(cwd, "1_drop.sql", "drop table a")
        const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number, string]> = [
          [["migrate"], 2, "no database was named"],
          [["migrate", "--url", "oracle://x"], 2, "begins with none of"],
          [["migrate", "--url", "postgres://u:hunter2@127.0.0.1:1/x"], 9, "127.0.0.1"],
          [["migrate", "--bogus"], 2, "--bogus"],
          [["lint", "--dialect", "postgres"], 1, ""],
          [["status", "--url", "mariadb://u:hunter2@127.0.0.1:1/x", "--json"], 9, ""],
          [["migrate", "--url", "mariadb://u:p@127.0.0.1:1/x", "-d", "nowhere"], 2, "nowhere"]
        ]
        yield* Effect.forEach(cases, ([args, code, text]) =>
          Effect.map(cli(cwd, args), (ended) => {
            assert.strictEqual(ended.code, code, `${args.join(" ")}: ${ended.stdout}${ended.stderr}`)
            assert.include(ended.stderr, text)
            assert.notInclude(ended.stdout + ended.stderr, "hunter2")
            assert.notMatch(ended.stderr, /\n\s+at /)
            assert.notInclude(ended.stdout + ended.stderr, "\u001b[")
            if (args.includes("--json")) assert.deepInclude(JSON.parse(ended.stdout), { ok: false })
          }), { concurrency: 2 })
      })),
    180_000
  )

  it.live(
    "the program itself: help names every command; a failure has its code, and its text where it belongs",
    () =>
      Effect.gen(function*() {
        const help = yield* program(["--help"])
        assert.strictEqual(help.code, 0)
        for (const command of ["migrate", "status", "new", "baseline", "repair", "lint"]) {
          assert.include(help.stdout, command)
        }
        const failed = yield* program(["status"])
        assert.deepStrictEqual(failed, {
          code: 2,
          stdout: "",
          stderr: "error: no database was named: give `--url`, or set DATABASE_URL\n"
        })
      }),
    180_000
  )
})
