/**
 * Names the span of a statement as OpenTelemetry has it: by what the statement does and to which table. Effect knows the
 * database when it makes the span, and not yet the statement.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { fingerprint } from "./fingerprint.ts"

/** `select city`. It has no value in it, and there are as many of them as there are tables. */
export const summaryOf = (sql: string): string => {
  const known = summaries.get(sql)
  if (known !== undefined) return known
  const made = summarize(fingerprint(sql))
  if (summaries.size >= 1_000) summaries.clear()
  summaries.set(sql, made)
  return made
}

const summaries = new Map<string, string>()

const name = String
  .raw`((?:only\s+|if\s+(?:not\s+)?exists\s+|ignore\s+)*(?:["\x60]?[\w$]+["\x60]?\.)?["\x60]?[\w$]+["\x60]?)`

/** What stands before the table, for each operation; the others have none, or none that matters. */
const targets: Readonly<Record<string, RegExp>> = {
  select: new RegExp(`\\bfrom\\s+${name}`, "i"),
  insert: new RegExp(`\\binto\\s+${name}`, "i"),
  replace: new RegExp(`\\binto\\s+${name}`, "i"),
  merge: new RegExp(`\\binto\\s+${name}`, "i"),
  update: new RegExp(`^update\\s+${name}`, "i"),
  delete: new RegExp(`\\bfrom\\s+${name}`, "i"),
  truncate: new RegExp(`^truncate\\s+(?:table\\s+)?${name}`, "i"),
  copy: new RegExp(`^copy\\s+${name}`, "i"),
  call: new RegExp(`^call\\s+${name}`, "i"),
  create: new RegExp(
    `\\b(?:table|view|index|function|procedure|trigger|schema|type)\\s+(?:concurrently\\s+)?${name}`,
    "i"
  ),
  alter: new RegExp(`\\b(?:table|view|index|function|procedure|schema|type)\\s+${name}`, "i"),
  drop: new RegExp(
    `\\b(?:table|view|index|function|procedure|trigger|schema|type)\\s+(?:concurrently\\s+)?${name}`,
    "i"
  )
}

const summarize = (form: string): string => {
  const outer = /^with\b/i.test(form) ? withoutCommon(form) : form
  const operation = /^\(*\s*([a-z]+)/i.exec(outer)?.[1]?.toLowerCase()
  if (operation === undefined) return "statement"
  const target = targets[operation]?.exec(outer)?.[1]?.replace(/^(?:(?:only|if|not|exists|ignore)\s+)+/i, "")
  return target === undefined ? operation : `${operation} ${target.replaceAll(/["`]/g, "")}`
}

/** What comes after the common table expressions. What is in parentheses is none of it. */
const withoutCommon = (form: string): string => {
  let depth = 0
  for (let at = 4; at < form.length; at++) {
    const char = form[at]
    if (char === "(") depth++
    else if (char === ")") depth--
    else if (depth === 0 && /^(?:select|insert|update|delete|merge)\b/i.test(form.slice(at, at + 8))) {
      return form.slice(at)
    }
  }
  return form
}

/** Gives the span that Effect calls `plain` its name. */
export const makeNamer = (plain: string) => {
  const renamed = (tracer: Tracer.Tracer, summary: string): Tracer.Tracer => ({
    context: tracer.context,
    span(options) {
      if (options.kind !== "client" || options.name !== plain) return tracer.span(options)
      const span = tracer.span({ ...options, name: summary })
      span.attribute("db.query.summary", summary)
      return span
    }
  })
  /** The tracer that is to be used, if somebody traces. */
  const tracerOf = (fiber: Fiber.Fiber<unknown, unknown>, sql: () => string): Tracer.Tracer | undefined => {
    const { tracer, tracerEnabled } = fiber.cache
    return tracer === undefined || !tracerEnabled ? undefined : renamed(fiber.getRef(Tracer.Tracer), summaryOf(sql()))
  }
  return {
    effect: <A, E, R>(sql: () => string, run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.withFiber((fiber) => {
        const tracer = tracerOf(fiber, sql)
        return tracer === undefined ? run : Effect.provideService(run, Tracer.Tracer, tracer)
      }),
    stream: <A, E, R>(sql: () => string, stream: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
      Stream.unwrap(Effect.withFiber((fiber) => {
        const tracer = tracerOf(fiber, sql)
        return Effect.succeed(tracer === undefined ? stream : Stream.provideService(stream, Tracer.Tracer, tracer))
      }))
  }
}

export type Namer = ReturnType<typeof makeNamer>
