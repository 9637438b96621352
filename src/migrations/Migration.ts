/**
 * What a migration is, and where migrations come from.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Migrator from "effect/sql/Migrator"
import type * as SqlClient from "effect/sql/SqlClient"
import * as MigrationsError from "./MigrationsError.ts"
import { checksum, normalize } from "./plan/checksum.ts"
import { type Directives, none, read } from "./plan/directives.ts"
import type { Planned } from "./plan/plan.ts"

/**
 * An effect that migrates. What it fails with fails the migration.
 *
 * @category models
 * @since 0.2.0
 */
export type Program = Effect.Effect<unknown, unknown, SqlClient.SqlClient>

/**
 * The text of a migration in SQL.
 *
 * @category models
 * @since 0.2.0
 */
export interface Sql {
  readonly _tag: "Sql"
  readonly text: string
}

/**
 * A migration in code, and how it is to be run.
 *
 * @category models
 * @since 0.2.0
 */
export interface Code {
  readonly _tag: "Code"
  readonly transaction: boolean
  readonly program: Program
}

/**
 * Code that is imported when it is to be run, and not before: what an old migration imports may be gone.
 *
 * @category models
 * @since 0.2.0
 */
export interface Lazy {
  readonly _tag: "Lazy"
  readonly load: Effect.Effect<Code, MigrationsError.MigrationsError, SqlClient.SqlClient>
}

/**
 * A migration.
 *
 * @category models
 * @since 0.2.0
 */
export interface Migration extends Planned {
  /** Where it was read from, for messages. */
  readonly file: string
  readonly directives: Directives
  readonly body: Sql | Lazy
}

/**
 * Where migrations come from.
 *
 * @category models
 * @since 0.2.0
 */
export type Loader<R = never> = Effect.Effect<ReadonlyArray<Migration>, MigrationsError.MigrationsError, R>

/**
 * The text of a migration in SQL, inside of a program.
 *
 * @category constructors
 * @since 0.2.0
 */
export const sql = (strings: TemplateStringsArray): Sql => ({ _tag: "Sql", text: strings.join("") })

/**
 * A migration in code that says how it is to be run.
 *
 * **Details**
 *
 * `transaction: false` runs it without a transaction around it: on PostgreSQL that is for what cannot be in one.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (options: { readonly transaction?: boolean | undefined }, program: Program): Code => ({
  _tag: "Code",
  transaction: options.transaction ?? true,
  program
})

/** Makes a migration of a text. */
export const fromText = (
  step: { readonly id: number; readonly name: string; readonly file: string },
  text: string
): Result.Result<Migration, MigrationsError.MigrationsError> =>
  Result.mapBoth(read(normalize(text)), {
    onFailure: ({ line, problem }) =>
      MigrationsError.failWith(new MigrationsError.InvalidFile({ file: step.file, line, problem })),
    onSuccess: (directives): Migration => ({
      ...step,
      kind: "sql",
      checksum: checksum(text),
      directives,
      body: { _tag: "Sql", text: normalize(text) }
    })
  })

/** Makes a migration of code. */
export const fromCode = (
  step: { readonly id: number; readonly name: string; readonly file: string },
  load: Lazy["load"],
  source?: { readonly kind: string; readonly checksum: string }
): Migration => ({
  ...step,
  kind: source?.kind,
  checksum: source?.checksum,
  directives: none,
  body: { _tag: "Lazy", load }
})

const isSql = (value: unknown): value is Sql => Predicate.isTagged(value, "Sql") && "text" in value

const isCode = (value: unknown): value is Code => Predicate.isTagged(value, "Code") && "program" in value

/**
 * Migrations that are part of the program, by name: `<id>_<name>`.
 *
 * **Example** (A program with its migrations in it)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Migrations } from "watertight/migrations"
 *
 * const loader = Migrations.fromRecord({
 *   "20261101120000_account": Migrations.sql`create table account (id text primary key, cents bigint not null)`,
 *   "20261102090000_house": Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`insert into account ${sql.insert({ id: "house", cents: 0 })}`
 *   })
 * })
 * ```
 *
 * @category loaders
 * @since 0.2.0
 */
export const fromRecord = (migrations: { readonly [name: string]: Sql | Code | Program }): Loader =>
  Effect.forEach(Object.entries(migrations), ([key, value]) => {
    const [, id, name] = /^(\d+)_(.+)$/.exec(key) ?? []
    if (id === undefined || name === undefined) {
      return MigrationsError.failWith(
        new MigrationsError.InvalidFile({ file: key, line: undefined, problem: "is not named `<id>_<name>`" })
      )
    }
    const step = { id: Number(id), name, file: key }
    if (isSql(value)) return Effect.fromResult(fromText(step, value.text))
    return Effect.succeed(fromCode(step, Effect.succeed(isCode(value) ? value : make({}, value))))
  })

/**
 * Migrations from a loader of Effect's own `Migrator`, unchanged.
 *
 * **Details**
 *
 * A history that Effect's `Migrator` has written goes on: what is in its table is applied.
 *
 * @category loaders
 * @since 0.2.0
 */
export const fromEffect = <R>(loader: Migrator.Loader<R>): Loader<R> =>
  Effect.matchEffect(loader, {
    onFailure: (cause) =>
      MigrationsError.failWith(
        new MigrationsError.InvalidFile({
          file: "the migrations of Effect's loader",
          line: undefined,
          problem: `cannot be loaded: ${cause.message}`
        })
      ),
    onSuccess: (resolved) =>
      Effect.succeed(resolved.map(([id, name, load]) =>
        fromCode(
          { id, name, file: `${id}_${name}` },
          Effect.flatMap(
            Effect.catchCause(load, (cause) =>
              MigrationsError.failWith(
                new MigrationsError.ImportFailed({ id, name, problem: "could not be imported", cause })
              )),
            (loaded) => codeOf({ id, name }, loaded)
          )
        )
      ))
  })

/** What a module has as its default export, also if it was compiled to CommonJS. */
export const codeOf = (
  step: { readonly id: number; readonly name: string },
  loaded: unknown
): Effect.Effect<Code, MigrationsError.MigrationsError> => {
  for (const candidate of [loaded, defaultOf(loaded), defaultOf(defaultOf(loaded))]) {
    if (isCode(candidate)) return Effect.succeed(candidate)
    if (Effect.isEffect(candidate)) return Effect.succeed(make({}, candidate as Program))
  }
  return MigrationsError.failWith(
    new MigrationsError.ImportFailed({ ...step, problem: "has no effect as its default export", cause: undefined })
  )
}

const defaultOf = (module: unknown): unknown => Predicate.hasProperty(module, "default") ? module.default : undefined
