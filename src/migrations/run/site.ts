/** What the dialects do in different ways while a migration is applied. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Migration } from "../Migration.ts"
import type * as MigrationsError from "../MigrationsError.ts"
import type { Ladder, Rung } from "../plan/ladder.ts"
import type { Statement } from "../sql/split.ts"
import type { Probe, Way } from "../sql/way.ts"
import type { Journal } from "./journal.ts"
import type { Session } from "./session.ts"

/** What happens while migrations are applied. */
export type Event =
  | { readonly _tag: "Waiting"; readonly holder: string | undefined; readonly waitedMillis: number }
  | {
    /** It is this process's turn, and there are so many to apply. */
    readonly _tag: "Planned"
    readonly count: number
  }
  | { readonly _tag: "Started"; readonly id: number; readonly name: string }
  | {
    /** It goes on where a process before has ended. */
    readonly _tag: "Resumed"
    readonly id: number
    readonly name: string
    readonly done: number
  }
  | {
    /** It did not get its locks and comes back. */
    readonly _tag: "Blocked"
    readonly id: number
    readonly name: string
    readonly attempts: number
    readonly waitedMillis: number
  }
  | { readonly _tag: "Applied"; readonly id: number; readonly name: string; readonly millis: number }

/** Tells what happens. */
export type Tell = (event: Event) => Effect.Effect<void>

/** A session with what is special about its dialect. */
export interface Site {
  readonly session: Session
  readonly journal: Journal
  readonly ladder: Ladder
  readonly tell: Tell
  readonly wayOf: (statement: Statement) => Way
  /** What the catalogue shows of a probe: a sign for each of its subjects. */
  readonly look: (probe: Probe) => Effect.Effect<string, SqlError>
  /** What stands at the beginning of each transaction. */
  readonly prelude: (migration: Migration, rung: Rung) => Effect.Effect<void, SqlError>
  /** Runs a statement that cannot be rolled back. */
  readonly alone: (
    statement: Statement,
    way: Extract<Way, { readonly _tag: "Alone" }>,
    migration: Migration,
    run: string,
    rung: Rung
  ) => Effect.Effect<void, SqlError>
  /** Waits until what a process that has ended left running on the server has ended too. */
  readonly settle: (run: string) => Effect.Effect<void, SqlError | MigrationsError.MigrationsError>
}

/** The monotonic time in milliseconds. */
export const now: Effect.Effect<number> = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)
