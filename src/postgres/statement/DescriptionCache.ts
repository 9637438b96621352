/**
 * What the sessions of an adapter have learned of statements, by text and named types: the columns, the types that the
 * server derives for the parameters, and whether it can derive them at all. Bounded by number and by text.
 *
 * With it a statement takes one round trip also in a session that has not seen it. It is a guess there: the server
 * confirms it before the rows come. The parameters go as texts that are right under any type, so a guess that is wrong
 * changes no value.
 */
import { maxAge } from "./PreparedCache.ts"
import type { RowDecoder } from "./RowDecoder.ts"

/** What is known of a statement. */
export interface Description {
  /** Unless the server cannot derive the types. */
  readonly columns: RowDecoder | undefined
  /** `undefined` where the server cannot derive them: it has to be told. */
  readonly types: ReadonlyArray<number> | undefined
  /** When it was learned, on the clock of the sessions. */
  readonly since: number
}

/** What a statement is known by. */
interface Named {
  readonly key: string
  readonly sql: string
}

interface Entry extends Description {
  /** What it was before: if that comes back, the text means different things by turns. */
  readonly previous: Description | undefined
  readonly isStale: boolean
}

const maxDescriptions = 2_000
const maxDescribedText = 8_000_000

export class DescriptionCache {
  private readonly entries = new Map<string, Entry>()
  private readonly fickle = new Map<string, number>()
  private text = 0
  /** Goes up when a program of ours has changed what statements may mean: what was named before is parsed anew. */
  epoch = 0

  get(key: string, now: number): Description | undefined {
    const found = this.entries.get(key)
    if (found === undefined || found.isStale) return undefined
    // What the server could not derive, it may be able to by now.
    if (found.types === undefined && now - found.since > maxAge) return undefined
    // A map keeps the order of insertion, so the first is the one that was not asked for longest.
    this.entries.delete(key)
    this.entries.set(key, found)
    return found
  }

  set({ key, sql }: Named, description: Description): void {
    const before = this.entries.get(key)
    let previous = before?.previous
    if (before !== undefined && !isSame(before, description)) {
      if (previous !== undefined && isSame(previous, description)) this.markFickle(sql, description.since + fickleFor)
      previous = before
    }
    this.remove(key)
    this.entries.set(key, { ...description, previous: previous && { ...previous }, isStale: false })
    this.text += key.length
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= maxDescriptions && this.text <= maxDescribedText) break
      this.remove(oldest)
    }
  }

  /** The server says that the text means something else by now, and it may soon mean the former again. */
  forget({ key, sql }: Named, now: number): void {
    this.markFickle(sql, now + watchedFor)
    const found = this.entries.get(key)
    if (found !== undefined) this.entries.set(key, { ...found, isStale: true })
  }

  /** A program of ours has changed the schema, so anything may be something else now. */
  clear(): void {
    this.entries.clear()
    this.fickle.clear()
    this.text = 0
    this.epoch++
  }

  /**
   * Whether a text means different things by turns, as under a `search_path` of each tenant: such a text gets no name,
   * for a plan under a name would be stale at every turn.
   */
  isFickle(sql: string, now: number): boolean {
    const until = this.fickle.get(sql)
    if (until === undefined) return false
    if (now < until) return true
    this.fickle.delete(sql)
    return false
  }

  private markFickle(sql: string, until: number): void {
    const before = this.fickle.get(sql) ?? 0
    this.fickle.delete(sql)
    this.fickle.set(sql, Math.max(before, until))
    for (const oldest of this.fickle.keys()) {
      if (this.fickle.size <= maxDescriptions) break
      this.fickle.delete(oldest)
    }
  }

  private remove(key: string): void {
    if (this.entries.delete(key)) this.text -= key.length
  }
}

/** How long a text gets no name after it has meant the same again as before, in milliseconds. */
const fickleFor = 600_000

/** How long it gets none after it has changed its meaning once, which a changed schema is enough for. */
const watchedFor = 5_000

const isSame = (left: Description, right: Description): boolean =>
  String(left.types) === String(right.types) &&
  (left.columns === right.columns ||
    left.columns !== undefined && right.columns !== undefined && left.columns.isLike(right.columns))
