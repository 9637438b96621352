/** Until when versions get corrections, and what runs here. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { type Line, ok, problem, warning } from "./Check.ts"

/** The last day, as the makers have announced it. */
const ends: Readonly<Record<string, string>> = {
  "PostgreSQL 11": "2023-11-09",
  "PostgreSQL 12": "2024-11-21",
  "PostgreSQL 13": "2025-11-13",
  "PostgreSQL 14": "2026-11-12",
  "PostgreSQL 15": "2027-11-11",
  "PostgreSQL 16": "2028-11-09",
  "PostgreSQL 17": "2029-11-08",
  "PostgreSQL 18": "2030-11-14",
  "MySQL 5.7": "2023-10-31",
  "MySQL 8.0": "2026-04-30",
  "MySQL 8.4": "2032-04-30",
  "MariaDB 10.4": "2024-06-18",
  "MariaDB 10.5": "2025-06-24",
  "MariaDB 10.6": "2026-07-06",
  "MariaDB 10.11": "2028-02-16",
  "MariaDB 11.4": "2029-05-29",
  "MariaDB 11.8": "2028-06-04"
}

/** A server, and whether it still gets corrections. */
export const serverVersion = Effect.fnUntraced(function*(product: string, version: string): Effect.fn.Return<Line> {
  const [major = "", minor = ""] = version.split(".")
  const series = `${product} ${product === "PostgreSQL" ? major : `${major}.${minor}`}`
  const end = ends[series]
  const today = DateTime.formatIso(yield* DateTime.now).slice(0, 10)
  const found = `${product} ${version}`
  if (end === undefined) return ok("server", found)
  return end < today
    ? problem("server", `${found}, without corrections since ${end}`, "upgrade it")
    : ok("server", `${found}, with corrections until ${end}`)
})

/** What runs here. */
export const ownVersions = (driver: string): Line => {
  const versions = ["effect", driver].map((name) => [name, versionOf(name)] as const)
  const own = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
    readonly version: string
    readonly peerDependencies: Readonly<Record<string, string>>
  }
  const found = [["watertight", own.version] as const, ...versions, ["Node", process.versions.node] as const]
    .map(([name, version]) => `${name} ${version ?? "not found"}`).join(", ")
  const older = versions.filter(([name, version]) =>
    version !== undefined && !satisfies(version, own.peerDependencies[name] ?? "")
  )
  return older.length === 0
    ? ok("versions", found)
    : warning(
      "versions",
      found,
      `npm install ${older.map(([name]) => `${name}@${own.peerDependencies[name]}`).join(" ")}`
    )
}

const versionOf = (name: string): string | undefined => {
  try {
    const require = createRequire(import.meta.url)
    const folders = require.resolve.paths(name) ?? []
    for (const folder of folders) {
      try {
        return (JSON.parse(readFileSync(`${folder}/${name}/package.json`, "utf8")) as { readonly version: string })
          .version
      } catch {
        // The next folder may have it.
      }
    }
    return undefined
  } catch {
    return undefined
  }
}

/** Whether a version is of the same major one and not older, as `^1.2.3` says. */
const satisfies = (version: string, range: string): boolean => {
  const wanted = /^\^(\d+)\.(\d+)\.(\d+)/.exec(range)
  const given = /^(\d+)\.(\d+)\.(\d+)/.exec(version)
  if (wanted === null || given === null) return true
  const [major, minor, patch] = [1, 2, 3].map((part) => Number(given[part]) - Number(wanted[part])) as [
    number,
    number,
    number
  ]
  return major === 0 && (minor > 0 || minor === 0 && patch >= 0)
}
