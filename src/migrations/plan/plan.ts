/**
 * What is to be done, told from the files and from what the database has recorded. It asks nobody and changes nothing.
 */
import * as MigrationsError from "../MigrationsError.ts"

/** What the plan needs to know of a file. */
export interface Planned {
  readonly id: number
  readonly name: string
  /** `"sql"`, or the extension of a code file; `undefined` for what is no file. */
  readonly kind: string | undefined
  readonly checksum: string | undefined
}

/** What the database has recorded of a migration. */
export interface Recorded {
  readonly id: number
  readonly name: string
  readonly kind: string | undefined
  /** `undefined` for what was applied by a tool that keeps none. */
  readonly checksum: string | undefined
  readonly state: "applied" | "baseline" | "running" | "failed"
  /** How many statements are applied, of one that is not one transaction. */
  readonly done: number
  /** Of how many, where that is known. */
  readonly total: number | undefined
  readonly appliedAt: string | undefined
  /** What the server said when it failed. */
  readonly error: string | undefined
}

/**
 * Where a migration is.
 *
 * - `applied`, `pending`: what they say.
 * - `baseline`: was there before migrations were kept.
 * - `unfinished`: some of its statements are applied; a process works on it, or ended in it.
 * - `failed`: as `unfinished`, and its next statement was refused.
 * - `edited`: applied, and the file has changed since. A warning for code, whose text changes for many reasons.
 * - `renamed`, `missing`, `out of order`: what they say.
 * - `unknown`: applied, later than all files: by a newer version of the program.
 */
export type State =
  | "applied"
  | "baseline"
  | "pending"
  | "unfinished"
  | "failed"
  | "edited"
  | "renamed"
  | "missing"
  | "out of order"
  | "unknown"

/** A migration and where it is. */
export interface Entry {
  readonly id: number
  readonly name: string
  readonly state: State
  readonly appliedAt: string | undefined
  readonly done: number
  readonly total: number | undefined
  readonly error: string | undefined
}

/** What is allowed, and how far to go. */
export interface Rules {
  /** Whether a migration may be applied although a later one has been. */
  readonly outOfOrder: boolean
  /** Whether the files of applied migrations may be gone. */
  readonly allowMissing: boolean
  /** The last id to apply. */
  readonly to: number | undefined
}

/** What is to be done. */
export interface Plan<M> {
  /** Every migration that is known, in order. */
  readonly entries: ReadonlyArray<Entry>
  /** What is to be applied, in order. */
  readonly pending: ReadonlyArray<M>
  /** Why nothing may be done. */
  readonly problems: ReadonlyArray<MigrationsError.Reason>
  /** What should be looked at, and keeps nothing from being done. */
  readonly warnings: ReadonlyArray<MigrationsError.Reason>
}

/** Makes the plan. */
export const plan = <M extends Planned>(
  files: ReadonlyArray<M>,
  recorded: ReadonlyArray<Recorded>,
  rules: Rules
): Plan<M> => {
  const sorted = [...files].sort((a, b) => a.id - b.id)
  const records = new Map(recorded.map((record) => [record.id, record]))
  const byId = new Map(sorted.map((file) => [file.id, file]))
  const complete = recorded.filter(isComplete)
  const latest = complete.reduce((highest, record) => Math.max(highest, record.id), -Infinity)
  const baseline = complete.reduce(
    (highest, record) => record.state === "baseline" ? Math.max(highest, record.id) : highest,
    -Infinity
  )
  const lastFile = sorted.at(-1)?.id ?? -Infinity
  const problems: Array<MigrationsError.Reason> = duplicates(sorted)
  const warnings: Array<MigrationsError.Reason> = []
  const pending: Array<M> = []
  const entries: Array<Entry> = []

  for (const file of byId.values()) {
    const record = records.get(file.id)
    const found = record === undefined
      ? unrecorded(file, latest, baseline, rules)
      : compare(file, record)
    entries.push(entryOf(found.state, file, record))
    if (found.problem !== undefined) (found.isWarning ? warnings : problems).push(found.problem)
    else if (isOpen(found.state) && (rules.to === undefined || file.id <= rules.to)) pending.push(file)
  }
  for (const record of recorded) {
    if (byId.has(record.id)) continue
    const isLater = record.id > lastFile
    const isCovered = record.id <= baseline
    entries.push(
      entryOf(isCovered && record.state === "baseline" ? "baseline" : isLater ? "unknown" : "missing", record, record)
    )
    if (isCovered) continue
    const missing = new MigrationsError.Missing({ id: record.id, name: record.name })
    if (isLater && isComplete(record) || rules.allowMissing) warnings.push(missing)
    else problems.push(missing)
  }
  return { entries: entries.sort((a, b) => a.id - b.id), pending, problems, warnings }
}

interface Found {
  readonly state: State
  readonly problem?: MigrationsError.Reason
  readonly isWarning?: boolean
}

const isComplete = (record: Recorded): boolean => record.state === "applied" || record.state === "baseline"

const isOpen = (state: State): boolean =>
  state === "pending" || state === "out of order" || state === "unfinished" || state === "failed"

const unrecorded = (file: Planned, latest: number, baseline: number, rules: Rules): Found => {
  if (file.id <= baseline) return { state: "baseline" }
  if (file.id > latest) return { state: "pending" }
  return rules.outOfOrder || rules.to !== undefined && file.id > rules.to
    ? { state: "out of order" }
    : { state: "out of order", problem: new MigrationsError.OutOfOrder({ id: file.id, name: file.name, latest }) }
}

const compare = (file: Planned, record: Recorded): Found => {
  if (record.state === "running") return { state: "unfinished" }
  if (record.state === "failed") return { state: "failed" }
  if (record.state === "baseline") return { state: "baseline" }
  if (record.name !== file.name) {
    return {
      state: "renamed",
      problem: new MigrationsError.Renamed({ id: file.id, name: file.name, was: record.name })
    }
  }
  if (
    record.checksum === undefined || file.checksum === undefined || record.kind !== file.kind ||
    record.checksum === file.checksum
  ) return { state: "applied" }
  return {
    state: "edited",
    problem: new MigrationsError.Changed({ id: file.id, name: file.name, statement: undefined }),
    isWarning: file.kind !== "sql"
  }
}

const duplicates = (sorted: ReadonlyArray<Planned>): Array<MigrationsError.Reason> => {
  const problems: Array<MigrationsError.Reason> = []
  for (let index = 1; index < sorted.length; index++) {
    const { id } = sorted[index]!
    if (id !== sorted[index - 1]!.id || id === sorted[index - 2]?.id) continue
    const names = sorted.filter((file) => file.id === id).map((file) => `${file.id}_${file.name}.${file.kind ?? ""}`)
    problems.push(new MigrationsError.Duplicate({ id, names }))
  }
  return problems
}

const entryOf = (
  state: State,
  step: { readonly id: number; readonly name: string },
  record: Recorded | undefined
): Entry => ({
  id: step.id,
  name: step.name,
  state,
  appliedAt: record?.appliedAt,
  done: record?.done ?? 0,
  total: record?.total,
  error: record?.error
})
