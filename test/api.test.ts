/** The public API is what `api/` says. `npm run api` writes it anew. */
import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { makeReports } from "../scripts/apiReport.ts"

const folder = new URL("../api/", import.meta.url)

describe("the API report", () => {
  const reports = makeReports()

  it("each entry point has one, and there are no others", () => {
    assert.sameMembers(fs.readdirSync(folder), Array.from(reports.keys()))
  })

  for (const [name, text] of reports) {
    it(`${name} is up to date (run \`npm run api\` and look at its diff)`, () => {
      assert.strictEqual(fs.readFileSync(new URL(name, folder), "utf8"), text)
    })
  }
})
