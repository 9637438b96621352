/** The tables of `docs/values.md`, which are made of what the round trip has found, and the types that other pages name. */
import { assert } from "@effect/vitest"
import * as fs from "node:fs"
import type { Result, Tally } from "./check.ts"
import { kinds } from "./kinds.ts"

const pageAt = (name: string): URL => new URL(`../../../docs/${name}`, import.meta.url)

/** Set to write the tables anew. */
const isUpdate = (process.env["WATERTIGHT_UPDATE_DOCS"] ?? "") !== ""

/** Other seeds find other values, and perhaps another mixture of outcomes. */
const isFixed = process.env["WATERTIGHT_TEST_SEED"] === undefined

const signs = [["kept", "="], ["rounded", "≈"], ["converted", "→"], ["refused", "×"], ["by the server", "×"]] as const

const signsOf = (tally: Tally): string =>
  [...new Set(signs.flatMap(([outcome, sign]) => tally.has(outcome) ? [sign] : []))].join("")

const merge = (tallies: ReadonlyArray<Tally>): Tally => new Map(tallies.flatMap((tally) => [...tally]))

/** One cell: what becomes of it as a parameter, and behind a slash where the type is named, if that is not the same. */
const cellOf = (results: ReadonlyArray<Result>, kind: string, type: string): string => {
  const found = results.filter((result) => result.kind === kind && result.type === type)
  const open = signsOf(merge(found.map((result) => result.open)))
  const typed = signsOf(merge(found.map((result) => result.typed)))
  return typed === open ? open : `${open} / ${typed}`
}

const tableOf = (results: ReadonlyArray<Result>, types: ReadonlyArray<string>): string => {
  const rows = [
    ["", ...types.map((type) => `\`${type}\``)],
    ...kinds.map(({ name }) => [name, ...types.map((type) => cellOf(results, name, type))])
  ]
  // As the formatter of the project aligns them.
  const widths = rows[0]!.map((_, column) => Math.max(3, ...rows.map((row) => row[column]!.length)))
  const line = (cells: ReadonlyArray<string>) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`
  return [line(rows[0]!), line(widths.map((width) => "-".repeat(width))), ...rows.slice(1).map(line)].join("\n")
}

/** Compares the table behind a heading with what was found, or writes it. */
export const checkTable = (
  heading: string,
  results: ReadonlyArray<Result>,
  types: ReadonlyArray<string>,
  part: (table: string) => unknown = (table) => table
): void => {
  if (!isFixed) return
  const url = pageAt("values.md")
  const page = fs.readFileSync(url, "utf8")
  const start = page.indexOf(`\n${heading}\n`)
  assert.isAbove(start, -1, heading)
  const from = page.indexOf("\n|", start) + 1
  const to = page.indexOf("\n\n", from)
  const table = tableOf(results, types)
  if (isUpdate) return fs.writeFileSync(url, `${page.slice(0, from)}${table}${page.slice(to)}`)
  assert.deepStrictEqual(
    part(page.slice(from, to)),
    part(table),
    "WATERTIGHT_UPDATE_DOCS=1 writes the tables of docs/values.md anew"
  )
}

/** The kinds of values and the columns of a table, without its signs. */
export const outlineOf = (table: string): ReadonlyArray<string> => {
  const lines = table.split("\n")
  const cells = (line: string) => line.split("|").map((cell) => cell.trim())
  return [...cells(lines[0]!), ...lines.slice(2).map((line) => cells(line)[1]!)]
}

/** What a value is in TypeScript, as the pages name it. */
export const typeNameOf = (value: unknown): string =>
  value === null
    ? "null"
    : value instanceof Date
    ? "Date"
    : value instanceof Uint8Array
    ? "Uint8Array"
    : Array.isArray(value)
    ? "array"
    : typeof value

/** The cell of the page's table of types that says what a column is in TypeScript. */
export const documentedType = (page: string, type: string): string | undefined =>
  fs.readFileSync(pageAt(page), "utf8").split("\n").flatMap((line) => {
    const [, column, cell] = line.split("|")
    const names = column === undefined ? [] : [...column.matchAll(/`([^`]+)`/g)].map((match) => match[1])
    return names.includes(type) && cell !== undefined ? [cell] : []
  })[0]

/** Fails for what the page says is read as something else. */
export const checkRead = (page: string, type: string, values: Iterable<unknown>): void => {
  const cell = documentedType(page, type)
  assert.isDefined(cell, `${page} does not say what \`${type}\` is`)
  for (const value of values) {
    const name = typeNameOf(value)
    const isSaid = name === "null" || cell!.includes(`\`${name}\``) ||
      name === "array" && /array/.test(cell!) || name === "object" && /object|\{/.test(cell!) ||
      /parsed|what it is made of/.test(cell!) || name === "number" && /infinities|Infinity/.test(cell!)
    assert.isTrue(isSaid, `${page}: \`${type}\` is read as ${name}, and the page says${cell}`)
  }
}
