/** The site that `npm run docs` makes, opened from its file. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import { Browser, describeWith, leftOut } from "../support/index.ts"

const index = path.resolve(import.meta.dirname, "../../site/index.html")
const missing = fs.existsSync(index) ? "" : `${leftOut}npm run docs has not been run`
const describeSite = missing === "" ? describeWith("chromium") : describe.skip

describeSite(`the site${missing}`, () => {
  it.live(
    "opens from a file: pages, the API and the search are there, and nothing goes wrong",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { page, problems } = yield* Browser.open(pathToFileURL(index).href)
        yield* Effect.promise(async () => {
          await page.getByRole("heading", { name: "The first query" }).waitFor()
          const pages = fs.readdirSync(path.resolve(index, "../documents")).filter((name) => name.endsWith(".html"))
          assert.isAbove(pages.length, 15)
          await page.goto(pathToFileURL(path.resolve(index, "../documents/docs_transactions.html")).href)
          await page.getByRole("heading", { name: "Deadlocks" }).first().waitFor()
          await page.goto(pathToFileURL(path.resolve(index, "../modules.html")).href)
          await page.locator("#tsd-search-trigger").click()
          await page.locator("#tsd-search-input").fill("StatementTimeout")
          await page.locator("#tsd-search-results a").first().waitFor()
        })
        // A browser refuses icons from another file, and takes those that a script of the site has.
        assert.deepStrictEqual(problems.filter((problem) => !problem.includes("icons.svg")), [])
      })),
    120_000
  )
})
