/**
 * How a statement is run so that a crash cannot lose it or double it, told from its text.
 *
 * What can be rolled back goes into one transaction with its entry in the journal. What cannot has to be looked for in
 * the catalogue after a crash: this says what to look for.
 */
import type { Name } from "./cursor.ts"

/** Something that the catalogue knows about. */
export interface Subject {
  readonly kind:
    | "table"
    | "index"
    | "column"
    | "constraint"
    | "routine"
    | "trigger"
    | "event"
    | "database"
  /** The object itself; of a column, an index or a constraint the table that it is of, where the statement names one. */
  readonly of: Name | undefined
  /** The name of the column, index, constraint, routine, trigger, event or database. */
  readonly name: string
}

/** What the catalogue shows when a statement has been applied. */
export interface Probe {
  readonly subjects: ReadonlyArray<Subject>
  /** For each subject a `1` if it is there afterwards, or a `0`. */
  readonly done: string
}

/** How a statement is run. */
export type Way =
  | {
    /** In a transaction, together with its entry in the journal. */
    readonly _tag: "Transaction"
    /** Whether it only reads. */
    readonly reads: boolean
  }
  | {
    /** By itself: it cannot be in a transaction, or ends one. */
    readonly _tag: "Alone"
    /** Whether it does the same if it is run once more. */
    readonly repeatable: boolean
    /** What to look for, where that is known. */
    readonly probe: Probe | undefined
    /** The index that it builds without keeping writers out, which a failure leaves behind unusable. */
    readonly builds: { readonly table: Name; readonly index: string } | undefined
  }
  | {
    /** It changes a setting of the session, and has to be run again in the next one. */
    readonly _tag: "Session"
  }
  | {
    /** It cannot be part of a migration. */
    readonly _tag: "Refused"
    readonly problem: string
  }

/** A statement that can be rolled back. */
export const inTransaction: Way = { _tag: "Transaction", reads: false }

/** A statement that only reads. */
export const reading: Way = { _tag: "Transaction", reads: true }

/** A statement about the session. */
export const session: Way = { _tag: "Session" }

/** A statement that cannot be part of a migration. */
export const refused = (problem: string): Way => ({ _tag: "Refused", problem })

/** A statement that does the same if it is run again. */
export const repeatable: Way = { _tag: "Alone", repeatable: true, probe: undefined, builds: undefined }

/** A statement of which nobody can tell whether it has been applied. */
export const opaque: Way = { _tag: "Alone", repeatable: false, probe: undefined, builds: undefined }

/** A statement that is looked for. */
export const probed = (...expected: ReadonlyArray<readonly [subject: Subject, present: boolean]>): Way => ({
  _tag: "Alone",
  repeatable: false,
  probe: {
    subjects: expected.map(([subject]) => subject),
    done: expected.map(([, present]) => present ? "1" : "0").join("")
  },
  builds: undefined
})
