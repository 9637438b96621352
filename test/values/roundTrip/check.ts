/**
 * Writes every value in every way into a column, reads the column in every way, and judges: what is read is what was
 * written, or it was refused with a typed error and is not there.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { type Bulk, Outcome } from "watertight"
import type { Seed } from "../../support/index.ts"
import { type Kind, kinds, valuesOf } from "./kinds.ts"
import { isSame, plain, type Shape, show, type Verdict } from "./shapes.ts"

/** A column under test. */
export interface Column {
  /** Its type, as SQL names it. */
  readonly type: string
  readonly shape: Shape
}

/** A row to be written. */
export interface Row {
  readonly id: number
  readonly v: unknown
}

/** A way into a column. */
export interface WayIn {
  readonly name: string
  /** Whether it knows the type of the column before the server does. */
  readonly isTyped?: true
  /** Whether every value goes this way; the others are taken by some of them, at random. */
  readonly isMain?: true
  /** Whether `undefined` is a column that is not given. */
  readonly leavesOut?: true
  /** Whether it is of any use for a column. */
  readonly suits?: (type: string) => boolean
  /** Whether it is of any use for a value. */
  readonly takes?: (value: unknown) => boolean
  readonly write: (sql: SqlClient, place: Place, row: Row) => Effect.Effect<unknown, unknown, any>
  /** The same of many rows at once: those that do not fit are put aside. */
  readonly writeAll?: (
    place: Place,
    rows: ReadonlyArray<Row>
  ) => Effect.Effect<Bulk.Inserted | Bulk.Upserted, unknown, any>
}

/** A way out of it: what each row holds. */
export interface WayOut {
  readonly name: string
  readonly suits?: (type: string) => boolean
  readonly read: (sql: SqlClient, place: Place) => Effect.Effect<ReadonlyArray<Row>, unknown, any>
  /** What may be read in this way where it is not the same as in the others. */
  readonly alike?: (type: string, one: unknown, other: unknown) => boolean
}

export interface Place {
  readonly table: string
  readonly type: string
}

/** What came of a kind of value in a column: how often which. */
export type Tally = Map<string, number>

/** For each column and kind, what came of it in statements and in typed ways. */
export interface Result {
  readonly type: string
  readonly kind: string
  readonly open: Tally
  readonly typed: Tally
}

interface Case {
  readonly id: number
  readonly kind: Kind
  readonly value: unknown
  readonly way: WayIn
}

const count = (tally: Tally, what: string): void => void tally.set(what, (tally.get(what) ?? 0) + 1)

/** All of it for one column. Answers the results and what is wrong. */
export const checkColumn = Effect.fnUntraced(function*(
  sql: SqlClient,
  options: {
    readonly place: Place
    readonly column: Column
    readonly waysIn: ReadonlyArray<WayIn>
    readonly waysOut: ReadonlyArray<WayOut>
    readonly zone: string
    readonly random: Seed
    readonly more: number
    /** The part of the values that take a way which is no main one. */
    readonly share: number
    /** The part of the values that take a main way. */
    readonly mainShare: number
    readonly concurrency: number
    /** Whether a view is the bytes that it shows, of whatever numbers. */
    readonly viewsAreBytes?: boolean
  }
) {
  const { column, concurrency, place, waysIn, waysOut, zone } = options
  const wrong: Array<string> = []
  const results = kinds.map((kind): Result => ({
    type: column.type,
    kind: kind.name,
    open: new Map(),
    typed: new Map()
  }))
  const cases: Array<Case> = []
  kinds.forEach((kind) => {
    for (const value of valuesOf(kind, options.random.fork(), options.more)) {
      for (const way of waysIn) {
        if (way.suits?.(column.type) === false || way.takes?.(value) === false) continue
        if (options.random.chance(way.isMain ? options.mainShare : options.share)) {
          cases.push({ id: cases.length + 1, kind, value, way })
        }
      }
    }
  })
  const tallyOf = ({ kind, way }: Case): Tally => {
    const result = results[kinds.indexOf(kind)]!
    return way.isTyped ? result.typed : result.open
  }
  const written = new Set<number>()
  /** Writes cases together, and in halves where the server refuses one of them. */
  const together = (all: ReadonlyArray<Case>): Effect.Effect<void, never, any> => {
    const { writeAll } = all[0]!.way
    if (writeAll === undefined || all.length === 1) return Effect.forEach(all, alone, { concurrency, discard: true })
    return Effect.flatMap(Effect.exit(writeAll(place, all.map(({ id, value: v }) => ({ id, v })))), (exit) => {
      if (exit._tag === "Failure") {
        const middle = all.length >> 1
        return Effect.andThen(together(all.slice(0, middle)), together(all.slice(middle)))
      }
      const bad = new Set(exit.value.bad.map(({ row }) => row))
      return Effect.sync(() =>
        all.forEach((one, index) => {
          if (bad.has(index + 1)) count(tallyOf(one), "refused")
          else written.add(one.id)
        })
      )
    })
  }
  const alone = (one: Case): Effect.Effect<void, never, any> =>
    Effect.map(Effect.exit(Effect.suspend(() => one.way.write(sql, place, { id: one.id, v: one.value }))), (exit) => {
      if (exit._tag === "Success") return void written.add(one.id)
      const about = `${show(one.value)} by ${one.way.name}`
      if (Cause.hasDies(exit.cause)) {
        return void wrong.push(`${about}: a defect: ${Cause.pretty(exit.cause).slice(0, 300)}`)
      }
      const error = Cause.findErrorOption(exit.cause)
      const failure: any = error._tag === "Some" ? error.value : undefined
      if (failure === undefined || failure.message.includes("secret")) {
        return void wrong.push(`${about}: ${failure?.message ?? "no error"}`)
      }
      const judged = Outcome.of(failure)
      if (failure._tag === "SqlError" && (failure.isRetryable || judged?.outcome === "Unknown")) {
        wrong.push(`${about}: may be repeated: ${failure.message}`)
      }
      count(tallyOf(one), failure._tag === "BulkError" || judged?.outcome === "NotSent" ? "refused" : "by the server")
    })
  yield* Effect.forEach(waysIn, (way) => {
    const all = cases.filter((one) => one.way === way)
    return all.length === 0 ? Effect.void : together(all)
  }, { discard: true })
  const readings = yield* Effect.forEach(
    waysOut.filter((way) => way.suits?.(column.type) !== false),
    (way) => Effect.map(way.read(sql, place), (rows) => ({ way, rows: new Map(rows.map((row) => [row.id, row.v])) }))
  )
  const [first] = readings
  for (const { rows, way } of readings.slice(1)) {
    for (const [id, value] of first!.rows) {
      if (!isSame(rows.get(id), value) && way.alike?.(column.type, value, rows.get(id)) !== true) {
        wrong.push(`${show(cases[id - 1]!.value)}: ${show(value)}, but ${show(rows.get(id))} as ${way.name}`)
      }
    }
    if (rows.size !== first!.rows.size) wrong.push(`${rows.size} instead of ${first!.rows.size} rows as ${way.name}`)
  }
  for (const one of cases) {
    const about = `${show(one.value)} by ${one.way.name}`
    const isThere = first!.rows.has(one.id)
    if (isThere !== written.has(one.id)) {
      wrong.push(`${about}: ${isThere ? "refused, and it is there" : "accepted, and it is not there"}`)
      continue
    }
    if (!isThere) continue
    const read = first!.rows.get(one.id)
    const verdict: Verdict = one.value === null || one.value === undefined && one.way.leavesOut
      ? read === null ? "kept" : undefined
      : column.shape(read, {
        value: plain(one.value, options.viewsAreBytes),
        isTyped: one.way.isTyped ?? false,
        zone
      })
    if (verdict === undefined) wrong.push(`${about}: ${show(read)}`)
    else count(tallyOf(one), verdict)
  }
  return { results, wrong, read: [...first!.rows.values()] }
})
