/**
 * What a pool writes to the log.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import { withoutPrefix } from "../PoolError.ts"
import type { PoolEvent } from "../state/PoolEvent.ts"

/** A stall that is shorter than this is no line in the log, in milliseconds. */
const longStall = 1_000

type Level = "Info" | "Warn"

/** The events that are written, as the end of a sentence that begins with the pool. */
const lines: {
  readonly [Tag in PoolEvent["_tag"]]?: (event: Extract<PoolEvent, { _tag: Tag }>) => string | undefined
} = {
  LeakSuspected: ({ millis }) => `has lent a connection for ${seconds(millis)}: is it held for too long?`,
  LeakReturned: ({ millis }) => `got a connection back that was held for ${seconds(millis)}`,
  LeakReclaimed: ({ millis }) => `took a connection back that was held for ${seconds(millis)}`,
  OverloadLowered: ({ to }) => `has no room for more connections: at most ${to} for a while`,
  CutOff: ({ count }) => `has cut off ${count} of its borrowers, who had not finished in time`,
  Suspended: ({ mode }) => `lends no connections for now: callers ${mode === "hold" ? "wait" : "fail"}`,
  Resumed: () => "lends connections again",
  Cleared: ({ count, mode }) => `has its ${count} connections replaced, ${mode}`,
  Suspected: ({ count, reason }) => `has ${count} connections asked for a sign of life: ${reason}`,
  Resized: ({ max, min }) => `keeps from ${min} to ${max} connections from now on`,
  ProcessStalled: ({ millis }) =>
    millis < longStall
      ? undefined
      : `found that this process stood still for ${seconds(millis)}: that time counts for no limit`
}

const warnings: ReadonlySet<PoolEvent["_tag"]> = new Set([
  "LeakSuspected",
  "LeakReclaimed",
  "OverloadLowered",
  "CutOff",
  "ProcessStalled"
])

/**
 * @category models
 * @since 0.2.0
 */
export class PoolLog {
  private readonly database: string
  private readonly runFork: (effect: Effect.Effect<void>) => unknown

  constructor(database: string, runFork: (effect: Effect.Effect<void>) => unknown) {
    this.database = database
    this.runFork = runFork
  }

  /** Something happened. `detail` is logged beside the line. */
  event(event: PoolEvent, detail?: unknown): void {
    const line = lines[event._tag]?.(event as never)
    if (line === undefined) return
    this.log(warnings.has(event._tag) ? "Warn" : "Info", `The pool of ${this.database} ${line}`, detail)
  }

  unreachable(message: string, permanent: boolean): void {
    const what = permanent
      ? "refuses connections"
      : "cannot be reached, and is tried again while callers wait for up to `acquireTimeout`"
    this.log("Warn", `${this.database} ${what}: ${withoutPrefix(message, this.database)}`)
  }

  reachable(outageMillis: number): void {
    this.log("Info", `${this.database} can be reached again, after ${seconds(outageMillis)}`)
  }

  private log(level: Level, message: string, detail?: unknown): void {
    const log = level === "Info" ? Effect.logInfo : Effect.logWarning
    this.runFork(detail === undefined ? log(message) : log(message, detail))
  }
}

const seconds = (millis: number): string => `${(millis / 1000).toFixed(millis < 10_000 ? 1 : 0)} s`
