/** Tables for people: on a terminal, and in Markdown. */
import type { Column } from "../harness/model.ts"
import { type CaseResult, type Row, rowsOf } from "./results.ts"

/** A number as people read it, with three digits that count. */
export const format = (value: number | undefined, how: Column["format"]): string => {
  if (value === undefined || !Number.isFinite(value)) return "–"
  switch (how) {
    case "rate":
    case "count":
      return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en-US") : digits(value)
    case "ms":
      return `${digits(value)} ms`
    case "us":
      return `${digits(value)} µs`
    case "seconds":
      return `${digits(value)} s`
    case "bytes":
      return value >= 2 ** 20
        ? `${digits(value / 2 ** 20)} MiB`
        : value >= 10 * 2 ** 10
        ? `${digits(value / 2 ** 10)} KiB`
        : `${digits(value)} B`
  }
}

const digits = (value: number): string =>
  value === 0 ? "0" : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

const ratio = (value: number | undefined): string => value === undefined ? "–" : `${digits(value)}×`

const signed = (value: number | undefined, how: Column["format"]): string =>
  value === undefined ? "–" : value < 0 ? `−${format(-value, how)}` : `+${format(value, how)}`

/** The cells of a table: the header, and then a line for each candidate. */
export const cells = (result: CaseResult): { readonly header: Array<string>; readonly lines: Array<Array<string>> } => {
  const [main, ...others] = result.columns
  const hasLimit = result.limit !== undefined
  return {
    header: [
      "candidate",
      main.label,
      "best",
      "spread",
      "ratio",
      ...(hasLimit ? ["of the limit"] : []),
      ...(result.difference ? ["more"] : []),
      ...others.map(({ label }) => label)
    ],
    lines: rowsOf(result).map((row) => [
      labelOf(row, result),
      ...(row.values[main.key] === undefined ? [row.failure ?? "not measured"] : [
        format(row.values[main.key], main.format),
        format(row.best, main.format),
        `${Math.round(row.spread * 100)} %`,
        row.id === result.reference ? "1" : ratio(row.toReference),
        ...(hasLimit ? [row.id === result.limit ? "1" : ratio(row.toLimit)] : []),
        ...(result.difference ? [row.id === result.reference ? "–" : signed(row.more, main.format)] : []),
        ...others.map(({ format: how, key }) => format(row.values[key], how))
      ])
    ])
  }
}

const labelOf = (row: Row, result: CaseResult): string =>
  row.id === result.limit
    ? `${row.label} (limit)`
    : row.id === result.reference
    ? `${row.label} (reference)`
    : row.beside
    ? `${row.label} (for orientation)`
    : row.label

/** For a terminal. */
export const text = (result: CaseResult): string => {
  const { header, lines } = cells(result)
  const widths = header.map((title, column) =>
    Math.max(title.length, ...lines.filter((line) => line.length > 2).map((line) => line[column]?.length ?? 0))
  )
  widths[0] = Math.max(widths[0]!, ...lines.map((line) => line[0]!.length))
  const line = (parts: ReadonlyArray<string>) =>
    parts.length === 2
      ? `  ${parts[0]!.padEnd(widths[0]!)}  ${parts[1]}`
      : "  " + parts.map((part, column) => column === 0 ? part.padEnd(widths[0]!) : part.padStart(widths[column]!))
        .join("  ")
  return [
    result.title,
    line(header),
    "  " + "─".repeat(widths.reduce((sum, width) => sum + width + 2, -2)),
    ...lines.map(line),
    ...(result.note === undefined ? [] : [`  ${result.note}`])
  ].join("\n")
}

/** For a document. */
export const markdown = (result: CaseResult): string => {
  const { header, lines } = cells(result)
  const line = (parts: ReadonlyArray<string>) =>
    `| ${[...parts, ...Array.from({ length: header.length - parts.length }, () => "")].join(" | ")} |`
  return [
    line(header),
    `| --- |${" ---: |".repeat(header.length - 1)}`,
    ...lines.map((parts) => line(parts[0]!.startsWith("Watertight") ? [`**${parts[0]}**`, ...parts.slice(1)] : parts)),
    ...(result.note === undefined ? [] : ["", result.note])
  ].join("\n")
}
