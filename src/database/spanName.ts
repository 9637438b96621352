/**
 * Names the span of a statement as OpenTelemetry has it: by what the statement does and to which table. Effect knows the
 * database when it makes the span, and not yet the statement.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { loaded } from "./loaded.ts"

/** It is loaded when somebody traces. */
const summaries = loaded(() => import("./summary.ts"))

/** The span of the statement that is run with a tracer. Effect does not hand it on. */
const spans = new WeakMap<Tracer.Tracer, Tracer.Span>()

/** The span of the statement that a fiber runs, if somebody traces. */
export const spanOf = (fiber: Fiber.Fiber<unknown, unknown>): Tracer.Span | undefined => {
  const { tracer, tracerEnabled } = fiber.cache
  return tracer === undefined || !tracerEnabled ? undefined : spans.get(fiber.getRef(Tracer.Tracer))
}

/** Gives the span that Effect calls `plain` its name. */
export const makeNamer = (plain: string) => {
  const renamed = (tracer: Tracer.Tracer, summary: string): Tracer.Tracer => {
    const own: Tracer.Tracer = {
      context: tracer.context,
      span(options) {
        if (options.kind !== "client" || options.name !== plain) return tracer.span(options)
        const span = tracer.span({ ...options, name: summary })
        span.attribute("db.query.summary", summary)
        spans.set(own, span)
        return span
      }
    }
    return own
  }
  const traced = <A, E, R>(
    fiber: Fiber.Fiber<unknown, unknown>,
    sql: () => string,
    use: (tracer: Tracer.Tracer) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> =>
    Effect.flatMap(summaries, ({ summaryOf }) => use(renamed(fiber.getRef(Tracer.Tracer), summaryOf(sql()))))
  const isTraced = ({ cache }: Fiber.Fiber<unknown, unknown>): boolean =>
    cache.tracer !== undefined && cache.tracerEnabled
  return {
    effect: <A, E, R>(sql: () => string, run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.withFiber((fiber) =>
        isTraced(fiber)
          ? traced(fiber, sql, (tracer) => Effect.provideService(run, Tracer.Tracer, tracer))
          : run
      ),
    stream: <A, E, R>(sql: () => string, stream: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
      Stream.unwrap(Effect.withFiber((fiber) =>
        isTraced(fiber)
          ? traced(fiber, sql, (tracer) => Effect.succeed(Stream.provideService(stream, Tracer.Tracer, tracer)))
          : Effect.succeed(stream)
      ))
  }
}

export type Namer = ReturnType<typeof makeNamer>
