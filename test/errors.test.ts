/** `docs/errors.md` names every tag of an error that the library can give. */
import { assert, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const page = fs.readFileSync(path.join(root, "docs/errors.md"), "utf8")

const files = (folder: string): ReadonlyArray<string> =>
  fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))

/** Wrappers whose reasons are listed instead of them, and parts that have a page of their own. */
const elsewhere = new Set(["TransactionError", "PoolError", "BreakerError"])
const pages = ["migrations", "cli"]

it("every tagged error of the sources stands in docs/errors.md", () => {
  const folder = path.join(root, "src")
  const missing: Array<string> = []
  for (const file of files(folder)) {
    if (pages.includes(file.split(path.sep)[0]!)) continue
    const text = fs.readFileSync(path.join(folder, file), "utf8")
    for (const [, tag] of text.matchAll(/export class \w+ extends Data\.Tagged(?:Error|Class)\("(\w+)"\)/g)) {
      if (!elsewhere.has(tag!) && !page.includes(`\`${tag}\``)) missing.push(`${tag} (${file})`)
    }
  }
  assert.deepStrictEqual(missing, [])
})

it("every reason of Effect's SqlError stands there too", () => {
  const source = fs.readFileSync(path.join(root, "node_modules/effect/src/sql/SqlError.ts"), "utf8")
  const union = /export const SqlErrorReason[\s\S]*?\]\)/.exec(source)![0]
  const missing = Array.from(union.matchAll(/\b([A-Z]\w+)(?=[,\n])/g), (match) => match[1]!).filter((tag) =>
    !page.includes(`\`${tag}\``)
  )
  assert.deepStrictEqual(missing, [])
})
