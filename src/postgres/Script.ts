/**
 * Scripts: files of SQL statements that are run as they are.
 *
 * **Details**
 *
 * A script is sent in one piece and in one go, without parameters, and the server takes it apart. Unless it contains
 * transaction commands of its own it is one transaction: all of it is applied, or nothing. Inside a transaction it is
 * a part of that.
 *
 * **Gotchas**
 *
 * What `psql` adds to SQL, as `\i` and `COPY … FROM STDIN` with its data, is no SQL and fails.
 *
 * **Example** (A file)
 *
 * ```ts
 * import { Effect, FileSystem } from "effect"
 * import { Script } from "watertight/postgres"
 *
 * const load = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   yield* Script.run(yield* fs.readFileString("schema.sql"))
 * })
 * ```
 *
 * @since 0.1.0
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { Sessions } from "./Sessions.ts"
import { type Place, placeOfFailure } from "./statement/scripts.ts"

export type { Place } from "./statement/scripts.ts"

const places = new WeakMap<SqlError, Place>()

/**
 * Runs a script. Answers the result of each of its statements.
 *
 * **Details**
 *
 * If a statement fails, the message of the error says in which line of the script it is, and so does `placeOf`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (script: string): Effect.Effect<ReadonlyArray<Result>, SqlError, Sessions> =>
  Effect.scoped(Effect.gen(function*() {
    const sessions = yield* Sessions
    const session = yield* sessions.borrow
    const judge = sessions.judge(session)
    return yield* Effect.mapError(session.script(script), (error) => {
      const place = placeOfFailure(script, error)
      if (place !== undefined) {
        places.set(error, place)
        Object.defineProperty(error.reason, "message", {
          value: `${
            error.reason.message ?? error.reason._tag
          } (statement ${place.statement} of the script, line ${place.line})`,
          configurable: true,
          enumerable: true
        })
      }
      return judge(error)
    })
  }))

/**
 * Where in its script the statement is that failed with an error.
 *
 * @category getters
 * @since 0.1.0
 */
export const placeOf = (error: unknown): Place | undefined => isSqlError(error) ? places.get(error) : undefined
