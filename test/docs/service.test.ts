/** The service of docs/service.md, as somebody has it who followed the page: run, asked, and moved to another database. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { describeWith, freePort, freshDatabase } from "../support/index.ts"
import { extract, root } from "./snippets.ts"

const page = fs.readFileSync(path.join(root, "docs/service.md"), "utf8")
const [program, onMysql] = extract("docs/service.md", page).map(({ code }) => code)

/** The program with the two lines that the page names for MySQL. */
const moved = (): string => {
  const line = onMysql!.split("\n")[0]!
  const layer = /Mysql\.layerConfig/.exec(onMysql!)![0]
  const changed = program!.replace(/^import .* from "watertight\/postgres"$/m, line).replace(
    "Postgres.layerConfig",
    layer
  )
  return changed
}

/** A folder with the program and what `npm install` puts beside it. */
const project = (code: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-service-"))
      const modules = path.join(folder, "node_modules")
      fs.mkdirSync(modules)
      for (const name of ["effect", "@effect", "mysql2"]) {
        fs.symlinkSync(path.join(root, "node_modules", name), path.join(modules, name))
      }
      fs.symlinkSync(root, path.join(modules, "watertight"))
      fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify({ type: "module" }))
      fs.writeFileSync(path.join(folder, "service.ts"), code)
      return folder
    }),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true }))
  )

const start = (folder: string, env: Record<string, string>) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(
        path.join(root, "node_modules/node/bin/node"),
        ["--conditions=watertight-source", "service.ts"],
        { cwd: folder, env: { PATH: process.env["PATH"] ?? "", ...env }, stdio: ["ignore", "ignore", "inherit"] }
      )
    ),
    (child) =>
      Effect.promise(async () => {
        if (child.exitCode !== null) return
        const ended = new Promise((resolve) => child.once("exit", resolve))
        child.kill("SIGTERM")
        await ended
      })
  )

const ask = (url: string, body?: object) =>
  Effect.promise(async () => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }
    const response = await fetch(url, body === undefined ? {} : init).catch(() => undefined)
    return { status: response?.status ?? 0, text: await response?.text() ?? "" }
  })

const follow = (code: string, database: string) =>
  Effect.gen(function*() {
    const port = yield* freePort
    yield* start(yield* project(code), { DATABASE_URL: database, PORT: String(port) })
    const base = `http://127.0.0.1:${port}`
    yield* ask(`${base}/ready`).pipe(
      Effect.tap(() => Effect.sleep("20 millis")),
      Effect.repeat({ until: ({ status }) => status === 200 })
    )
    const transfer = { id: "t-1", from: "ann", to: "bob", cents: 100 }
    const codes = yield* Effect.forEach(
      [transfer, transfer, { ...transfer, id: "t-2", cents: 100_000 }, { id: "t-3" }],
      (body) => Effect.map(ask(`${base}/transfers`, body), ({ status }) => status)
    )
    assert.deepStrictEqual(codes, [204, 204, 422, 400])
    assert.deepStrictEqual(JSON.parse((yield* ask(`${base}/accounts`)).text), [
      { id: "ann", cents: "900" },
      { id: "bob", cents: "1100" }
    ])
  })

describeWith("url-postgresql")("the page about a service", () => {
  it.live(
    "its program runs, and does what the page says",
    () => Effect.scoped(Effect.flatMap(freshDatabase(), (url) => follow(program!, url))),
    60_000
  )
})

describeWith("url-mysql")("the page about a service, on MySQL", () => {
  it.live(
    "its program runs with two lines changed",
    () => Effect.scoped(Effect.flatMap(freshDatabase("mysql"), (url) => follow(moved(), url))),
    60_000
  )
})
