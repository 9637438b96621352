/**
 * Every message that a server sends is spoiled, under every operation of a pool: each run has to end typed and in time,
 * with an outcome that is true, and the pool goes on.
 *
 * A few messages are drawn by a seed. `WATERTIGHT_MESSAGE_LOSS=all` takes each message with each fault, and `pairs` has a
 * second fault happen as well.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { Outcome } from "watertight"
import * as MessageProxy from "./messageProxy.ts"
import { seed } from "./seed.ts"

const mode = process.env["WATERTIGHT_MESSAGE_LOSS"]

/** Whether every message is spoiled in every way, which takes minutes. */
export const isWhole = mode === "all" || mode === "pairs"

/** Within what a run has to end: a few limits of the layer under test, one after another. In milliseconds. */
const longest = 20_000

export interface Operation<R> {
  readonly run: (table: string) => Effect.Effect<unknown, unknown, R>
  /** Whether it raises `n` of the row 1 by one. What is said of it has to be what became of the row. */
  readonly writes?: boolean | undefined
}

export interface Plan<R> {
  /** The server, without TLS. */
  readonly url: string
  readonly framing: MessageProxy.Framing
  /** A pool with one connection, with limits far below `longest`. */
  readonly layer: (url: string) => Layer.Layer<R | SqlClient.SqlClient, unknown>
  /** A table with the rows 1, 2 and 3, in each of which `n` is the number of the row. */
  readonly table: Effect.Effect<string, unknown, Scope.Scope>
  /** Puts these rows back, past the proxy. */
  readonly refill: (table: string) => Effect.Effect<void, unknown>
  /** What `n` is in the row 1, past the proxy. */
  readonly look: (table: string) => Effect.Effect<number, unknown>
}

type Spoil = ReadonlyArray<readonly [index: number, fault: MessageProxy.Fault]>

/** What is wrong with how an operation has ended. */
const problemOf = (exit: Exit.Exit<unknown, unknown>): string | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  if (!Exit.isFailure(exit) || Cause.hasDies(exit.cause)) return `a defect: ${Cause.pretty(exit.cause)}`
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (Outcome.of(error) !== undefined || isRefusal(error)) return undefined
  return `it has no outcome: ${String(error)}`
}

/** What was refused here, before anything was sent, because of what the server had said of the table. */
const isRefusal = (error: unknown): boolean => (error as { readonly _tag?: unknown } | undefined)?._tag === "BulkError"

/** Whether the row is what it has to be after that. */
const isTrue = (exit: Exit.Exit<unknown, unknown>, n: number): boolean => {
  if (Exit.isSuccess(exit)) return n === 2
  const outcome = Outcome.of(Option.getOrUndefined(Cause.findErrorOption(exit.cause)))?.outcome
  return outcome === "Unknown" ? n === 1 || n === 2 : outcome === "Applied" ? n === 2 : n === 1
}

const healed = Effect.flatMap(SqlClient.SqlClient, (sql) => sql<{ n: number }>`select 7 as n`)

/** One run: what is wrong, if anything is. */
const runOnce = Effect.fnUntraced(function*<R>(
  plan: Plan<R>,
  operation: Operation<R>,
  table: string,
  proxy: MessageProxy.MessageProxy,
  which: Spoil
) {
  yield* plan.refill(table)
  proxy.spoil(...which)
  const ended = yield* operation.run(table).pipe(Effect.exit, Effect.timeoutOption(longest))
  proxy.heal()
  if (Option.isNone(ended)) return "it never ended"
  const problem = problemOf(ended.value)
  if (problem !== undefined) return problem
  // A message that comes twice may be found by the statement after it.
  const after = yield* healed.pipe(Effect.retry({ times: 5, schedule: Schedule.spaced("20 millis") }), Effect.exit)
  if (Exit.isFailure(after)) return `the pool is harmed: ${Cause.pretty(after.cause)}`
  if (Number(after.value[0]?.n) !== 7) return `the next statement got the answer to another one: ${after.value[0]?.n}`
  if (operation.writes !== true) return undefined
  const n = yield* plan.look(table)
  return isTrue(ended.value, n) ? undefined : `it says ${describe(ended.value)}, and n is ${n}`
})

const describe = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isSuccess(exit)
    ? "success"
    : `${Outcome.of(Option.getOrUndefined(Cause.findErrorOption(exit.cause)))?.outcome}: ${Cause.pretty(exit.cause)}`

/** Keeps what is printed on the console of the program meanwhile. */
const listening = <A, E, R>(printed: Array<string>, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const { error, log, warn } = console
  const hear = (...words: ReadonlyArray<unknown>) => void printed.push(words.join(" "))
  return Effect.acquireUseRelease(
    Effect.sync(() => Object.assign(console, { error: hear, log: hear, warn: hear })),
    () => effect,
    () => Effect.sync(() => Object.assign(console, { error, log, warn }))
  )
}

/** Runs an operation with one message spoiled, again and again, and collects what is wrong. */
export const problemsOf = <R>(plan: Plan<R>, operation: Operation<R>, few: number) =>
  Effect.gen(function*() {
    const table = yield* plan.table
    const proxy = yield* MessageProxy.make(plan.framing, plan.url)
    const { int, pick, shuffle, value } = seed(7)
    const problems: Array<string> = []
    yield* Effect.gen(function*() {
      yield* plan.refill(table)
      yield* healed
      proxy.heal()
      yield* operation.run(table)
      const messages = proxy.counted()
      if (messages === 0) return yield* Effect.die(new Error("the server said nothing"))
      const all = Array.from({ length: messages }, (_, at) => MessageProxy.faults.map((fault) => [at, fault] as const))
        .flat()
      for (const [at, fault] of isWhole ? all : shuffle(all).slice(0, few)) {
        const second = mode === "pairs" ? [[int(0, messages), pick(MessageProxy.faults)] as const] : []
        const which = [[at, fault] as const, ...second]
        const printed: Array<string> = []
        const problem = (yield* listening(printed, runOnce(plan, operation, table, proxy, which))) ??
          (printed.length === 0 ? undefined : `it printed: ${printed[0]}`)
        if (problem !== undefined) problems.push(`${which.join(" and ")} of ${messages}, seed ${value}: ${problem}`)
      }
    }).pipe(Effect.provide(plan.layer(proxy.url)))
    return problems
  })
