/**
 * The statements that a session has given a name.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type { XidQuery } from "../exchange/XidQuery.ts"
import type { Parameters } from "./parameters.ts"
import { countPlaceholders } from "./placeholders.ts"
import type { RowDecoder } from "./RowDecoder.ts"
import { type Traces, tracesOf } from "./trace.ts"

/** What the server is known to hold under a name. */
export const Held = {
  /** Nothing yet: whoever needs the statement has to send the `Parse`. */
  Nothing: 0,
  /** A `Parse` and a `Describe` are on their way. Others that need the statement wait for the description. */
  Describing: 1,
  /** A `Parse` is on its way together with an execution. Others may bind behind it. */
  Parsing: 2,
  /** The statement, and its columns are known. */
  Statement: 3
} as const
export type Held = typeof Held[keyof typeof Held]

/** One statement: the same text with parameters of other types is another statement to the server. */
export class Prepared {
  readonly name: string
  readonly sql: string
  readonly oids: ReadonlyArray<number>
  /** What it is known by to `DescriptionCache`. */
  readonly key: string
  /** When it was made, on the session's clock. */
  readonly since: number
  /** What the schema was then: see `DescriptionCache.epoch`. */
  readonly epoch: number
  held: Held = Held.Nothing
  description: RowDecoder | undefined = undefined
  /** The types of the parameters, as the server has described them under this name. */
  types: ReadonlyArray<number> | undefined = undefined
  /** Executions that are bound to the name and have not ended. */
  users = 0
  /** The name is to be closed once nobody uses it. */
  doomed = false
  /** Whether the cache has it: a statement for one use never gets there, and an evicted one has left. */
  listed = false
  lastUse = 0
  /** Whether it is a COPY, which takes whatever follows on the wire for its data. */
  readonly copies: boolean
  private writing: boolean | undefined = undefined
  /** The question for the id of the transaction that rides with it. */
  xidQuery: XidQuery | undefined = undefined
  private leaves: Traces | undefined = undefined
  private wants: number | undefined | null = null
  /** The same text with other types. */
  next: Prepared | undefined = undefined

  constructor(name: string, sql: string, parameters: Parameters, since: number, epoch = 0, scope = "") {
    const oids: Array<number> = new Array(parameters.length)
    for (let index = 0; index < parameters.length; index++) oids[index] = parameters[index]!.oid
    this.name = name
    this.sql = sql
    this.oids = oids
    this.key = keyOf(sql, parameters, scope)
    this.since = since
    this.epoch = epoch
    this.copies = copyPattern.test(sql)
  }

  /** Whether it may write. Found out when somebody wants to know. */
  get writes(): boolean {
    return this.writing ??= writePattern.test(this.sql)
  }

  /** What it may leave behind in the session. */
  get trace(): number {
    return (this.leaves ??= tracesOf(this.sql)).trace
  }

  /** The functions that it calls and that are not known to leave nothing behind. */
  get calls(): ReadonlyArray<string> | undefined {
    return (this.leaves ??= tracesOf(this.sql)).calls
  }

  /** How many parameters the text asks for, unless that cannot be told. */
  get placeholders(): number | undefined {
    return this.wants === null ? this.wants = countPlaceholders(this.sql) : this.wants
  }

  takes(parameters: Parameters): boolean {
    const oids = this.oids
    if (oids.length !== parameters.length) return false
    for (let index = 0; index < oids.length; index++) {
      if (oids[index] !== parameters[index]!.oid) return false
    }
    return true
  }
}

/** A text, the types that are named for its parameters, and what decides what its names mean: that is one statement. */
export const keyOf = (sql: string, parameters: Parameters, scope = ""): string => {
  let named = ""
  for (let index = 0; index < parameters.length; index++) {
    const { oid } = parameters[index]!
    if (oid !== 0) named += `${index}:${oid},`
  }
  return named === "" && scope === "" ? sql : `${scope}\u0000${named}\u0000${sql}`
}

const copyPattern = /^\s*copy\b/i

/** Takes a statement that writes through a function for one that does not, and some that do not for one that does. */
const writePattern =
  /\b(?:insert|update|delete|merge|truncate|create|alter|drop|grant|revoke|comment|refresh|reindex|call|do|lock)\b/i

/** Behind a pooler, sessions of different processes may meet on one server connection. */
const namespace = Math.random().toString(36).slice(2, 10)
let names = 0

const uniqueName = (): string => `wt_${namespace}_${(++names).toString(36)}`

/** The longest text worth a name: a longer one is most likely a batch that is never seen again. */
export const maxTextLength = 15 * 1024

/** How long a statement keeps its name, in milliseconds: its plan was made for the data of back then. */
export const maxAge = 300_000

/**
 * The named statements of one session, bounded by their number.
 *
 * An evicted statement is closed on the server, but the `Close` waits for the next statement to ride with.
 */
export class PreparedCache {
  private readonly max: number
  private readonly statements = new Map<string, Prepared>()
  private count = 0
  private uses = 0
  private closes: Array<Uint8Array> | undefined = undefined

  constructor(max: number) {
    this.max = max
  }

  get size(): number {
    return this.count
  }

  /** Finds a statement that is held, or on its way. One that has become too old is dropped. */
  find(sql: string, parameters: Parameters, now: number, epoch: number): Prepared | undefined {
    let found = this.statements.get(sql)
    while (found !== undefined && !found.takes(parameters)) found = found.next
    if (found === undefined) return undefined
    if (found.held !== Held.Statement || found.epoch === epoch && now - found.since < maxAge) {
      found.lastUse = ++this.uses
      return found
    }
    this.evict(found)
    return undefined
  }

  /** Makes the entry of a statement that is about to be parsed. */
  add(sql: string, parameters: Parameters, now: number, epoch: number): Prepared {
    while (this.count >= this.max && this.evictOldest()) {}
    const prepared = this.unlisted(sql, parameters, now, epoch)
    prepared.listed = true
    prepared.lastUse = ++this.uses
    prepared.next = this.statements.get(sql)
    this.statements.set(sql, prepared)
    this.count++
    return prepared
  }

  /** A statement with a name for one use. */
  unlisted(sql: string, parameters: Parameters, now: number, epoch: number, scope = ""): Prepared {
    return new Prepared(uniqueName(), sql, parameters, now, epoch, scope)
  }

  /** Drops a statement. Its name is closed when the last execution that is bound to it has ended. */
  evict(prepared: Prepared): void {
    if (prepared.listed) {
      prepared.listed = false
      this.count--
      const first = this.statements.get(prepared.sql)
      if (first !== prepared) {
        let before = first
        while (before !== undefined && before.next !== prepared) before = before.next
        if (before !== undefined) before.next = prepared.next
      } else if (prepared.next === undefined) {
        this.statements.delete(prepared.sql)
      } else {
        this.statements.set(prepared.sql, prepared.next)
      }
    }
    // Closing a name that does not exist is no error, so whether the `Parse` succeeded need not be known.
    if (prepared.held === Held.Nothing) return
    prepared.doomed = true
    if (prepared.users === 0) this.close(prepared)
  }

  /** An execution that was bound to a statement has ended. */
  release(prepared: Prepared): void {
    if (--prepared.users === 0 && prepared.doomed) this.close(prepared)
  }

  private close(prepared: Prepared): void {
    prepared.doomed = false
    prepared.held = Held.Nothing
    const closes = this.closes ??= []
    closes.push(PgProtocol.encodeClose({ target: "statement", name: prepared.name }))
    const { xidQuery } = prepared
    if (xidQuery?.isHeld === true) closes.push(PgProtocol.encodeClose({ target: "statement", name: xidQuery.name }))
  }

  /** The server has forgotten every name: `DISCARD ALL` or `DEALLOCATE ALL`. */
  clear(): void {
    for (const first of this.statements.values()) {
      for (let prepared: Prepared | undefined = first; prepared !== undefined; prepared = prepared.next) {
        prepared.listed = false
        prepared.held = Held.Nothing
      }
    }
    this.statements.clear()
    this.count = 0
    this.closes = undefined
  }

  takeCloses(): Array<Uint8Array> | undefined {
    const closes = this.closes
    this.closes = undefined
    return closes
  }

  /**
   * The least recently used statement goes. Looking at all of them only happens when a new statement comes into a full
   * cache, which is cheaper than keeping them in order at every use. One that is still being parsed is passed over.
   */
  private evictOldest(): boolean {
    let oldest: Prepared | undefined
    for (const first of this.statements.values()) {
      for (let prepared: Prepared | undefined = first; prepared !== undefined; prepared = prepared.next) {
        if (prepared.held === Held.Describing || prepared.held === Held.Parsing) continue
        if (oldest === undefined || prepared.lastUse < oldest.lastUse) oldest = prepared
      }
    }
    if (oldest === undefined) return false
    this.evict(oldest)
    return true
  }
}
