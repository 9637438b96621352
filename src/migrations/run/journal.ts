/**
 * The tables in which it is written what has been applied: the one of Effect's `Migrator`, so that it and we have one
 * history, and a journal beside it for what that has no room for.
 */
import type { Recorded } from "../plan/plan.ts"
import type { Dialect } from "../sql/lexer.ts"

/** A statement with its parameters. */
export interface Query {
  readonly text: string
  readonly params: ReadonlyArray<unknown>
}

/** Where the tables are. */
export interface Place {
  readonly dialect: Dialect
  readonly schema: string
  readonly effectTable: string
  readonly hasEffectTable: boolean
  readonly hasJournal: boolean
  /** Whether the ids of Effect's table are too small for a time with 14 digits. */
  readonly hasSmallIds: boolean
}

/** What the journal says of a migration that is not one transaction. */
export interface Row extends Recorded {
  /** One for each statement that is applied; `t:` or `a:` before it says whether it could be rolled back. */
  readonly hashes: ReadonlyArray<string>
  /** The statement that was under way, counted from 1. */
  readonly atStatement: number | undefined
  readonly atHash: string | undefined
  /** What the catalogue showed before it. */
  readonly atBefore: string | undefined
  /** Who works on it. */
  readonly run: string
}

/** The name of the journal. */
export const journalTable = "watertight_migrations"

const columns =
  "migration_id, name, kind, checksum, state, done, total, hashes, at_statement, at_hash, at_before, run, error"

/** The statements of the journal, in the words of a dialect. */
export class Journal {
  readonly place: Place
  private readonly journal: string
  private readonly effect: string

  constructor(place: Place) {
    this.place = place
    this.journal = this.qualified(journalTable)
    this.effect = this.qualified(place.effectTable)
  }

  private qualified(table: string): string {
    return `${quote(this.place.dialect, this.place.schema)}.${quote(this.place.dialect, table)}`
  }

  private get isPostgres(): boolean {
    return this.place.dialect === "postgres"
  }

  /** A statement whose parameters are written as `?`. */
  private query(text: string, ...params: ReadonlyArray<unknown>): Query {
    if (!this.isPostgres) return { text, params }
    let count = 0
    return { text: text.replaceAll("?", () => `$${++count}`), params }
  }

  /** What makes the tables that are not there yet, and widens ids that are too small. */
  get create(): ReadonlyArray<string> {
    const { hasEffectTable, hasJournal, hasSmallIds } = this.place
    const statements: Array<string> = []
    if (!hasEffectTable) statements.push(this.isPostgres ? this.createEffectPostgres : this.createEffectMysql)
    else if (hasSmallIds) {
      statements.push(
        this.isPostgres
          ? `alter table ${this.effect} alter column migration_id type bigint`
          : `alter table ${this.effect} modify column migration_id bigint unsigned not null`
      )
    }
    if (!hasJournal) statements.push(this.isPostgres ? this.createJournalPostgres : this.createJournalMysql)
    return statements
  }

  private get createEffectPostgres(): string {
    return `create table if not exists ${this.effect} (migration_id bigint primary key, ` +
      "created_at timestamp with time zone not null default now(), name text not null)"
  }

  private get createEffectMysql(): string {
    return `create table if not exists ${this.effect} (migration_id bigint unsigned not null primary key, ` +
      "created_at timestamp not null default current_timestamp, name varchar(255) not null) engine = InnoDB"
  }

  private get createJournalPostgres(): string {
    return `create table if not exists ${this.journal} (migration_id bigint primary key, name text not null, kind text, ` +
      "checksum text, state text not null, done integer not null default 0, total integer, hashes text not null, " +
      "at_statement integer, at_hash text, at_before text, run text not null, error text, note text, millis bigint, " +
      "started_at timestamp with time zone not null default now(), finished_at timestamp with time zone)"
  }

  private get createJournalMysql(): string {
    return `create table if not exists ${this.journal} (migration_id bigint unsigned not null primary key, ` +
      "name varchar(255) not null, kind varchar(20), checksum char(64), state varchar(20) not null, " +
      "done int not null default 0, total int, hashes mediumtext not null, at_statement int, at_hash varchar(40), " +
      "at_before varchar(255), run varchar(40) not null, error text, note text, millis bigint, " +
      "started_at timestamp(3) not null default current_timestamp(3), finished_at timestamp(3) null) " +
      "engine = InnoDB character set utf8mb4"
  }

  /** Everything that is recorded, in both tables. */
  get readAll(): Query {
    return this.read("", [])
  }

  /** What is recorded of one migration. */
  readOne(id: number): Query {
    return this.read(" where migration_id = ?", [id])
  }

  private read(where: string, params: ReadonlyArray<unknown>): Query {
    const { hasEffectTable, hasJournal } = this.place
    const text = (column: string): string => this.isPostgres ? `${column}::text` : `cast(${column} as char)`
    const parts: Array<string> = []
    if (hasJournal) parts.push(`select ${columns}, ${text("finished_at")} as finished from ${this.journal}${where}`)
    if (hasEffectTable) {
      const nothing = this.isPostgres ? "null::text" : "null"
      const number = this.isPostgres ? "null::integer" : "null"
      const known = hasJournal
        ? `${
          where === "" ? " where" : `${where} and`
        } not exists (select 1 from ${this.journal} j where j.migration_id = e.migration_id)`
        : where
      parts.push(
        `select migration_id, name, ${nothing} as kind, ${nothing} as checksum, 'applied' as state, 0 as done, ` +
          `${number} as total, '' as hashes, ${number} as at_statement, ${nothing} as at_hash, ${nothing} as at_before, ` +
          `'' as run, ${nothing} as error, ${text("created_at")} as finished from ${this.effect} e${known}`
      )
    }
    return this.query(parts.join(" union all "), ...parts.flatMap(() => params))
  }

  /** Takes a migration on, or over from a process that ended in it. */
  claim(row: Row | undefined, step: Entry, run: string, total: number | undefined): Query {
    return row === undefined
      ? this.query(
        `insert into ${this.journal} (migration_id, name, kind, checksum, state, total, hashes, run) ` +
          "values (?, ?, ?, ?, 'running', ?, '', ?)",
        step.id,
        step.name,
        step.kind ?? null,
        step.checksum ?? null,
        total ?? null,
        run
      )
      : this.query(
        `update ${this.journal} set name = ?, kind = ?, checksum = ?, state = 'running', total = ?, error = null, run = ? ` +
          "where migration_id = ? and run = ?",
        step.name,
        step.kind ?? null,
        step.checksum ?? null,
        total ?? null,
        run,
        step.id,
        row.run
      )
  }

  /** A statement is about to run that cannot be rolled back. */
  begin(id: number, run: string, statement: number, hash: string, before: string | undefined): Query {
    return this.query(
      `update ${this.journal} set at_statement = ?, at_hash = ?, at_before = ? where migration_id = ? and run = ?`,
      statement,
      hash,
      before ?? null,
      id,
      run
    )
  }

  /** All statements up to this one are applied. */
  advance(id: number, run: string, done: number, hashes: ReadonlyArray<string>): Query {
    return this.query(
      `update ${this.journal} set done = ?, hashes = ?, at_statement = null, at_hash = null, at_before = null ` +
        "where migration_id = ? and run = ?",
      done,
      hashes.join(" "),
      id,
      run
    )
  }

  /** The server has refused the next statement. */
  fail(id: number, run: string, error: string): Query {
    return this.query(
      `update ${this.journal} set state = 'failed', error = ?, at_statement = null, at_hash = null, at_before = null ` +
        "where migration_id = ? and run = ?",
      error.slice(0, 4000),
      id,
      run
    )
  }

  /** All of a migration that was claimed is applied. */
  finish(id: number, run: string, millis: number): Query {
    return this.query(
      `update ${this.journal} set state = 'applied', finished_at = current_timestamp, millis = ?, error = null, ` +
        "at_statement = null, at_hash = null, at_before = null where migration_id = ? and run = ?",
      Math.round(millis),
      id,
      run
    )
  }

  /** A migration is applied as a whole, or taken to be. */
  record(step: Entry, run: string, state: "applied" | "baseline", millis: number | undefined, note?: string): Query {
    return this.query(
      `insert into ${this.journal} (migration_id, name, kind, checksum, state, hashes, run, note, millis, finished_at) ` +
        "values (?, ?, ?, ?, ?, '', ?, ?, ?, current_timestamp)",
      step.id,
      step.name,
      step.kind ?? null,
      step.checksum ?? null,
      state,
      run,
      note ?? null,
      millis === undefined ? null : Math.round(millis)
    )
  }

  /** Its row in the table of Effect's `Migrator`. */
  recordForEffect(step: { readonly id: number; readonly name: string }): Query {
    return this.query(`insert into ${this.effect} (migration_id, name) values (?, ?)`, step.id, step.name)
  }

  /** Takes name and checksum from the file. */
  accept(step: Entry, isKnown: boolean, run: string, note: string): ReadonlyArray<Query> {
    return [
      isKnown
        ? this.query(
          `update ${this.journal} set name = ?, kind = ?, checksum = ?, note = ? where migration_id = ?`,
          step.name,
          step.kind ?? null,
          step.checksum ?? null,
          note,
          step.id
        )
        : this.record(step, run, "applied", undefined, note),
      this.query(`update ${this.effect} set name = ? where migration_id = ?`, step.name, step.id)
    ]
  }

  /** Forgets a migration. */
  forget(id: number): ReadonlyArray<Query> {
    return [
      this.query(`delete from ${this.journal} where migration_id = ?`, id),
      this.query(`delete from ${this.effect} where migration_id = ?`, id)
    ]
  }

  /** Says that the statement that was under way is applied, or is not. */
  settle(id: number, applied: boolean, done: number, hashes: ReadonlyArray<string>, note: string): Query {
    return this.query(
      `update ${this.journal} set state = 'failed', done = ?, hashes = ?, at_statement = null, at_hash = null, ` +
        "at_before = null, note = ? where migration_id = ?",
      applied ? done + 1 : done,
      hashes.join(" "),
      note,
      id
    )
  }
}

/** What the journal writes down of a migration. */
export interface Entry {
  readonly id: number
  readonly name: string
  readonly kind: string | undefined
  readonly checksum: string | undefined
}

const quote = (dialect: Dialect, name: string): string =>
  dialect === "postgres" ? `"${name.replaceAll("\"", "\"\"")}"` : `\`${name.replaceAll("`", "``")}\``

/** Reads a row of `readAll`. */
export const toRow = (row: ReadonlyArray<unknown>): Row => {
  const text = (index: number): string | undefined => {
    const value = row[index]
    return value === null || value === undefined ? undefined : String(value)
  }
  const number = (index: number): number | undefined => {
    const value = text(index)
    return value === undefined ? undefined : Number(value)
  }
  const hashes = text(7) ?? ""
  return {
    id: number(0)!,
    name: text(1)!,
    kind: text(2),
    checksum: text(3),
    state: text(4) as Row["state"],
    done: number(5) ?? 0,
    total: number(6),
    hashes: hashes === "" ? [] : hashes.split(" "),
    atStatement: number(8),
    atHash: text(9),
    atBefore: text(10),
    run: text(11) ?? "",
    error: text(12),
    appliedAt: text(13)
  }
}
