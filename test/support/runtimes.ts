/**
 * Runs `test/runtimes/smoke.mjs` for each entry point on each runtime, from the built package. The runtimes are packages
 * of npm and are kept in the cache; the servers are those that the tests use. `-- Bun Deno` runs these alone.
 */
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { cacheFolder, draftFolder, keepDraft } from "./servers/cache.ts"
import { MariadbServer, MysqlServer, PostgresServer } from "./servers/index.ts"
import { ServerError } from "./servers/ServerError.ts"
import { run, temporaryFolder } from "./servers/ServerProcess.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

const platform = `${process.platform}-${process.arch}`
const bunPlatform = platform.replace("arm64", "aarch64")
const denoPlatform = process.platform === "linux" ? `${platform}-glibc` : platform

/** A runtime: the package that has its program, where that is, and how it is told to run a file. */
interface Runtime {
  readonly name: string
  readonly install: string
  readonly program: string
  readonly args: ReadonlyArray<string>
}

const runtimes: ReadonlyArray<Runtime> = [
  { name: "Node 20", install: `node20@npm:node-${platform}@20`, program: "node20/bin/node", args: [] },
  { name: "Node 22", install: `node22@npm:node-${platform}@22`, program: "node22/bin/node", args: [] },
  { name: "Node 24", install: `node24@npm:node-${platform}@24`, program: "node24/bin/node", args: [] },
  {
    name: "Bun",
    install: `@oven/bun-${bunPlatform}@1.4.5`,
    program: `@oven/bun-${bunPlatform}/bin/bun`,
    args: ["run"]
  },
  {
    name: "Deno",
    install: `@deno/${denoPlatform}@2.9.6`,
    program: `@deno/${denoPlatform}/deno`,
    args: ["run", "--allow-all", "--node-modules-dir=manual", "--no-lock"]
  }
]

/** The folder with the runtimes. */
const install = Effect.gen(function*() {
  const folder = path.join(cacheFolder(), "runtimes")
  const modules = path.join(folder, "node_modules")
  if (runtimes.every(({ program }) => fs.existsSync(path.join(modules, program)))) return modules
  fs.rmSync(folder, { recursive: true, force: true })
  const draft = draftFolder("runtimes")
  const packages = runtimes.map((runtime) => runtime.install)
  yield* run("npm", ["install", "--prefix", draft, "--no-save", "--no-audit", "--no-fund", ...packages], {
    timeout: 600,
    cwd: draft
  })
  keepDraft(draft, folder)
  return modules
})

/** A project of a user, to which this package is installed. */
const project = Effect.gen(function*() {
  if (!fs.existsSync(path.join(root, "dist"))) {
    return yield* Effect.fail(new ServerError({ message: "The package is not built: npm run build" }))
  }
  const folder = yield* temporaryFolder(undefined)
  fs.mkdirSync(path.join(folder, "node_modules"))
  fs.symlinkSync(root, path.join(folder, "node_modules/watertight"))
  fs.symlinkSync(path.join(root, "node_modules/effect"), path.join(folder, "node_modules/effect"))
  fs.copyFileSync(path.join(root, "test/runtimes/smoke.mjs"), path.join(folder, "smoke.mjs"))
  fs.writeFileSync(
    path.join(folder, "package.json"),
    JSON.stringify({ type: "module", dependencies: { effect: "*", watertight: "*" } })
  )
  return folder
})

const all = Effect.gen(function*() {
  const modules = yield* install
  const folder = yield* project
  const [postgres, mysql, mariadb] = yield* Effect.all([
    PostgresServer.make(),
    MysqlServer.make(),
    MariadbServer.make()
  ], { concurrency: "unbounded" })
  const entries = [
    ["pglite", ""],
    ["postgres", postgres.url],
    ["mysql", mysql.url],
    ["mysql", mariadb.url],
    ["mariadb", mysql.url],
    ["mariadb", mariadb.url]
  ] as const
  const nameOf = (url: string) => url === mysql.url ? " on MySQL" : url === mariadb.url ? " on MariaDB" : ""
  let failed = 0
  const chosen = process.argv.slice(2)
  const running = runtimes.filter(({ name }) => chosen.length === 0 || chosen.includes(name))
  for (const { args, name, program } of running) {
    for (const [entry, url] of entries) {
      const started = performance.now()
      const error = yield* run(path.join(modules, program), [...args, "smoke.mjs", entry, url], {
        cwd: folder,
        timeout: 120
      }).pipe(Effect.as(undefined), Effect.catch(Effect.succeed))
      if (error !== undefined) failed++
      const seconds = ((performance.now() - started) / 1000).toFixed(1)
      console.log(
        `${error === undefined ? "ok    " : "FAILED"} ${name}, watertight/${entry}${nameOf(url)} (${seconds} s)`
      )
      if (error !== undefined) console.log(error.message)
    }
  }
  const count = running.length * entries.length
  console.log(`\n${count - failed} passed, ${failed} failed`)
  if (failed > 0) process.exitCode = 1
})

await Effect.runPromise(Effect.scoped(all))
