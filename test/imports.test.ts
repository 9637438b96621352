/**
 * What an entry point may load. Modules and bytes cost a program its start, and unlike milliseconds they are the same on
 * every machine. Who has to raise a number says in the commit what users get for it.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

interface Budget {
  /** Thousands of bytes of our own, with comments. Their modules do not count: a built package has them in few files. */
  readonly kilobytes: number
  /** Modules of Effect. */
  readonly effect: number
  /** Modules of the driver and of what it loads. */
  readonly driver: number
}

const budgets: Readonly<Record<string, Budget>> = {
  "watertight": { kilobytes: 770, effect: 175, driver: 0 },
  "watertight/cache": { kilobytes: 690, effect: 174, driver: 0 },
  "watertight/kysely": { kilobytes: 530, effect: 175, driver: 300 },
  "watertight/mariadb": { kilobytes: 1050, effect: 174, driver: 79 },
  "watertight/migrations": { kilobytes: 675, effect: 167, driver: 0 },
  "watertight/monitor": { kilobytes: 685, effect: 175, driver: 0 },
  "watertight/mysql": { kilobytes: 1050, effect: 174, driver: 92 },
  "watertight/outbox": { kilobytes: 685, effect: 175, driver: 0 },
  "watertight/pglite": { kilobytes: 1240, effect: 174, driver: 11 },
  "watertight/postgres": { kilobytes: 1335, effect: 174, driver: 2 },
  "watertight/testing": { kilobytes: 700, effect: 174, driver: 0 }
}

interface Loaded {
  readonly modules: number
  readonly bytes: number
}

const load = (entry: string, then = ""): Readonly<Record<string, Loaded>> =>
  JSON.parse(execFileSync(process.execPath, [
    "--no-warnings",
    "--conditions=watertight-source",
    "--experimental-strip-types",
    "--import",
    fileURLToPath(new URL("support/imports.ts", import.meta.url)),
    "--input-type=module",
    "--eval",
    `await import("${entry}");${then}`
  ], { cwd: root, encoding: "utf8" }))

const none: Loaded = { modules: 0, bytes: 0 }

const entries = Object.keys(
  (JSON.parse(readFileSync(`${root}/package.json`, "utf8")) as { exports: Record<string, unknown> }).exports
).filter((name) => !name.endsWith(".json")).map((name) => name.replace(/^\./, "watertight"))

describe.skipIf(registerHooks === undefined)("what an entry point loads (module hooks need Node 22.15)", () => {
  it("is known of every one", () => {
    assert.deepStrictEqual(Object.keys(budgets).sort(), [...entries].sort())
  })

  for (const [entry, budget] of Object.entries(budgets)) {
    it(entry, () => {
      const { effect = none, watertight = none, ...others } = load(entry)
      const found: Budget = {
        kilobytes: Math.ceil(watertight.bytes / 1000),
        effect: effect.modules,
        driver: Object.values(others).reduce((sum, { modules }) => sum + modules, 0)
      }
      for (const key of ["kilobytes", "effect", "driver"] as const) {
        assert.isAtMost(found[key], budget[key], `${key} of ${JSON.stringify(found)}`)
      }
    })
  }

  it("is no module of Node that only TLS and passwords need", () => {
    load(
      "watertight/postgres",
      `
      const names = ["tls", "crypto", "fs/promises"].filter((name) =>
        process.moduleLoadList.includes("NativeModule " + name)
      )
      if (names.length > 0) throw new Error(names.join())`
    )
  })
})
