/** `docs/pool.md` and `docs/monitoring` are held against the sources and against a scrape of a running pool. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as fs from "node:fs"
import { Adapter, Breaker, Pool } from "watertight"
import { Postgres } from "watertight/postgres"
import { freshDatabase } from "../../support/index.ts"
import { parse, scrape } from "./support.ts"
import { parseYaml } from "./yaml.ts"

const read = (file: string): string => fs.readFileSync(new URL(`../../../${file}`, import.meta.url), "utf8")

const page = read("docs/pool.md")

/** The rows of the table whose first column has this title. */
const table = (title: string): ReadonlyArray<ReadonlyArray<string>> => {
  const lines = page.split("\n")
  const start = lines.findIndex((line) => new RegExp(`^\\| ${title} +\\|`).test(line))
  assert.isAtLeast(start, 0, title)
  const rows: Array<ReadonlyArray<string>> = []
  for (let i = start + 2; lines[i]?.startsWith("|"); i++) {
    rows.push(lines[i]!.slice(1, -1).split("|").map((cell) => cell.trim()))
  }
  return rows
}

/** What stands in backticks. */
const codes = (text: string): ReadonlyArray<string> => Array.from(text.matchAll(/`([^`]+)`/g), (match) => match[1]!)

/** The members of a union of string literals or of tagged objects. */
const members = (file: string, type: string): ReadonlyArray<string> => {
  const source = read(file)
  const start = source.indexOf(`export type ${type}`)
  assert.isAtLeast(start, 0, type)
  const end = /\n(?:\/\*\*|export|const|class|interface)/.exec(source.slice(start + 1))
  const body = source.slice(start, end === null ? undefined : start + 1 + end.index)
  const tags = Array.from(body.matchAll(/_tag: "(\w+)"/g), (match) => match[1]!)
  return tags.length > 0 ? tags : Array.from(body.matchAll(/^ {2}\| "(\w+)"/gm), (match) => match[1]!)
}

describe("docs/pool.md", () => {
  for (const [title, type] of [["option", "Options"], ["scaling option", "ScalingOptions"]] as const) {
    it(`lists every ${title} with the default that the sources name`, () => {
      const source = new RegExp(`\\nexport interface ${type} \\{\\n([\\s\\S]*?)\\n\\}\\n`).exec(
        read("src/pool/PoolOptions.ts")
      )![1]!
      const options = new Map<string, string>()
      for (const [, comment, name] of source.matchAll(/\/\*\*([\s\S]*?)\*\/\s+readonly (\w+)\?/g)) {
        options.set(name!, comment!.replace(/\s*\n\s*\* ?/g, " "))
      }
      const rows = table(title)
      assert.deepStrictEqual(rows.map(([name]) => codes(name!)[0]), Array.from(options.keys()))
      for (const [name, value] of rows) {
        const comment = options.get(codes(name!)[0]!)!
        const named = /Default: (.+?)[.,:;](?:\s|$)/.exec(comment)?.[1] ??
          /(`[^`]+`) \(the default\)/.exec(comment)?.[1]
        assert.strictEqual(value, named, name)
      }
    })
  }

  it("lists every preset with what it sets", () => {
    const source = read("src/pool/Pool.ts")
    const presets = Array.from(
      source.matchAll(/\nexport const (\w+): Options = \{ (.+?) \}\n/g),
      ([, name, sets]) => [`Pool.${name}`, sets]
    )
    assert.isAbove(presets.length, 2)
    assert.deepStrictEqual(table("preset").map(([name, , sets]) => [codes(name!)[0], codes(sets!)[0]]), presets)
  })

  it("lists every event, every reason to close a connection, and every reason of health", () => {
    assert.sameMembers(
      table("event").flatMap(([name]) => codes(name!)),
      Array.from(members("src/pool/state/PoolEvent.ts", "PoolEvent"))
    )
    const closed = /closed for one of these reasons: (.+)\n/.exec(page)![1]!
    assert.sameMembers(Array.from(codes(closed)), Array.from(members("src/pool/state/PoolEvent.ts", "CloseReason")))
    const health = Array.from(read("src/pool/Health.ts").matchAll(/^ {4}\| "(\w+)"/gm), (match) => match[1]!)
    assert.sameMembers(table("reason").map(([name]) => codes(name!)[0]!), health)
  })

  it("says what to do about every error of the pool and every alert", () => {
    const symptoms = table("symptom").map(([symptom]) => symptom!).join("\n")
    const errors = Array.from(
      read("src/pool/PoolError.ts").matchAll(/export class (\w+) extends Data\.TaggedClass/g),
      (match) => match[1]!
    )
    assert.isAbove(errors.length, 4)
    for (const error of errors) assert.include(symptoms, `\`${error}\``)
    for (const { alert } of rules()) assert.include(symptoms, `\`${alert}\``)
  })

  it("lists every metric with its instrument and unit", () => {
    const source = read("src/pool/telemetry/PoolMetrics.ts") + read("src/pool/telemetry/Operations.ts")
    const names = Array.from(
      new Set(
        Array.from(source.matchAll(/"((?:db\.client|watertight\.pool)\.[\w.]+)"/g), (match) => match[1]!)
      )
    ).filter((name) => !/pool\.(name|reason)$|connection\.state$|wait_time_ms$/.test(name))
    const rows = table("metric")
    assert.sameMembers(rows.map(([name]) => codes(name!)[0]!), names)
  })
})

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly description: string }
}

const rules = (): ReadonlyArray<Rule> => {
  const file = parseYaml(read("docs/monitoring/alerts.yaml")) as {
    readonly groups: ReadonlyArray<{ readonly name: string; readonly rules: ReadonlyArray<Rule> }>
  }
  return file.groups.flatMap(({ rules }) => rules)
}

interface Dashboard {
  readonly title: string
  readonly templating: { readonly list: ReadonlyArray<{ readonly query: string | { readonly query: string } }> }
  readonly panels: ReadonlyArray<{
    readonly id: number
    readonly type: string
    readonly title: string
    readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number }
    readonly targets?: ReadonlyArray<{ readonly expr: string; readonly legendFormat: string }>
  }>
}

const dashboard = (): Dashboard => JSON.parse(read("docs/monitoring/dashboard.json"))

const functions = new Set([
  ...["sum", "max", "min", "avg", "count", "by", "rate", "increase", "histogram_quantile"],
  ...["label_values", "and", "or", "unless", "bool"]
])

/** Which metrics an expression names with which labels, and which labels it groups by. Throws if it is not well formed. */
const understand = (expr: string) => {
  const open: Array<string> = []
  const closing: Record<string, string> = { ")": "(", "]": "[", "}": "{" }
  const bare = expr.replace(/"(?:[^"\\]|\\.)*"/g, "\"\"")
  for (const char of bare) {
    if ("([{".includes(char)) open.push(char)
    else if (char in closing && open.pop() !== closing[char]) throw new Error(`Not balanced: ${expr}`)
  }
  if (open.length > 0) throw new Error(`Not balanced: ${expr}`)
  for (const [, range] of bare.matchAll(/\[([^\]]*)\]/g)) {
    if (!/^(?:\d+[smhd]|\$__rate_interval)$/.test(range!)) throw new Error(`No range: ${range}`)
  }
  const groups = Array.from(
    bare.matchAll(/\bby \(([^)]*)\)/g),
    (match) => match[1]!.split(",").map((name) => name.trim())
  )
  const metrics: Array<{ readonly name: string; readonly labels: ReadonlyArray<readonly [string, string, string]> }> =
    []
  const words = expr.replace(/\bby \([^)]*\)/g, "").replace(/\[[^\]]*\]/g, "")
  for (const [, name, labels] of words.matchAll(/([a-zA-Z_]\w*)(?:\s*\{([^}]*)\})?(?![^{]*\})/g)) {
    if (functions.has(name!)) continue
    metrics.push({
      name: name!,
      labels: Array.from(
        (labels ?? "").matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g),
        ([, name, operator, value]) => [name!, operator!, value!] as const
      )
    })
  }
  return { groups, metrics }
}

/** A scrape of a process with a pool, a cluster and a breaker that have seen something. */
const running = Effect.gen(function*() {
  const url = Redacted.make(yield* freshDatabase())
  const { hostname, port } = new URL(Redacted.value(url))
  yield* Layer.build(Layer.fresh(Postgres.layer({ url, nodes: [{ host: hostname, port: Number(port) }] })))
  const context = yield* Layer.build(Postgres.layer({ url }))
  yield* Effect.provide(
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`select 1`
      yield* Effect.exit(sql`select nothing`)
      yield* Breaker.make(yield* Adapter.Adapter)
      yield* Pool.Pool
    }),
    context
  )
  return parse(yield* scrape).samples
})

describe("docs/monitoring", () => {
  it("the expressions of PromQL are understood by the test", () => {
    assert.deepStrictEqual(understand("sum by (a, le) (rate(x_bucket{b=\"c\",d!=\"\"}[5m])) > 0.05"), {
      groups: [["a", "le"]],
      metrics: [{ name: "x_bucket", labels: [["b", "=", "c"], ["d", "!=", ""]] }]
    })
    assert.throws(() => understand("sum(rate(x[5m])"))
    assert.throws(() => understand("rate(x[five minutes])"))
  })

  it.live(
    "every metric, label and value that they name is one that a running pool shows",
    () =>
      Effect.gen(function*() {
        const samples = yield* running
        const expressions = [
          ...rules().map(({ alert, expr }) => [alert, expr] as const),
          ...dashboard().panels.flatMap(({ targets, title }) =>
            (targets ?? []).map(({ expr }) => [title, expr] as const)
          )
        ]
        assert.isAbove(expressions.length, 40)
        for (const [where, expr] of expressions) {
          const { groups, metrics } = understand(expr)
          assert.isAbove(metrics.length, 0, where)
          for (const { labels, name } of metrics) {
            const found = samples.filter((sample) => sample.name === name)
            assert.isAbove(found.length, 0, `${where}: ${name}`)
            for (const [label, operator, value] of labels) {
              assert.isTrue(found.some((sample) => label in sample.labels), `${where}: ${name}{${label}}`)
              if (operator !== "=") continue
              assert.isTrue(found.some((sample) => sample.labels[label] === value), `${where}: ${label}="${value}"`)
            }
          }
          for (const label of groups.flat()) {
            assert.isTrue(
              samples.some((sample) => metrics.some(({ name }) => name === sample.name) && label in sample.labels),
              `${where}: by (${label})`
            )
          }
        }
      }),
    60_000
  )

  it.live("between them they use every metric of the pool", () =>
    Effect.gen(function*() {
      const shown = new Set(
        (yield* running)
          .map(({ name }) => name.replace(/_(bucket|sum|count)$/, ""))
          .filter((name) => /^(db_client|watertight_pool)_/.test(name))
      )
      const text = JSON.stringify([rules(), dashboard()])
      // The limits of idle connections are `max` and `min`: constants.
      for (const name of shown) if (!name.includes("_idle_")) assert.include(text, name)
    }), 60_000)

  it("the alerts have all that Prometheus wants, and variables that their result has", () => {
    const names = rules().map(({ alert }) => alert)
    assert.strictEqual(new Set(names).size, names.length)
    for (const rule of rules()) {
      assert.match(rule.alert, /^Database[A-Z]\w+$/)
      assert.include(["critical", "warning", "info"], rule.labels.severity, rule.alert)
      if (rule.for !== undefined) assert.match(rule.for, /^\d+[smh]$/)
      const { groups } = understand(rule.expr)
      const labels = new Set(groups.flat())
      for (const text of [rule.annotations.summary, rule.annotations.description]) {
        for (const [, label] of text.matchAll(/\$labels\.(\w+)/g)) assert.isTrue(labels.has(label!), rule.alert)
      }
    }
  })

  it("the dashboard has panels with titles that do not overlap", () => {
    const { panels, templating } = dashboard()
    assert.deepStrictEqual(Array.from(new Set(panels.map(({ id }) => id))), panels.map(({ id }) => id))
    for (const [i, a] of panels.entries()) {
      assert.isNotEmpty(a.title)
      assert.isAtMost(a.gridPos.x + a.gridPos.w, 24, a.title)
      for (const b of panels.slice(i + 1)) {
        const apart = a.gridPos.x + a.gridPos.w <= b.gridPos.x || b.gridPos.x + b.gridPos.w <= a.gridPos.x ||
          a.gridPos.y + a.gridPos.h <= b.gridPos.y || b.gridPos.y + b.gridPos.h <= a.gridPos.y
        assert.isTrue(apart, `${a.title} and ${b.title}`)
      }
    }
    assert.deepStrictEqual(
      templating.list.map(({ query }) => typeof query === "string" ? query : query.query),
      ["prometheus", "label_values(db_client_connection_max, db_client_connection_pool_name)"]
    )
    assert.include(page, "Busy connections")
    for (const title of ["Busy connections", "Held for", "Duration of statements"]) {
      assert.isTrue(panels.some((panel) => panel.title === title), title)
    }
  })
})
