/** The first comments of a file of SQL, in which it says how it is to be run. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Result from "effect/Result"

/** How a file is to be run. */
export interface Directives {
  /** Whether all of it is one transaction. Default: `true`. */
  readonly transaction: boolean
  /** The longest that a statement may wait for a lock before it is tried again, in milliseconds. */
  readonly lockTimeout: number | undefined
  /** How long a statement may run, in milliseconds; 0 for as long as it takes. */
  readonly statementTimeout: number | undefined
  /** The rules of the linter that are known to be broken, each with its reason. */
  readonly allow: ReadonlyArray<Allowance>
}

/** A rule that a file breaks knowingly. */
export interface Allowance {
  readonly rule: string
  readonly reason: string
  readonly line: number
}

/** A directive that cannot be understood. */
export interface InvalidDirective {
  readonly line: number
  readonly problem: string
}

/** What a file has that says nothing. */
export const none: Directives = { transaction: true, lockTimeout: undefined, statementTimeout: undefined, allow: [] }

const form = /^\s*(?:--|#)\s*watertight\s*:\s*(.*?)\s*$/i

/** Reads the directives of a file, in whose comments they may be anywhere, on lines of their own. */
export const read = (text: string): Result.Result<Directives, InvalidDirective> =>
  Result.gen(function*() {
    let directives = none
    let line = 0
    for (const content of text.split("\n")) {
      line++
      const match = form.exec(content)
      if (match !== null) directives = yield* apply(directives, match[1]!, line)
    }
    return directives
  })

const invalid = (line: number, problem: string): Result.Result<never, InvalidDirective> =>
  Result.fail({ line, problem })

const apply = (directives: Directives, text: string, line: number): Result.Result<Directives, InvalidDirective> => {
  const [, name, value] = /^([\w-]*)\s*(?:=\s*(.*))?$/.exec(text) ?? [undefined, text, undefined]
  switch (name) {
    case "no-transaction":
      return value === undefined
        ? Result.succeed({ ...directives, transaction: false })
        : invalid(line, "`no-transaction` has no value")
    case "lock-timeout":
    case "statement-timeout":
      return Result.map(duration(name, value, line), (millis) =>
        name === "lock-timeout"
          ? { ...directives, lockTimeout: millis }
          : { ...directives, statementTimeout: millis })
    case "allow": {
      const [, rule, reason] = /^([\w-]+)\s+(\S.*)$/.exec(value ?? "") ?? []
      return rule === undefined || reason === undefined
        ? invalid(line, "`allow` wants a rule and the reason: `-- watertight: allow=rule reason`")
        : Result.succeed({ ...directives, allow: [...directives.allow, { rule, reason, line }] })
    }
    default:
      return invalid(
        line,
        `there is no directive \`${name}\`: there are no-transaction, lock-timeout, statement-timeout and allow`
      )
  }
}

const units: { readonly [unit: string]: Duration.Unit } = {
  ms: "millis",
  s: "seconds",
  min: "minutes",
  h: "hours"
}

const duration = (
  name: string,
  value: string | undefined,
  line: number
): Result.Result<number, InvalidDirective> => {
  if (value === "0") return Result.succeed(0)
  const [, amount, unit] = /^(\d+)\s*(ms|s|min|h)$/.exec(value ?? "") ?? []
  const input = amount === undefined ? Option.none() : Duration.fromInput(`${Number(amount)} ${units[unit!]!}`)
  return Option.isSome(input)
    ? Result.succeed(Duration.toMillis(input.value))
    : invalid(line, `\`${name}\` wants a duration as 500ms, 2s, 5min or 1h`)
}
