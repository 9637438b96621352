/** What a command answers: for people, for programs, and as the exit code of the process. */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"

/** The exit codes, which scripts can rely on. */
export const Exit = {
  ok: 0,
  /** A migration failed, or a check found something. */
  found: 1,
  /** The command or its configuration cannot work. */
  usage: 2,
  /** There are migrations to be applied. */
  pending: 3,
  /** A migration was interrupted, and a person has to look. */
  interrupted: 4,
  /** The files and the history of the database do not fit each other. */
  history: 5,
  /** Others did not let it through. */
  busy: 8,
  /** The database could not be reached, or refused. */
  unreachable: 9
} as const

/** A command came to an end that is no success. What there was to say has been said. */
export class CommandFailed extends Data.TaggedError("CommandFailed")<{
  readonly exitCode: number
  readonly message: string
}> {
  override readonly [Runtime.errorExitCode]: number = this.exitCode
  // `false` is what keeps it from being logged once more.
  override readonly [Runtime.errorReported] = false
}

/** Whether what is printed has colours: on a terminal, unless `NO_COLOR` is set. */
export const Colors = Context.Reference<boolean>("watertight/cli/Colors", { defaultValue: () => false })

/** What a command has found. */
export interface Answer {
  readonly command: string
  /** For people, line by line. */
  readonly lines: ReadonlyArray<string>
  /** For programs. */
  readonly data: Readonly<Record<string, unknown>>
  readonly exitCode: number
}

/** Prints an answer, and fails if it is no success. */
export const answer = Effect.fnUntraced(function*(
  { command, data, exitCode, lines }: Answer,
  json: boolean
): Effect.fn.Return<void, CommandFailed> {
  if (json) {
    yield* Console.log(JSON.stringify({ version: 1, command, ok: exitCode === 0, ...data }, withBigints))
  } else {
    for (const line of lines) yield* Console.log(line)
  }
  if (exitCode !== 0) return yield* new CommandFailed({ exitCode, message: lines.at(-1) ?? command })
})

const withBigints = (_: string, value: unknown): unknown => typeof value === "bigint" ? String(value) : value

/** Prints why a command failed, and fails with its exit code. */
export const failure = (
  command: string,
  problem: { readonly exitCode: number; readonly tag: string; readonly message: string },
  json: boolean
): Effect.Effect<never, CommandFailed> =>
  Effect.gen(function*() {
    const { exitCode, message, tag } = problem
    yield* json
      ? Console.log(JSON.stringify({ version: 1, command, ok: false, error: { tag, message } }))
      : Console.error(`${yield* paint("red", "error")}: ${message}`)
    return yield* new CommandFailed({ exitCode, message })
  })

const codes = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 } as const

/** A text in a colour. */
export const code = (color: keyof typeof codes, text: string): string => `\u001b[${codes[color]}m${text}\u001b[0m`

/** A text in a colour, where there are colours. */
export const paint = (color: keyof typeof codes, text: string): Effect.Effect<string> =>
  Effect.map(Colors, (has) => has ? code(color, text) : text)

/** Columns of the same width, two spaces apart. */
export const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = (rows[0] ?? []).map((_, index) => Math.max(...rows.map((row) => (row[index] ?? "").length)))
  return rows.map((row) => row.map((cell, index) => cell.padEnd(widths[index]!)).join("  ").trimEnd())
}
