/** A bar chart of a table, as SVG that needs no script and is readable on light and on dark ground. */
import { type CaseResult, type Row, rowsOf } from "./results.ts"
import { format } from "./table.ts"

const width = 860
const labels = 300
const numbers = 150
const bar = 18
const gap = 8
const top = 64

const colors = { limit: "#8c8c8c", ours: "#1f7a8c", reference: "#d17a22", peer: "#9fb3c8", beside: "#c9c9c9" }

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\"", "&quot;")

/** One bar for each candidate that was measured, best first. A thin line shows from the worst to the best run. */
export const svg = (result: CaseResult, about: string): string => {
  const [main] = result.columns
  const rows = rowsOf(result).filter((row) => row.values[main.key] !== undefined)
  const runs = new Map(result.outcomes.map(({ id, runs }) => [id, runs.map((run) => run[main.key]!)]))
  const greatest = Math.max(...rows.map((row) => Math.max(row.values[main.key]!, ...runs.get(row.id)!)))
  const scale = (value: number) => Math.round((value / greatest) * (width - labels - numbers) * 10) / 10
  const height = top + rows.length * (bar + gap) + 16

  const colorOf = (row: Row): string =>
    row.beside
      ? colors.beside
      : row.id === result.limit
      ? colors.limit
      : row.label.startsWith("Watertight")
      ? colors.ours
      : row.id === result.reference
      ? colors.reference
      : colors.peer

  const lines = rows.map((row, index) => {
    const y = top + index * (bar + gap)
    const value = row.values[main.key]!
    const measured = runs.get(row.id)!
    const [least, most] = [labels + scale(Math.min(...measured)), labels + scale(Math.max(...measured))]
    const middle = y + bar / 2
    const ratio = row.toReference === undefined || row.id === result.reference
      ? ""
      : ` · ${row.toReference.toFixed(row.toReference >= 10 ? 1 : 2)}×`
    return [
      `<text class="label" x="${labels - 10}" y="${y + 13}" text-anchor="end">${escape(row.label)}</text>`,
      `<rect x="${labels}" y="${y}" width="${Math.max(1, scale(value))}" height="${bar}" rx="2" fill="${
        colorOf(row)
      }"/>`,
      measured.length < 2
        ? ""
        : `<path class="spread" d="M${least} ${middle}H${most}M${least} ${middle - 4}v8M${most} ${middle - 4}v8"/>`,
      `<text class="number" x="${Math.max(labels + scale(value), most) + 8}" y="${y + 13}">${
        escape(format(value, main.format) + ratio)
      }</text>`
    ].join("")
  })

  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${
    escape(result.title)
  }">
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.about, .number { fill: #57606a }
.spread { stroke: #24292f; stroke-opacity: .55; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .about, .number { fill: #9da7b1 }
  .spread { stroke: #e6edf3 }
}
</style>
<text class="title" x="16" y="26">${escape(result.title)}</text>
<text class="about" x="16" y="46">${escape(`${main.label}, ${main.better} is better · ${about}`)}</text>
${lines.join("\n")}
</svg>
`
}
