/**
 * `npm run docs`: a site in `site/`, of the API and of the pages, that works when it is opened from a file. Fails for a
 * link that leads nowhere.
 *
 * The program that makes it needs an older compiler than the project, so it is kept in a folder of its own.
 */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const root = path.resolve(import.meta.dirname, "..")
const out = path.join(root, "site")
const packages = ["typedoc@0.28.20", "typescript@6.0.3"]

/** The folder with the program; it is fetched once. */
const program = (): string => {
  const cache = process.env["WATERTIGHT_TEST_CACHE"] ?? path.join(os.homedir(), ".cache/watertight-test")
  const folder = path.join(cache, packages.join("-"))
  const file = path.join(folder, "node_modules/typedoc/bin/typedoc")
  if (!fs.existsSync(file)) {
    fs.mkdirSync(folder, { recursive: true })
    const install = ["install", "--prefix", folder, "--no-save", "--no-audit", "--no-fund", ...packages]
    execFileSync("npm", install, { cwd: folder, stdio: "inherit" })
  }
  return file
}

/** What a page has: where its links lead, and where links to it may lead. */
const read = (file: string) => {
  const text = fs.readFileSync(file, "utf8")
  const decode = (value: string) => decodeURIComponent(value.replaceAll("&amp;", "&"))
  return {
    links: Array.from(
      text.matchAll(/<(?:a|link|script|img)\b[^>]*?\s(?:href|src)="([^"]*)"/g),
      ([, to]) => decode(to!)
    ),
    ids: new Set(Array.from(text.matchAll(/\sid="([^"]*)"/g), ([, id]) => decode(id!)))
  }
}

/** The links that lead nowhere. */
const deadLinks = (folder: string): ReadonlyArray<string> => {
  const files = fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".html"))
  const pages = new Map(files.map((name) => [path.join(folder, name), read(path.join(folder, name))]))
  return [...pages].flatMap(([file, { links }]) =>
    links.filter((link) => !/^(?:[a-z]+:|\/\/)/i.test(link)).flatMap((link) => {
      const [to, anchor] = link.split("#") as [string, string | undefined]
      const target = to === "" ? file : path.resolve(path.dirname(file), to)
      if (!fs.existsSync(target)) return [`${path.relative(folder, file)}: ${link} does not exist`]
      const ids = pages.get(target)?.ids
      return anchor === undefined || anchor === "" || ids === undefined || ids.has(anchor)
        ? []
        : [`${path.relative(folder, file)}: ${link} has no such place`]
    })
  )
}

fs.rmSync(out, { recursive: true, force: true })
execFileSync(process.execPath, [program(), "--out", out], { cwd: root, stdio: "inherit" })
const dead = deadLinks(out)
for (const each of dead) console.error(each)
console.log(`${out}/index.html, ${dead.length} dead links`)
process.exitCode = dead.length === 0 ? 0 : 1
