/** A snapshot as the lines of a screen. */
import type { DatabaseSnapshot, Snapshot } from "../../monitor/Snapshot.ts"

/** How texts are set off, where there are colours. */
export type Paint = (color: "red" | "green" | "yellow" | "dim" | "bold", text: string) => string

export interface Size {
  readonly columns: number
  readonly rows: number
}

const millis = (value: number): string =>
  value < 10 ? `${value.toFixed(1)} ms` : value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`

/** What could move the cursor or hide something is shown as what it is. */
const plain = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}]/gu, "\u00b7")

const cut = (text: string, columns: number): string => {
  const letters = [...plain(text)]
  return letters.length <= columns ? letters.join("") : `${letters.slice(0, Math.max(0, columns - 1)).join("")}…`
}

/** One line for programs without a terminal. */
export const line = ({ at, databases }: Snapshot): string =>
  databases.map(({ breaker, health, name, pool, repeated }) =>
    plain(
      `${
        new Date(at).toISOString()
      } ${name} ${health.status} total=${pool.total} used=${pool.used} idle=${pool.idle} ` +
        `waiting=${pool.waiting} breaker=${breaker ?? "none"} repeated=${repeated}`
    )
  ).join("\n")

/** The screen. No line is longer than the terminal is wide, and there are no more than it has. */
export const screen = (snapshot: Snapshot, { columns, rows }: Size, paint: Paint): ReadonlyArray<string> => {
  const room = Math.max(4, Math.floor((rows - 2) / Math.max(1, snapshot.databases.length)))
  const { node, pid, uptimeSeconds } = snapshot.process
  return [
    paint("dim", cut(`process ${pid}, up for ${uptimeSeconds} s, Node ${node}      q quits`, columns)),
    ...snapshot.databases.flatMap((database) => section(database, columns, room, paint))
  ].slice(0, rows)
}

const section = (
  database: DatabaseSnapshot,
  columns: number,
  rows: number,
  paint: Paint
): ReadonlyArray<string> => {
  const head = summary(database, columns, paint)
  const tables = [nodes(database), waiters(database), holders(database), statements(database), happenings(database)]
    .filter(({ body }) => body.length > 0)
  // The rows are shared out: what needs less leaves more for the others.
  let left = rows - head.length - tables.length * 2
  return [
    ...head,
    ...tables.flatMap(({ body, title }, index) => {
      const share = Math.max(0, Math.min(body.length, Math.ceil(left / (tables.length - index))))
      left -= share
      return share === 0
        ? []
        : ["", paint("bold", cut(title, columns)), ...body.slice(0, share).map((text) => cut(text, columns))]
    })
  ]
}

const colors = { Healthy: "green", Degraded: "yellow" } as const

const summary = (database: DatabaseSnapshot, columns: number, paint: Paint): ReadonlyArray<string> => {
  const { breaker, cache, health, lostCommits, name, pool, repeated } = database
  const lost = lostCommits.applied + lostCommits.notApplied + lostCommits.unknown
  const status = paint(colors[health.status as keyof typeof colors] ?? "red", health.status)
  const filled = Math.round(20 * pool.used / Math.max(1, pool.effectiveMax))
  return [
    `${paint("bold", cut(name, columns - health.status.length - 2))}  ${status}`,
    cut(
      `connections [${"#".repeat(Math.min(20, filled))}${".".repeat(Math.max(0, 20 - filled))}] ` +
        `${pool.used} in use, ${pool.idle} idle, ${pool.connecting} opening, at most ${pool.effectiveMax}; ` +
        `${pool.waiting} waiting`,
      columns
    ),
    cut(
      `wait p95 ${millis(pool.wait.recent.p95)}, statement p95 ${millis(pool.query.recent.p95)}; ` +
        `breaker ${breaker ?? "none"}; ${repeated} repeated; COMMITs lost ${lost}` +
        `${
          lost === 0
            ? ""
            : ` (${lostCommits.applied} applied, ${lostCommits.notApplied} not, ${lostCommits.unknown} unknown)`
        }`,
      columns
    ),
    ...Object.keys(cache).length === 0
      ? []
      : [cut(`cache ${Object.entries(cache).map(([name, count]) => `${name} ${count}`).join(", ")}`, columns)],
    ...health.reasons.map((reason) => paint("red", cut(reason, columns)))
  ]
}

interface Table {
  readonly title: string
  readonly body: ReadonlyArray<string>
}

const nodes = ({ nodes }: DatabaseSnapshot): Table => ({
  title: "        for  connections  waiting       stale  node",
  body: (nodes ?? []).map((one) =>
    [
      millis(one.forMillis).padStart(11),
      `${one.used} of ${one.total}`.padStart(12),
      String(one.waiting).padStart(8),
      (one.status === "Primary" ? "-" : one.staleMillis === undefined ? "unknown" : millis(one.staleMillis)).padStart(
        11
      )
    ].join(" ") + `  ${one.name} ${one.status}${one.why === undefined ? "" : `: ${one.why}`}`
  )
})

const waiters = ({ activity, pool }: DatabaseSnapshot): Table => ({
  title: `who waits: ${why(pool)}`,
  body: activity.waiters.map((one) =>
    `${millis(one.waitedMillis).padStart(8)}  ${one.span ?? "-"}  fiber ${one.fiberId}`
  )
})

/** Why there is no connection for them. */
const why = (pool: DatabaseSnapshot["pool"]): string =>
  pool.outageMillis > 0
    ? `no connection could be opened for ${millis(pool.outageMillis)}`
    : pool.used >= pool.effectiveMax
    ? "all connections are in use"
    : pool.connecting > 0
    ? "connections are being opened"
    : "their turn comes"

const holders = ({ activity }: DatabaseSnapshot): Table => ({
  title: "who has a connection",
  body: activity.holders.map((one) =>
    `${millis(one.heldMillis).padStart(8)}  ${one.span ?? "-"}  fiber ${one.fiberId}, session ${one.connectionId}${
      one.isLeakSuspected === true ? ", held for too long" : ""
    }`
  )
})

const statements = ({ statements }: DatabaseSnapshot): Table => ({
  title: "   total    count     mean  longest  failed  statement",
  body: (statements ?? []).map((one) =>
    [millis(one.totalMillis), String(one.count), millis(one.totalMillis / one.count), millis(one.maxMillis)]
      .map((text) => text.padStart(8)).join(" ") + ` ${String(one.failed).padStart(7)}  ${one.form}`
  )
})

const happenings = ({ happenings }: DatabaseSnapshot): Table => ({
  title: "what happened",
  body: happenings.map(({ at, count, what }) =>
    `${new Date(at).toISOString().slice(11, 19)}  ${what}${count > 1 ? `, ${count} times` : ""}`
  )
})
