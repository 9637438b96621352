/** Each page begins with what it is about: an example, and a list of its parts. */
import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"

const folder = path.resolve(import.meta.dirname, "../../docs")

const pages = fs.readdirSync(folder).filter((name) => name.endsWith(".md"))

/** Pages for those who work on the project, and lists of questions, have no code to begin with. */
const withoutExample = new Set(["architecture.md", "questions.md", "releasing.md", "servers.md", "performance.md"])

/** As the sites that show pages make it from a heading. */
const anchorOf = (heading: string): string =>
  heading.replaceAll("`", "").toLowerCase().replaceAll(/[^\p{L}\p{N}\-_ ]/gu, "").replaceAll(" ", "-")

/** The headings of the second level, without what stands in code. */
const headingsOf = (text: string): ReadonlyArray<string> =>
  text.replaceAll(/^```[\s\S]*?^```/gm, "").match(/^## .*$/gm)?.map((line) => line.slice(3).trim()) ?? []

describe("pages", () => {
  for (const name of pages) {
    it(name, () => {
      const text = fs.readFileSync(path.join(folder, name), "utf8")
      const [beginning] = text.split(/^## /m)
      const listed = [...beginning!.matchAll(/^- \[(.*)\]\(#(.*)\)$/gm)].map(([, title, anchor]) => [title, anchor])
      assert.deepStrictEqual(listed, headingsOf(text).map((heading) => [heading, anchorOf(heading)]))
      // A page about a database begins with how to install its driver.
      const first = beginning!.includes("```") ? beginning : text.split(/^## /m)[1]
      if (!withoutExample.has(name)) assert.include(first, "```")
    })
  }
})
