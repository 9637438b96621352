/** The demo, shortly: it ends well, and is read without colours. */
import { assert, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { describeWith, postgresUrl } from "../support/index.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

describeWith("url-postgresql")("the demo", () => {
  it("shows that nothing is lost, doubled or failed, and what happens with pg", { timeout: 120_000 }, () => {
    const url = new URL(postgresUrl())
    const output = execFileSync(
      process.execPath,
      ["--conditions=watertight-source", "examples/demo.ts", "quick"],
      { cwd: root, encoding: "utf8", env: { ...process.env, DATABASE_URL: url.href }, timeout: 110_000 }
    )
    assert.notInclude(output, "\u001b")
    const [commits, restart, crowd] = output.split(/\n(?=The |A )/).slice(1)
    assert.match(commits!, /booked twice +[1-9]\d* {2}✗ +0/)
    assert.match(commits!, /lost +0 +0/)
    for (const scene of [commits!, restart!]) {
      assert.match(scene, /told that it failed +\d+(?: {2}✗)? +0\n/)
      assert.match(scene, /booked twice +\d+(?: {2}✗)? +0\n/)
      assert.match(scene, /lost +\d+(?: {2}✗)? +0\n/)
    }
    assert.match(crowd!, /failed +\S.* +0\n/)
  })
})
