/**
 * Looks for statements that have stopped programs, before they are run.
 *
 * **Details**
 *
 * The rules are few, and behind each of them is an outage: `rules` says which, and how the same is done safely. Nothing
 * is said about tables that the same file makes. Who knows better says so in the file, with the reason:
 *
 * ```sql
 * -- watertight: allow=drop nobody has read it since version 12
 * drop table old_account;
 * ```
 *
 * **Gotchas**
 *
 * Only files of SQL are looked at.
 *
 * **Example** (The findings of a folder)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Lint, Migrations } from "watertight/migrations"
 *
 * const findings = Effect.map(
 *   Migrations.fromDirectory("./migrations"),
 *   (migrations) => Lint.checkAll(migrations, "postgres")
 * )
 * ```
 *
 * @since 0.2.0
 */
import * as Result from "effect/Result"
import { inspect, Proofs, type Rule, rules as all } from "./lint/rules.ts"
import type { Migration } from "./Migration.ts"
import type { Dialect } from "./sql/lexer.ts"
import { cursorOf as mysqlCursor, mysqlWay } from "./sql/mysqlWay.ts"
import { cursorOf as postgresCursor, postgresWay } from "./sql/postgresWay.ts"
import { split, type Statement } from "./sql/split.ts"

export type { Dialect, Rule }

/**
 * Something that was found in a file.
 *
 * @category models
 * @since 0.2.0
 */
export interface Finding {
  readonly file: string
  readonly line: number
  /** The rule, or what keeps the file from being run at all: `"invalid"`; or `"unknown-rule"` of an `allow`. */
  readonly rule: string
  readonly table: string | undefined
  /** What happens. */
  readonly problem: string
  /** How the same is done safely. */
  readonly safe: string
}

/**
 * All rules.
 *
 * @category getters
 * @since 0.2.0
 */
export const rules: ReadonlyArray<Rule> = Object.values(all)

/**
 * Looks at migrations in their order. What an earlier one has proved of the rows need not be looked for by a later one.
 *
 * @category constructors
 * @since 0.2.0
 */
export const checkAll = (migrations: ReadonlyArray<Migration>, dialect: Dialect): ReadonlyArray<Finding> => {
  const proofs = new Proofs()
  return migrations.flatMap((migration) => checkAfter(migration, dialect, proofs))
}

/**
 * Looks at one migration, as if it were the first.
 *
 * @category constructors
 * @since 0.2.0
 */
export const check = (migration: Migration, dialect: Dialect): ReadonlyArray<Finding> => checkAll([migration], dialect)

const checkAfter = (migration: Migration, dialect: Dialect, proofs: Proofs): ReadonlyArray<Finding> => {
  const { body, directives, file } = migration
  if (body._tag === "Lazy") return []
  const statements = split(body.text, dialect)
  if (Result.isFailure(statements)) return [invalid(file, statements.failure.line, statements.failure.problem)]
  const findings: Array<Finding> = []
  const seen = {
    created: new Set<string>(),
    notValid: new Set<string>(),
    transaction: directives.transaction,
    proofs
  }
  const allowed = new Set(directives.allow.map((allowance) => allowance.rule))
  for (const { line, rule } of directives.allow) {
    if (rules.some((known) => known.id === rule)) continue
    findings.push({
      file,
      line,
      rule: "unknown-rule",
      table: undefined,
      problem: `there is no rule \`${rule}\``,
      safe: `one of ${rules.map((known) => known.id).join(", ")}`
    })
  }
  for (const statement of statements.success) {
    const problem = unrunnable(statement, dialect, directives.transaction)
    if (problem !== undefined) findings.push(invalid(file, statement.line, problem))
    const cursor = dialect === "postgres" ? postgresCursor(statement) : mysqlCursor(statement)
    for (const { rule, table } of inspect(cursor, dialect, seen)) {
      if (allowed.has(rule.id) || !rule.dialects.includes(dialect)) continue
      findings.push({ file, line: statement.line, rule: rule.id, table, problem: rule.outage, safe: rule.safe })
    }
  }
  return findings
}

const unrunnable = (statement: Statement, dialect: Dialect, transaction: boolean): string | undefined => {
  const way = dialect === "postgres" ? postgresWay(statement) : mysqlWay(statement)
  if (way._tag === "Refused") return way.problem
  return dialect === "postgres" && way._tag === "Alone" && transaction && statement.tokens[0]!.text !== "CALL"
    ? "cannot be in a transaction: put it into a file of its own with `-- watertight: no-transaction`"
    : undefined
}

const invalid = (file: string, line: number, problem: string): Finding => ({
  file,
  line,
  rule: "invalid",
  table: undefined,
  problem,
  safe: "the migration would be refused as it is"
})
