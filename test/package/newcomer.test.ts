/** A new project that has nothing but the packed package and what the first page says to install. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { describeWith, freshDatabase } from "../support/index.ts"

const root = path.resolve(import.meta.dirname, "../..")
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8")
const node = path.join(root, "node_modules/node/bin/node")

const newest = (folder: string): number =>
  Math.max(
    ...fs.readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => fs.statSync(path.join(entry.parentPath, entry.name)).mtimeMs)
  )

/** The database of the first page. */
const placeholder = "postgres://app@localhost/bank"

/** The packages that the line of the first page installs for an entry point. */
const installed = (entryPoint: string): ReadonlyArray<string> => {
  const line = readme.split("\n").find((line) => line.startsWith("|") && line.includes(`\`${entryPoint}\``))
  const command = /`npm install ([^`]+)`/.exec(line ?? "")
  assert.isNotNull(command, entryPoint)
  return command![1]!.split(" ")
}

/** The first block of code below a heading. */
const snippet = (heading: string): string => {
  const found = new RegExp(`## ${heading}\\n[\\s\\S]*?\`\`\`ts\\n([\\s\\S]*?)\`\`\``).exec(readme)
  assert.isNotNull(found, heading)
  return found![1]!
}

/** A new folder, with these packages and no others. */
const project = (packages: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-newcomer-"))
      // The package has what was built last, as for a release.
      if (!fs.existsSync(path.join(root, "dist")) || newest("dist") < newest("src")) {
        execFileSync(node, [path.join(root, "scripts/build.ts")], { cwd: root, stdio: "pipe" })
      }
      const [packed] = JSON.parse(
        execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
          cwd: root,
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"]
        })
      ) as [{ readonly filename: string }]
      const modules = path.join(folder, "node_modules")
      for (const name of packages) {
        const target = path.join(modules, name)
        fs.mkdirSync(path.dirname(target), { recursive: true })
        if (name !== "watertight") {
          // What npm would fetch is here already; its own dependencies are found where it really is.
          fs.symlinkSync(path.join(root, "node_modules", name), target)
          continue
        }
        fs.mkdirSync(target)
        execFileSync("tar", ["-xzf", path.join(folder, packed.filename), "--strip-components=1", "-C", target])
      }
      fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify({ type: "module" }))
      return folder
    }),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  )

/** Runs a file of a project, and answers what it prints. */
const run = (folder: string, name: string, text: string) =>
  Effect.sync(() => {
    fs.writeFileSync(path.join(folder, name), text)
    return execFileSync(node, ["--no-warnings", name], {
      cwd: folder,
      encoding: "utf8",
      env: { PATH: process.env["PATH"] ?? "" }
    })
  })

describeWith("url-postgresql")("a newcomer", () => {
  it.live(
    "follows the first page → has the rows that it promises, and moves money on a server",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const embedded = yield* project(installed("watertight/pglite"))
        const promised = /It prints `(.*?)`\./.exec(readme)![1]!
        const printed = yield* run(embedded, "first.ts", snippet("The first query"))
        assert.strictEqual(printed.replaceAll(/\s+/g, " ").trim(), promised)

        const url = yield* freshDatabase()
        const server = yield* project(installed("watertight/postgres"))
        const onServer = (text: string) => {
          assert.include(text, placeholder)
          return text.replaceAll(placeholder, url)
        }
        const rows = yield* run(
          server,
          "query.ts",
          onServer(
            snippet("The first query")
              .replace(`import { Pglite } from "watertight/pglite"`, `import { Postgres } from "watertight/postgres"`)
              .replace(`import { Effect } from`, `import { Effect, Redacted } from`)
              .replace("Pglite.layer()", `Postgres.layer({ url: Redacted.make("${placeholder}") })`)
          )
        )
        assert.strictEqual(rows.replaceAll(/\s+/g, " ").trim(), promised)
        yield* run(server, "transfer.ts", onServer(snippet("A transfer")))
        const after = yield* run(
          server,
          "after.ts",
          onServer(snippet("A transfer")).replace(/Effect\.runPromise[\s\S]*$/, "") +
            "const balances = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select * from account order by id`)\n" +
            "Effect.runPromise(balances.pipe(Effect.provide(DatabaseLive))).then(console.log)\n"
        )
        assert.strictEqual(
          after.replaceAll(/\s+/g, " ").trim(),
          "[ { id: 'ann', cents: 500n }, { id: 'bob', cents: 1500n } ]"
        )
      })),
    120_000
  )
})
