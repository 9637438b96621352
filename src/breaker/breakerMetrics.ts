/**
 * The metrics of a breaker. They are read when metrics are, and cost a call nothing.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { State } from "./BreakerState.ts"

/**
 * The state of each circuit: 0 is closed, 1 half-open, 2 open, 3 isolated. The attribute `watertight.breaker.key` says
 * whose. Like the counters below it is read when metrics are, and costs a call nothing.
 *
 * @category metrics
 * @since 0.1.0
 */
export const stateGauge = Metric.gauge("watertight.breaker.state", {
  description: "The state of the circuit: 0 closed, 1 half-open, 2 open, 3 isolated"
})

/**
 * How many calls were turned away.
 *
 * @category metrics
 * @since 0.1.0
 */
export const rejectedCounter = Metric.counter("watertight.breaker.rejected", {
  description: "How many calls the circuit has turned away",
  incremental: true
})

/**
 * How often the calls of this process have opened the circuit, failed probes included.
 *
 * @category metrics
 * @since 0.1.0
 */
export const tripsCounter = Metric.counter("watertight.breaker.trips", {
  description: "How often the calls of this process have opened the circuit",
  incremental: true
})

const severity: Record<State["_tag"], number> = { Closed: 0, HalfOpen: 1, Open: 2, Isolated: 3 }

/** What the metrics of a breaker show. */
export interface Figures {
  readonly state: () => State["_tag"]
  readonly rejected: () => number
  readonly trips: () => number
}

/** Registers the metrics of a breaker until the scope closes. */
export const register = (key: string, figures: Figures): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const add = <State>(metric: Metric.Metric<number, State>, get: () => State) =>
      Effect.acquireRelease(
        Effect.sync(() =>
          Metric.registerUnsafe(Metric.withAttributes(metric, { "watertight.breaker.key": key }), context, {
            get,
            update: () => {},
            modify: () => {}
          })
        ),
        (registration) => Effect.sync(registration.remove)
      )
    return Effect.all([
      add(stateGauge, () => ({ value: severity[figures.state()] })),
      add(rejectedCounter, () => ({ count: figures.rejected(), incremental: true })),
      add(tripsCounter, () => ({ count: figures.trips(), incremental: true }))
    ], { discard: true })
  })
