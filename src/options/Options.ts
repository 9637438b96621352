/**
 * The one place where options are checked and their defaults are filled in.
 *
 * **Details**
 *
 * The owner of options describes each of them in one row of a table: what it may be, and its default. `make` turns the
 * table into a check that finds names that do not exist, with the one that was probably meant, and values that cannot
 * work, and that returns every option with its default. Durations come out as milliseconds. An option that is
 * `undefined` has its default, or is `undefined` if there is none.
 *
 * What two options say together, `min` above `max` for example, is checked by the owner afterwards, who makes the error
 * with `invalid`.
 *
 * **Gotchas**
 *
 * A problem never shows the value of a `Redacted`, nor of a `text` or `custom` option: both may hold a secret.
 *
 * **Example** (The options of a cache)
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Options from "./Options.ts"
 *
 * interface CacheOptions {
 *   readonly size?: number | undefined
 *   readonly timeToLive?: string | undefined
 *   readonly evict?: "oldest" | "rarest" | undefined
 * }
 *
 * const options = Options.make<CacheOptions>()("Cache", {
 *   size: Options.count({ default: 100, min: 1 }),
 *   timeToLive: Options.duration({ default: "5 minutes", positive: true }),
 *   evict: Options.oneOf(["oldest", "rarest"], { default: "oldest" })
 * })
 *
 * // { size: 100, timeToLive: 10_000, evict: "oldest" }
 * const resolved = options.resolve({ timeToLive: "10 seconds" })
 *
 * // Cache: option `sise` does not exist: did you mean `size`?
 * const refused = options.resolve({ sise: 3 } as CacheOptions)
 *
 * // A `Result` instead of an effect: Cache: option `size` must be a whole number, 1 or more, it is 0
 * const result = options.check({ size: 0 })
 * ```
 *
 * @since 0.2.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { InvalidOptions } from "./InvalidOptions.ts"
import { nearest } from "./nearest.ts"

/**
 * What one option may be. `parse` is not asked about an option that is `undefined`; it returns what is used, or what is
 * wrong as the end of a sentence that begins with the option's name.
 *
 * @category models
 * @since 0.2.0
 */
export interface Check<out A> {
  readonly default: A
  readonly parse: (value: unknown) => Result.Result<A, string>
}

/**
 * A row for each option.
 *
 * @category models
 * @since 0.2.0
 */
export type Table<I> = { readonly [K in keyof I]-?: Check<unknown> }

/**
 * Options that have been checked, with every default filled in.
 *
 * @category models
 * @since 0.2.0
 */
export type Resolved<T> = { readonly [K in keyof T]: T[K] extends Check<infer A> ? A : never }

/**
 * The checks of a module.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<I, T> {
  readonly names: ReadonlyArray<string>
  /** The rows, to take some of them over into another table. */
  readonly table: T
  readonly check: (options: I | undefined) => Result.Result<Resolved<T>, InvalidOptions>
  readonly resolve: (options: I | undefined) => Effect.Effect<Resolved<T>, InvalidOptions>
  /** The error of an option. `problem` is the end of a sentence that begins with its name. */
  readonly invalid: (option: Extract<keyof I, string>, problem: string) => InvalidOptions
}

/**
 * Makes the checks of a module from a table that has a row for each of its options.
 *
 * **Details**
 *
 * `synonyms` are the names of other libraries, and `elsewhere` those of other parts of this one, each with what is to be
 * said about it. With `listNames`, a name that resembles none is answered with all names that there are.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = <I extends object>() =>
<const T extends Table<I>>(
  module: string,
  table: T,
  hints: {
    readonly synonyms?: Readonly<Record<string, string>> | undefined
    readonly elsewhere?: Readonly<Record<string, string>> | undefined
    readonly listNames?: boolean | undefined
  } = {}
): Options<I, T> => {
  const names = Object.keys(table)
  const fail = (option: string, problem: string): InvalidOptions => new InvalidOptions({ module, option, problem })

  const check = (options: I | undefined): Result.Result<Resolved<T>, InvalidOptions> =>
    Result.mapError(
      checkTable<T>(table, names, hints, options),
      ({ option, problem }) => fail(option, problem)
    )

  return {
    names,
    table,
    check,
    resolve: (options) => Effect.suspend(() => Effect.fromResult(check(options))),
    invalid: fail
  }
}

interface Wrong {
  readonly option: string
  readonly problem: string
}

const checkTable = <T>(
  table: Table<any>,
  names: ReadonlyArray<string>,
  hints: Parameters<ReturnType<typeof make>>[2],
  options: unknown
): Result.Result<Resolved<T>, Wrong> => {
  if (options !== undefined && !isRecord(options)) {
    return Result.fail({ option: "options", problem: `must be an object, it is ${show(options)}` })
  }
  const given = options ?? {}
  for (const name of Object.keys(given)) {
    if (!names.includes(name)) return Result.fail({ option: name, problem: unknownName(name, names, hints ?? {}) })
  }
  const resolved: Record<string, unknown> = {}
  for (const name of names) {
    const row = table[name]!
    const value = given[name]
    if (value === undefined) {
      resolved[name] = row.default
      continue
    }
    const parsed = row.parse(value)
    if (Result.isFailure(parsed)) return Result.fail({ option: name, problem: parsed.failure })
    resolved[name] = parsed.success
  }
  return Result.succeed(resolved as Resolved<T>)
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !Redacted.isRedacted(value)

const unknownName = (
  name: string,
  names: ReadonlyArray<string>,
  { elsewhere = {}, listNames = false, synonyms = {} }: NonNullable<Parameters<ReturnType<typeof make>>[2]>
): string => {
  if (Object.hasOwn(elsewhere, name)) return elsewhere[name]!
  const guess = Object.hasOwn(synonyms, name) ? synonyms[name] : nearest(name, names)
  if (guess !== undefined) return `does not exist: did you mean \`${guess}\`?`
  return listNames ? `does not exist. There are: ${names.join(", ")}` : "does not exist"
}

// ---------------------------------------------------------------------------------------------------------------------
// Rows
// ---------------------------------------------------------------------------------------------------------------------

const row = <A, D>(fallback: D, parse: (value: unknown) => Result.Result<A, string>): Check<A | D> => ({
  default: fallback,
  parse
})

/** How a value that cannot work is shown. */
const show = (value: unknown): string => {
  if (Redacted.isRedacted(value)) return "redacted"
  const text = typeof value === "string" ? JSON.stringify(value) : typeof value === "object" && value !== null
    ? "an object"
    : typeof value === "function"
    ? "a function"
    : String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

const range = (min: number, max: number): string =>
  max === Infinity ? min === -Infinity ? "" : `, ${min} or more` : ` between ${min} and ${max}`

/**
 * A whole number. `infinite` if `Infinity` means "no limit".
 *
 * @category rows
 * @since 0.2.0
 */
export const count = <D extends number | undefined = undefined>(options: {
  readonly default?: D
  readonly min?: number | undefined
  readonly max?: number | undefined
  readonly infinite?: boolean | undefined
} = {}): Check<number | D> => {
  const { infinite = false, max = Infinity, min = 0 } = options
  return row(options.default as D, (value) =>
    typeof value === "number" && value >= min && value <= max &&
      (Number.isSafeInteger(value) || infinite && value === Infinity)
      ? Result.succeed(value)
      : Result.fail(`must be a whole number${range(min, max)}, it is ${show(value)}`))
}

/**
 * A number, such as a part of one.
 *
 * @category rows
 * @since 0.2.0
 */
export const number = <D extends number | undefined = undefined>(options: {
  readonly default?: D
  readonly min?: number | undefined
  readonly max?: number | undefined
  /** Whether the number must be greater than `min`. */
  readonly aboveMin?: boolean | undefined
} = {}): Check<number | D> => {
  const { aboveMin = false, max = Infinity, min = -Infinity } = options
  const words = aboveMin ? ` above ${min}${max === Infinity ? "" : `, at most ${max}`}` : range(min, max)
  return row(
    options.default as D,
    (value) =>
      typeof value === "number" && Number.isFinite(value) && value <= max && (aboveMin ? value > min : value >= min)
        ? Result.succeed(value)
        : Result.fail(`must be a number${words}, it is ${show(value)}`)
  )
}

/**
 * A duration, in milliseconds from here on.
 *
 * @category rows
 * @since 0.2.0
 */
export const duration = <D extends Duration.Input | undefined = undefined>(options: {
  readonly default?: D
  /** Whether zero cannot work. */
  readonly positive?: boolean | undefined
  /** Whether "for ever" cannot work. */
  readonly finite?: boolean | undefined
  /** The least and the most milliseconds. */
  readonly min?: number | undefined
  readonly max?: number | undefined
} = {}): Check<number | (D extends undefined ? undefined : number)> => {
  const { finite = false, max = Infinity, min = 0, positive = false } = options
  const what = positive
    ? `must be a duration longer than zero, such as "5 seconds"`
    : `must be a duration and not be negative, such as "5 seconds"`
  const fallback = options.default === undefined
    ? undefined
    : Duration.toMillis(Duration.fromInputUnsafe(options.default))
  return row(fallback, (value) => {
    const millis = millisOf(value)
    if (millis === undefined || !(millis >= 0) || positive && millis === 0) {
      return Result.fail(`${what}, it is ${show(value)}`)
    }
    if (finite && millis === Infinity) return Result.fail("must be finite")
    if (millis < min) return Result.fail(`must be at least ${min} ms, it is ${show(value)}`)
    if (millis > max) return Result.fail(`must be at most ${max} ms, it is ${show(value)}`)
    return Result.succeed(millis)
  }) as never
}

const units: ReadonlySet<string> = new Set([
  "weeks",
  "days",
  "hours",
  "minutes",
  "seconds",
  "milliseconds",
  "microseconds",
  "nanoseconds"
])

/** `Duration` takes NaN for no time at all, and passes over units that it does not know. */
const millisOf = (value: unknown): number | undefined => {
  if (value === null || Number.isNaN(value) || typeof value === "boolean" || typeof value === "function") {
    return undefined
  }
  if (typeof value === "object" && !Duration.isDuration(value)) {
    const parts = Object.entries(value)
    const isPair = Array.isArray(value)
    if (parts.length === 0) return undefined
    for (const [unit, part] of parts) {
      if (typeof part !== "number" || Number.isNaN(part) || !isPair && !units.has(unit)) return undefined
    }
  }
  return Option.getOrUndefined(Option.map(Duration.fromInput(value as Duration.Input), Duration.toMillis))
}

/**
 * One of some words.
 *
 * @category rows
 * @since 0.2.0
 */
export const oneOf: {
  <const A extends string>(words: ReadonlyArray<A>): Check<A | undefined>
  <const A extends string>(words: ReadonlyArray<A>, options: { readonly default: NoInfer<A> }): Check<A>
} = <A extends string>(words: ReadonlyArray<A>, options?: { readonly default: A }): Check<any> =>
  row(options?.default, (value) => {
    const word = words.find((word) => word === value)
    if (word !== undefined) return Result.succeed(word)
    const guess = typeof value === "string" ? nearest(value, words) : undefined
    return Result.fail(
      `must be ${words.length === 1 ? `"${words[0]}"` : `one of ${words.join(", ")}`}` +
        (guess === undefined ? `, it is ${show(value)}` : `: did you mean "${guess}"?`)
    )
  })

/**
 * A switch.
 *
 * @category rows
 * @since 0.2.0
 */
export const boolean = <D extends boolean | undefined = undefined>(
  options: { readonly default?: D } = {}
): Check<boolean | D> =>
  row(
    options.default as D,
    (value) =>
      typeof value === "boolean" ? Result.succeed(value) : Result.fail(`must be true or false, it is ${show(value)}`)
  )

/**
 * A text that is not empty and that a protocol can carry.
 *
 * @category rows
 * @since 0.2.0
 */
export const text = <D extends string | undefined = undefined>(
  options: { readonly default?: D } = {}
): Check<string | D> =>
  row(options.default as D, (value) =>
    typeof value !== "string"
      ? Result.fail("must be a string")
      : value === ""
      ? Result.fail("must not be empty")
      : value.includes("\u0000")
      ? Result.fail("must not contain a NUL")
      : Result.succeed(value))

/**
 * Whatever a predicate accepts. `what` ends the sentence "must be …".
 *
 * @category rows
 * @since 0.2.0
 */
export const custom = <A>(what: string, is: (value: any) => boolean): Check<A | undefined> =>
  row(undefined, (value) => is(value) ? Result.succeed(value as A) : Result.fail(`must be ${what}`))

/**
 * Options inside an option. The problem names the inner one.
 *
 * @category rows
 * @since 0.2.0
 */
export const nested = <I extends object>() => <const T extends Table<I>>(table: T): Check<Resolved<T>> => {
  const names = Object.keys(table)
  const parse = (value: unknown): Result.Result<Resolved<T>, string> =>
    Result.mapError(
      checkTable<T>(table, names, {}, value),
      ({ option, problem }) => option === "options" ? problem : `is wrong: \`${option}\` ${problem}`
    )
  return row(Result.getOrThrow(parse({})), parse)
}

/**
 * Options under names that the user chooses.
 *
 * @category rows
 * @since 0.2.0
 */
export const record = <A>(each: Check<A>): Check<ReadonlyArray<readonly [name: string, value: A]>> =>
  row([] as ReadonlyArray<readonly [string, A]>, (value) => {
    if (!isRecord(value)) {
      return Result.fail(`must be an object, it is ${show(value)}`)
    }
    const all: Array<readonly [string, A]> = []
    for (const [name, one] of Object.entries(value)) {
      const parsed = one === undefined ? Result.succeed(each.default) : each.parse(one)
      if (Result.isFailure(parsed)) return Result.fail(`is wrong: \`${name}\` ${parsed.failure}`)
      all.push([name, parsed.success])
    }
    return Result.succeed(all)
  })

/**
 * An option that may also be something that a predicate accepts, which is taken as it is.
 *
 * @category rows
 * @since 0.2.0
 */
export const either = <A>(check: Check<A>, is: (value: unknown) => boolean): Check<A> =>
  row(check.default, (value) => is(value) ? Result.succeed(value as A) : check.parse(value))

/**
 * An option that may also be switched off with `false`.
 *
 * @category rows
 * @since 0.2.0
 */
export const orFalse = <A>(check: Check<A>): Check<A | false> =>
  row(check.default, (value) => value === false ? Result.succeed<A | false>(false) : check.parse(value))
