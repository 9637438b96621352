import type { Parameter } from "../statement/parameters.ts"
import { ParameterKinds } from "./ParameterKinds.ts"

/** Prepared statements by text, bounded. What was not used since the last time round goes first. */
export class StatementCache<A> {
  private readonly entries = new Map<string, { readonly value: A; used: boolean; readonly kinds: ParameterKinds }>()
  private readonly limit: number
  private readonly evict: (sql: string, value: A) => void

  constructor(limit: number, evict: (sql: string, value: A) => void) {
    this.limit = limit
    this.evict = evict
  }

  get(sql: string): A | undefined {
    const entry = this.entries.get(sql)
    if (entry === undefined) return undefined
    entry.used = true
    return entry.value
  }

  set(sql: string, value: A): void {
    while (this.entries.size >= this.limit) {
      const [oldest, entry] = this.entries.entries().next().value!
      this.entries.delete(oldest)
      if (entry.used) {
        entry.used = false
        this.entries.set(oldest, entry)
      } else {
        this.evict(oldest, entry.value)
      }
    }
    this.entries.set(sql, { value, used: false, kinds: new ParameterKinds() })
  }

  /** The server says of what types the parameters of a statement are. */
  described(sql: string, types: ReadonlyArray<number>): void {
    this.entries.get(sql)?.kinds.described(types)
  }

  /** Whether the statement of a text, if there is one, takes these values for what they are. */
  accepts(sql: string, params: ReadonlyArray<Parameter>): boolean {
    return this.entries.get(sql)?.kinds.accepts(params) !== false
  }

  /** The statement of a text is run with these values. */
  note(sql: string, params: ReadonlyArray<Parameter>): void {
    this.entries.get(sql)?.kinds.note(params)
  }

  /** Takes a statement out. */
  delete(sql: string): A | undefined {
    const entry = this.entries.get(sql)
    this.entries.delete(sql)
    return entry?.value
  }

  clear(): void {
    this.entries.clear()
  }
}
