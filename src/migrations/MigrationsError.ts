/**
 * Why migrations did not do what was asked for, and what to do about it.
 *
 * @since 0.2.0
 */
import * as Data from "effect/Data"
import { TaggedError } from "../options/TaggedError.ts"

/**
 * A file that cannot be a migration: its name, a directive, or its text is not understood.
 *
 * @category models
 * @since 0.2.0
 */
export class InvalidFile extends Data.TaggedClass("InvalidFile")<{
  readonly file: string
  /** The line, counted from 1, if it is about one. */
  readonly line: number | undefined
  /** What is wrong, as a sentence without its subject or after a colon. */
  readonly problem: string
}> {
  get message(): string {
    return `${this.file}${this.line === undefined ? "" : `:${this.line}`} ${this.problem}`
  }
}

/**
 * Two files have the same id.
 *
 * @category models
 * @since 0.2.0
 */
export class Duplicate extends Data.TaggedClass("Duplicate")<{
  readonly id: number
  readonly names: ReadonlyArray<string>
}> {
  get message(): string {
    return `${this.names.join(" and ")} have the same id: give the one that is not applied yet a new id`
  }
}

/**
 * A file that was applied is not what it was then.
 *
 * @category models
 * @since 0.2.0
 */
export class Changed extends Data.TaggedClass("Changed")<{
  readonly id: number
  readonly name: string
  /** The statement that is not what it was, counted from 1, where that is known. */
  readonly statement: number | undefined
}> {
  get message(): string {
    const what = `${stepName(this)} was edited after it had been applied`
    return this.statement === undefined
      ? `${what}: put back what was there and make a new migration for the change; if nothing that matters has changed, ` +
        `run \`watertight repair ${this.id} --accept\``
      : `${
        stepName(this)
      } was edited after its statement ${this.statement} had been applied: put that statement back ` +
        "as it was; what comes after it may be changed"
  }
}

/**
 * A file that was applied has another name now.
 *
 * @category models
 * @since 0.2.0
 */
export class Renamed extends Data.TaggedClass("Renamed")<{
  readonly id: number
  /** The name in the files. */
  readonly name: string
  /** The name under which it was applied. */
  readonly was: string
}> {
  get message(): string {
    return `${this.id} was applied as ${this.id}_${this.was} and is called ${stepName(this)} now: if it is the same ` +
      `migration, run \`watertight repair ${this.id} --accept\`; if it is another one, give it a new id`
  }
}

/**
 * A migration was applied and there is no file for it, although there are files of later ones.
 *
 * @category models
 * @since 0.2.0
 */
export class Missing extends Data.TaggedClass("Missing")<{
  readonly id: number
  readonly name: string
}> {
  get message(): string {
    return `${stepName(this)} was applied, and its file is gone: put it back, or run \`watertight repair ${this.id} ` +
      "--forget` if it is to be forgotten"
  }
}

/**
 * A migration that was not applied has a lower id than one that was.
 *
 * @category models
 * @since 0.2.0
 */
export class OutOfOrder extends Data.TaggedClass("OutOfOrder")<{
  readonly id: number
  readonly name: string
  /** The highest id that was applied. */
  readonly latest: number
}> {
  get message(): string {
    return `${stepName(this)} is not applied, and ${this.latest} is: give it an id above that, or say that the order ` +
      "does not matter with `outOfOrder: true` or `watertight migrate --out-of-order`"
  }
}

/**
 * A code file could not be imported, or has no effect as its default export.
 *
 * @category models
 * @since 0.2.0
 */
export class ImportFailed extends Data.TaggedClass("ImportFailed")<{
  readonly id: number
  readonly name: string
  readonly problem: string
  readonly cause: unknown
}> {
  get message(): string {
    return `${stepName(this)} ${this.problem}`
  }
}

/**
 * A migration failed.
 *
 * **Details**
 *
 * Where it is one transaction nothing of it is left. Where it is not, `applied` of its statements stay, and the next run
 * goes on behind them: what comes after them may be edited.
 *
 * @category models
 * @since 0.2.0
 */
export class Failed extends Data.TaggedClass("Failed")<{
  readonly id: number
  readonly name: string
  /** The statement that failed, counted from 1, where that is known. */
  readonly statement: number | undefined
  /** The line in which it begins. */
  readonly line: number | undefined
  /** Its first words. */
  readonly words: string | undefined
  /** How many of its statements stay applied; `undefined` if nobody has counted them. */
  readonly applied: number | undefined
  readonly cause: unknown
}> {
  get message(): string {
    const where = this.statement === undefined
      ? ""
      : ` at statement ${this.statement}${this.line === undefined ? "" : ` in line ${this.line}`}` +
        (this.words === undefined ? "" : ` (${this.words})`)
    const what = this.cause instanceof Error && this.cause.message !== "" ? `: ${this.cause.message}` : ""
    const left = this.applied === undefined
      ? "What it had done before stays: finish or undo it by hand, and run " +
        `\`watertight repair ${this.id} --as applied\` or \`watertight repair ${this.id} --as pending\``
      : this.applied === 0
      ? "Nothing of it was applied: correct it and run it again"
      : `Its first ${
        plural(this.applied, "statement")
      } stayed applied: correct what comes after and run it again, it ` +
        `goes on at statement ${this.applied + 1}`
    // What the database says of a statement ends with the statement, on lines of its own.
    return `${stepName(this)} failed${where}${what}${what.includes("\n") ? "\n" : ". "}${left}`
  }
}

/**
 * A process ended in the middle of a migration, and nobody can tell whether one of its statements was applied.
 *
 * @category models
 * @since 0.2.0
 */
export class Interrupted extends Data.TaggedClass("Interrupted")<{
  readonly id: number
  readonly name: string
  /** The statement of which it is not known, counted from 1; none if it is the whole migration. */
  readonly statement: number | undefined
  readonly words: string | undefined
  /** How many statements were applied for certain. */
  readonly applied: number | undefined
}> {
  get message(): string {
    return this.statement === undefined
      ? `${stepName(this)} was interrupted${
        this.applied === undefined ? "" : ` after ${plural(this.applied, "statement")} that stayed applied`
      }, and cannot be taken up by itself. Look at the database, finish or undo it by hand, and run \`watertight repair ${this.id} ` +
        `--as applied\` or \`watertight repair ${this.id} --as pending\``
      : `${stepName(this)} was interrupted at statement ${this.statement}${
        this.words === undefined ? "" : ` (${this.words})`
      }: ${
        plural(this.applied ?? 0, "statement")
      } before it stayed applied, and whether this one did cannot be told. Look at ` +
        `the database, and run \`watertight repair ${this.id} --statement ${this.statement} --as applied\` or \`--as ` +
        "pending`; then migrate again"
  }
}

/**
 * Another process had the turn for all of the time that was given.
 *
 * @category models
 * @since 0.2.0
 */
export class Busy extends Data.TaggedClass("Busy")<{
  readonly waitedMillis: number
  /** Who has it, as far as the server tells. */
  readonly holder: string | undefined
}> {
  get message(): string {
    return `another process is migrating${this.holder === undefined ? "" : ` (${this.holder})`}, and did not get on ` +
      `within ${Math.round(this.waitedMillis / 1000)} seconds`
  }
}

/**
 * A statement did not get its lock in all the time that was given, because others have the table.
 *
 * @category models
 * @since 0.2.0
 */
export class Blocked extends Data.TaggedClass("Blocked")<{
  readonly id: number
  readonly name: string
  readonly attempts: number
  readonly waitedMillis: number
  readonly cause: unknown
}> {
  get message(): string {
    return `${stepName(this)} did not get its locks in ${plural(this.attempts, "attempt")} within ${
      Math.round(this.waitedMillis / 1000)
    } seconds. Nothing waits behind it any more. Look for long transactions, or give it more time with \`lock.limit\``
  }
}

/**
 * Another process has taken the migration over while this one was away.
 *
 * @category models
 * @since 0.2.0
 */
export class Overtaken extends Data.TaggedClass("Overtaken")<{
  readonly id: number
  readonly name: string
}> {
  get message(): string {
    return `${stepName(this)} was taken over by another process: this one has stopped`
  }
}

/**
 * What was asked for does not fit what there is.
 *
 * @category models
 * @since 0.2.0
 */
export class Refused extends Data.TaggedClass("Refused")<{
  /** What is wrong, and what would be right. */
  readonly problem: string
}> {
  get message(): string {
    return this.problem
  }
}

/**
 * Why migrations did not do what was asked for.
 *
 * @category models
 * @since 0.2.0
 */
export type Reason =
  | InvalidFile
  | Duplicate
  | Changed
  | Renamed
  | Missing
  | OutOfOrder
  | ImportFailed
  | Failed
  | Interrupted
  | Busy
  | Blocked
  | Overtaken
  | Refused

/**
 * Migrations did not do what was asked for.
 *
 * @category errors
 * @since 0.2.0
 */
export class MigrationsError extends TaggedError("MigrationsError")<{
  readonly reason: Reason
  /** What else is wrong, where several things are. */
  readonly others?: ReadonlyArray<Reason>
}> {
  override get message(): string {
    return [this.reason, ...this.others ?? []].map((reason) => reason.message).join("\n")
  }
}

/** The failure for one reason. */
export const failWith = (reason: Reason): MigrationsError => new MigrationsError({ reason })

/** A migration, as people should read it. */
const stepName = (step: { readonly id: number; readonly name: string }): string => `${step.id}_${step.name}`

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`
