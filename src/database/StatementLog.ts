/**
 * Tells about statements: each of them, or those that take too long, and those that one span repeats.
 *
 * Nothing of this is on the way of a statement unless it is switched on. Parameters are shown only where the options say
 * so. Lines go through Effect's loggers, so the program decides what they look like; the fields are annotations.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Options from "../options/Options.ts"
import { fingerprint } from "./fingerprint.ts"

/**
 * What is told about statements.
 *
 * @category options
 * @since 0.2.0
 */
export interface LogOptions {
  /**
   * Which statements get a line when they end. `"all"` at level INFO, those that are slow at level WARN. Default:
   * `"slow"`.
   */
  readonly statements?: "all" | "slow" | "none" | undefined
  /** How long a statement may take, waiting for a connection included, before it is slow. Default: 200 milliseconds. */
  readonly slow?: Duration.Input | undefined
  /** Whether the lines show the values of parameters. They may be personal or secret. Default: `false`. */
  readonly parameters?: boolean | undefined
  /**
   * How often one span may run statements that differ only in their values before a line says so, once a span. The remedy
   * is `SqlResolver`, or one statement for all. `false` switches it off. Default: 10.
   */
  readonly repeated?: number | false | undefined
  /**
   * Whether the plan of a slow statement is logged too, once for all that differ only in their values. It is asked for
   * with EXPLAIN, which runs nothing, after the statement and on the pool, for statements that only read. Values are
   * taken out of it unless `parameters` shows them. Default: `false`.
   */
  readonly explain?: boolean | undefined
}

const table = Options.make<LogOptions>()("Database.log", {
  statements: Options.oneOf(["all", "slow", "none"], { default: "slow" }),
  slow: Options.duration({ default: "200 millis" }),
  parameters: Options.boolean({ default: false }),
  repeated: Options.orFalse(Options.count({ default: 10, min: 1 })),
  explain: Options.boolean({ default: false })
})

/**
 * What statements that differ only in their values have taken, waiting for a connection included.
 *
 * @category models
 * @since 0.2.0
 */
export interface StatementForm {
  /** The statement, with `?` for each value. */
  readonly form: string
  count: number
  failed: number
  totalMillis: number
  maxMillis: number
}

/** How many forms are remembered. */
const maxForms = 500

/** Follows one statement. */
export class StatementLog {
  private readonly database: string
  private readonly options: Options.Resolved<typeof table.table>
  /** For each span, how often it has run statements of one form. */
  private readonly bySpan = new WeakMap<Tracer.AnySpan, Map<string, number>>()

  /** What statements of each form have taken, those first that were used last. */
  private readonly forms = new Map<string, StatementForm>()

  /** Tells the plan of a slow statement, apart from whoever ran it. */
  private explain: ((sql: string, params: ReadonlyArray<unknown>) => void) | undefined

  private constructor(database: string, options: Options.Resolved<typeof table.table>) {
    this.database = database
    this.options = options
  }

  static make(database: string, options: LogOptions): Result.Result<StatementLog, InvalidOptions> {
    return Result.map(table.check(options), (resolved) => new StatementLog(database, resolved))
  }

  /** What tells plans, where they are to be told. It is given whether values may be shown. */
  explainWith(make: (showsValues: boolean) => (sql: string, params: ReadonlyArray<unknown>) => void): void {
    if (this.options.explain) this.explain = make(this.options.parameters)
  }

  /** A statement with a line at its end, where one is due. */
  around<A>(
    sql: string,
    params: ReadonlyArray<unknown>,
    run: Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    return Effect.andThen(
      this.count(sql),
      Effect.clockWith((clock) => {
        const startedAt = clock.monotonicTimeNanosUnsafe()
        return Effect.onExit(run, (exit) => this.ended(sql, params, elapsed(clock, startedAt), exit, rowsOf(exit)))
      })
    )
  }

  /** A stream with a line at its end. Its time includes that of its reader. */
  aroundStream<A>(
    sql: string,
    params: ReadonlyArray<unknown>,
    stream: Stream.Stream<A, SqlError>
  ): Stream.Stream<A, SqlError> {
    return Stream.unwrap(Effect.clockWith((clock) =>
      Effect.sync(() => {
        const startedAt = clock.monotonicTimeNanosUnsafe()
        let rows = 0
        return stream.pipe(
          Stream.tap(() => Effect.sync(() => rows++)),
          Stream.onExit((exit) => this.ended(sql, params, elapsed(clock, startedAt), exit, rows))
        )
      })
    ))
  }

  private ended(
    sql: string,
    params: ReadonlyArray<unknown>,
    millis: number,
    exit: Exit.Exit<unknown, unknown>,
    rows: number | undefined
  ): Effect.Effect<void> {
    this.remember(sql, millis, Exit.isFailure(exit))
    const isSlow = millis >= this.options.slow
    if (isSlow && Exit.isSuccess(exit)) this.explain?.(sql, params)
    if (this.options.statements === "none" || !isSlow && this.options.statements === "slow") return Effect.void
    const text = sql.trim().replace(/\s+/g, " ")
    const end = Exit.isSuccess(exit)
      ? rows === undefined ? "" : `, ${rows} row${rows === 1 ? "" : "s"}`
      : `, ${failed(exit)}`
    const line = `${this.database}: ${millis.toFixed(1)} ms${end}: ${text}`
    const annotated = Effect.annotateLogs(isSlow ? Effect.logWarning(line) : Effect.logInfo(line), {
      "db.query.summary": fingerprint(sql),
      "db.client.operation.duration": millis / 1_000,
      ...(rows === undefined ? {} : { "db.response.returned_rows": rows }),
      ...(this.options.parameters ? { "db.query.parameters": params.map(show) } : {})
    })
    return annotated
  }

  /** What statements have taken since the database was made, by their form. */
  get statements(): ReadonlyArray<StatementForm> {
    return Array.from(this.forms.values(), (form) => ({ ...form }))
  }

  private remember(sql: string, millis: number, hasFailed: boolean): void {
    const form = fingerprint(sql)
    let known = this.forms.get(form)
    if (known === undefined) {
      known = { form, count: 0, failed: 0, totalMillis: 0, maxMillis: 0 }
      if (this.forms.size >= maxForms) this.forms.delete(this.forms.keys().next().value!)
    } else {
      // What was used last is kept longest.
      this.forms.delete(form)
    }
    this.forms.set(form, known)
    known.count++
    if (hasFailed) known.failed++
    known.totalMillis += millis
    if (millis > known.maxMillis) known.maxMillis = millis
  }

  /** Says once that a span repeats itself. */
  private count(sql: string): Effect.Effect<void> {
    const { repeated } = this.options
    if (repeated === false) return Effect.void
    return Effect.flatMap(Effect.option(Effect.currentParentSpan), (found) => {
      if (found._tag === "None" || found.value._tag === "ExternalSpan") return Effect.void
      let counts = this.bySpan.get(found.value)
      if (counts === undefined) this.bySpan.set(found.value, counts = new Map())
      const form = fingerprint(sql)
      const times = (counts.get(form) ?? 0) + 1
      counts.set(form, times)
      return times !== repeated + 1 ? Effect.void : Effect.logWarning(
        `${this.database}: the span "${found.value.name}" has run one statement more than ${repeated} times, with other ` +
          `values each: ${form}. One statement for all of them, or a SqlResolver, needs one round trip`
      )
    })
  }
}

const elapsed = (clock: Clock.Clock, startedAt: bigint): number =>
  Number(clock.monotonicTimeNanosUnsafe() - startedAt) / 1_000_000

const rowsOf = (exit: Exit.Exit<unknown, unknown>): number | undefined =>
  Exit.isSuccess(exit) && Array.isArray(exit.value) ? exit.value.length : undefined

const failed = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "done"
  if (Cause.hasInterrupts(exit.cause)) return "interrupted"
  const [reason] = exit.cause.reasons
  return reason?._tag === "Fail" ? `failed (${(reason.error as SqlError).reason._tag})` : "failed"
}

const show = (value: unknown): string =>
  typeof value === "string" ? JSON.stringify(value) : value instanceof Date ? value.toISOString() : String(value)
