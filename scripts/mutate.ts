/**
 * Makes one small mistake at a time in a copy of the sources, and tells which mistakes the tests of the module do not
 * notice.
 *
 * ```sh
 * npm run mutate                                # which modules there are, and how many mistakes each has room for
 * npm run mutate -- retry breaker               # all mistakes in these
 * npm run mutate -- pool-state --sample 50      # so many of them, drawn by a seed that is printed
 * npm run mutate -- pool --only Draining        # in the files with this in their names
 * ```
 *
 * A mistake is a condition that is negated, a guard that is left out, a comparison that is off by one, `and` for `or`, a
 * call or an assignment that is left out, a number or a boolean that is another one. One that survives is either a test
 * that is missing, or a line that changes nothing: look at each.
 *
 * The tests run one after another at the lowest priority. The tree itself is not touched.
 */
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { parseArgs } from "node:util"
import { parseAst } from "vite"

interface Module {
  /** Files and folders, without the folders in them. */
  readonly sources: ReadonlyArray<string>
  readonly tests: ReadonlyArray<string>
}

const modules: Readonly<Record<string, Module>> = {
  "pool-state": {
    sources: ["src/pool/state"],
    tests: ["test/pool/state", "test/pool/pools/budget", "test/pool/DeadlockDetector"]
  },
  pool: { sources: ["src/pool"], tests: ["test/pool/Pool", "test/pool/reset", "test/pool/pools/Pools"] },
  retry: { sources: ["src/failure"], tests: ["test/failure/Retry", "test/failure/Outcome", "test/failure/SqlFailure"] },
  breaker: { sources: ["src/breaker"], tests: ["test/breaker"] },
  transaction: {
    sources: ["src/transaction"],
    tests: [
      "test/transaction/Levels",
      "test/transaction/Transaction",
      "test/transaction/commit",
      "test/transaction/limits",
      "test/failure/postgres"
    ]
  },
  "postgres-session": {
    sources: ["src/postgres/session", "src/postgres/exchange"],
    tests: ["test/postgres/session", "test/postgres/wire"]
  },
  "mysql-session": {
    sources: ["src/mysql-family/session", "src/mysql-family/exchange", "src/mysql-family/driver"],
    tests: ["test/mysql-family/session", "test/mysql-family/exchange"]
  },
  listening: { sources: ["src/postgres/listen", "src/postgres/Notifications.ts"], tests: ["test/postgres/listen"] },
  timing: { sources: ["src/timing"], tests: ["test/timing"] }
}

// ---------------------------------------------------------------------------------------------------------------------
// Mistakes
// ---------------------------------------------------------------------------------------------------------------------

interface Mutation {
  readonly file: string
  readonly source: string
  readonly line: number
  readonly from: number
  readonly to: number
  readonly text: string
  readonly what: string
}

/** A node of the syntax tree, as far as it is looked at here. */
interface Node {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [key: string]: unknown
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && typeof (value as Node).type === "string"

const operators: Readonly<Record<string, string>> = {
  "<": "<=",
  "<=": "<",
  ">": ">=",
  ">=": ">",
  "===": "!==",
  "!==": "===",
  "&&": "||",
  "||": "&&",
  "+": "-",
  "-": "+"
}

/** What leaves the function or the loop at once. */
const leaves = (node: unknown): boolean =>
  isNode(node) && (["ReturnStatement", "ContinueStatement", "BreakStatement", "ThrowStatement"].includes(node.type) ||
    node.type === "BlockStatement" && (node["body"] as ReadonlyArray<Node>).length === 1 &&
      leaves((node["body"] as ReadonlyArray<Node>)[0]))

const mutationsOf = (file: string, source: string): ReadonlyArray<Mutation> => {
  const found: Array<Mutation> = []
  const add = (node: { readonly start: number; readonly end: number }, text: string, what: string): void => {
    const line = source.slice(0, node.start).split("\n").length
    found.push({ file, source, line, from: node.start, to: node.end, text, what })
  }
  const textOf = (node: Node): string => source.slice(node.start, node.end)
  const visit = (node: Node): void => {
    switch (node.type) {
      case "IfStatement": {
        const test = node["test"] as Node
        if (leaves(node["consequent"]) && !isNode(node["alternate"])) add(node, ";", `left out: if (${textOf(test)}) …`)
        add(test, `!(${textOf(test)})`, `negated: ${textOf(test)}`)
        break
      }
      case "ConditionalExpression":
      case "WhileStatement": {
        const test = node["test"] as Node
        add(test, `!(${textOf(test)})`, `negated: ${textOf(test)}`)
        break
      }
      case "BinaryExpression":
      case "LogicalExpression": {
        const operator = node["operator"] as string
        const other = operators[operator]
        const [left, right] = [node["left"] as Node, node["right"] as Node]
        const isText = [left, right].some(({ type, value }) => type === "TemplateLiteral" || typeof value === "string")
        if (other === undefined || operator === "+" && isText) break
        const text = `${textOf(left)} ${other} ${textOf(right)}`
        add(node, `(${text})`, `${textOf(node)} → ${other}`)
        break
      }
      case "ExpressionStatement": {
        const expression = node["expression"] as Node
        if (["CallExpression", "AssignmentExpression", "UpdateExpression"].includes(expression.type)) {
          add(node, ";", `left out: ${textOf(expression)}`)
        }
        break
      }
      case "Literal":
        if (typeof node["value"] === "boolean") add(node, String(!node["value"]), `${textOf(node)} → other`)
        break
    }
    for (const [key, value] of Object.entries(node)) {
      // Types say nothing at run time.
      if (key === "typeAnnotation" || key === "typeArguments" || key === "typeParameters") continue
      if (isNode(value)) visitUnlessType(value)
      else if (Array.isArray(value)) { for (const one of value) if (isNode(one)) visitUnlessType(one) }
    }
  }
  const visitUnlessType = (node: Node): void => {
    if (!/^(?:TSInterface|TSType|TSEnum|ImportDeclaration|TSLiteralType)/.test(node.type)) visit(node)
  }
  visit(parseAst(source, { lang: "ts" }) as unknown as Node)
  return found
}

const filesOf = ({ sources }: Module): ReadonlyArray<string> =>
  sources.flatMap((source) =>
    source.endsWith(".ts")
      ? [source]
      : fs.readdirSync(source).filter((name) => name.endsWith(".ts")).map((name) => path.join(source, name))
  )

// ---------------------------------------------------------------------------------------------------------------------
// Runs
// ---------------------------------------------------------------------------------------------------------------------

/** Runs tests in the copy. Answers whether they pass; `undefined` if they do not end. */
const passes = (folder: string, tests: ReadonlyArray<string>, limit: number): Promise<boolean | undefined> =>
  new Promise((resolve) => {
    const child = spawn(
      "nice",
      ["-n", "19", process.execPath, "node_modules/vitest/vitest.mjs", "run", "--bail=1", "--maxWorkers=1", ...tests],
      { cwd: folder, detached: true, stdio: ["ignore", "ignore", "ignore"] }
    )
    let isOver = false
    const end = (signal: NodeJS.Signals): void => {
      try {
        process.kill(-child.pid!, signal)
      } catch {
        // It has ended by itself.
      }
    }
    const timer = setTimeout(() => {
      isOver = true
      end("SIGTERM")
      setTimeout(() => end("SIGKILL"), 5_000)
    }, limit)
    child.on("close", (code) => {
      clearTimeout(timer)
      resolve(isOver ? undefined : code === 0)
    })
  })

const copyTree = (): string => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-mutate-"))
  for (const name of ["src", "test", "package.json", "vitest.config.ts", "tsconfig.json", "docs", "examples"]) {
    fs.cpSync(name, path.join(folder, name), { recursive: true })
  }
  fs.symlinkSync(fs.realpathSync("node_modules"), path.join(folder, "node_modules"))
  return folder
}

/** A few of many, by a seed. */
const sample = <A>(all: ReadonlyArray<A>, size: number, seed: number): ReadonlyArray<A> => {
  let state = seed >>> 0
  const random = (): number => {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0
    return state / 2 ** 32
  }
  return all.map((one) => ({ one, at: random() })).sort((a, b) => a.at - b.at).slice(0, size).map(({ one }) => one)
}

const run = async (name: string, options: { readonly size: number; readonly seed: number; readonly only: string }) => {
  const module = modules[name]
  if (module === undefined) throw new Error(`there is no module ${name}: ${Object.keys(modules).join(", ")}`)
  const all = filesOf(module).filter((file) => file.includes(options.only))
    .flatMap((file) => mutationsOf(file, fs.readFileSync(file, "utf8")))
  const chosen = sample(all, options.size, options.seed)
  const folder = copyTree()
  try {
    const began = performance.now()
    if (await passes(folder, module.tests, 1_800_000) !== true) throw new Error(`${name}: its tests fail as they are`)
    const limit = 30_000 + 3 * (performance.now() - began)
    let survived = 0
    for (const [index, mutation] of chosen.entries()) {
      const { source } = mutation
      const file = path.join(folder, mutation.file)
      fs.writeFileSync(file, source.slice(0, mutation.from) + mutation.text + source.slice(mutation.to))
      const passed = await passes(folder, module.tests, limit)
      fs.writeFileSync(file, source)
      if (passed !== true) continue
      survived++
      const what = mutation.what.replaceAll(/\s+/g, " ").slice(0, 120)
      console.log(`${mutation.file}:${mutation.line}: survived ${index + 1}/${chosen.length}: ${what}`)
    }
    console.log(
      `${name}: ${chosen.length - survived} of ${chosen.length} noticed, of ${all.length}; seed ${options.seed}`
    )
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { sample: { type: "string" }, seed: { type: "string" }, only: { type: "string" } }
})
if (positionals.length === 0) {
  for (const [name, module] of Object.entries(modules)) {
    const count = filesOf(module).flatMap((file) => mutationsOf(file, fs.readFileSync(file, "utf8"))).length
    console.log(`${name}: ${count}, noticed by ${module.tests.join(" ")}`)
  }
}
for (const name of positionals) {
  await run(name, {
    size: Number(values.sample ?? Infinity),
    seed: Number(values.seed ?? Math.floor(Math.random() * 1_000_000)),
    only: values.only ?? ""
  })
}
