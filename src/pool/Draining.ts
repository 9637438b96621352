/**
 * The end of all connections of a pool: for good at its shutdown, or until `resume` when it is drained.
 *
 * **Details**
 *
 * A deadline belongs to the state that it was set for. `resume` ends the drains that are under way: they return, and
 * their deadlines cut off nothing. A shutdown takes drains over: they end with it, by its deadline.
 *
 * @since 0.2.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Connection } from "../Adapter.ts"
import * as Timeout from "../timing/timeout.ts"
import { holdersOf } from "./Holders.ts"
import type * as PoolError from "./PoolError.ts"
import type { PoolRuntime } from "./PoolRuntime.ts"
import type { DrainReport, ShutdownReport } from "./PoolStats.ts"

type Cut = ReadonlyArray<PoolError.Holder>

const nobody: Cut = []

/**
 * @category models
 * @since 0.2.0
 */
export class Draining {
  private readonly runtime: PoolRuntime
  /** The longest that a shutdown may take, in milliseconds. */
  private readonly shutdownMillis: number
  private shutdownFiber: Fiber.Fiber<ShutdownReport> | undefined = undefined
  /** Done by the `resume` that ends the drains under way. `undefined` while there is no drain. */
  private calledOff: Deferred.Deferred<void> | undefined = undefined

  constructor(runtime: PoolRuntime, shutdownMillis: number) {
    this.runtime = runtime
    this.shutdownMillis = shutdownMillis
  }

  /** In a fiber of its own: a caller that is interrupted while it waits for the end does not stop it. */
  readonly shutdown: Effect.Effect<ShutdownReport> = Effect.suspend(() =>
    Fiber.join(this.shutdownFiber ??= this.runtime.runFork(this.shuttingDown))
  )

  /** In a fiber of its own, as the shutdown. */
  drain(mode: "hold" | "reject", timeoutMillis: number): Effect.Effect<DrainReport> {
    return Effect.suspend(() =>
      this.runtime.state.closing ? this.shutdown : Fiber.join(this.runtime.runFork(this.draining(mode, timeoutMillis)))
    )
  }

  resume(): void {
    const { runtime } = this
    if (this.calledOff !== undefined) Deferred.doneUnsafe(this.calledOff, Effect.void)
    this.calledOff = undefined
    runtime.state.resume(runtime.now())
    runtime.perform()
  }

  private readonly shuttingDown: Effect.Effect<ShutdownReport> = Effect.suspend(() => {
    const { runtime } = this
    const gone = runtime.drained
    runtime.state.shutdown(runtime.now())
    runtime.perform()
    runtime.abandonAll()
    return this.within(Deferred.await(gone), this.shutdownMillis, () => this.cutOff)
  }).pipe(Effect.tap(() => Effect.sync(() => this.runtime.disarm())))

  private draining(mode: "hold" | "reject", timeoutMillis: number): Effect.Effect<DrainReport> {
    return Effect.suspend(() => {
      const { runtime } = this
      const gone = runtime.drained
      const calledOff = this.calledOff ??= Deferred.makeUnsafe<void>()
      runtime.state.drain(mode, runtime.now())
      runtime.perform()
      runtime.abandonAll()
      return this.within(Effect.raceFirst(Deferred.await(gone), Deferred.await(calledOff)), timeoutMillis, () => {
        if (runtime.state.closing) return Effect.map(this.shutdown, (report) => report.cut)
        return this.calledOff === calledOff ? this.cutOff : Effect.succeed(nobody)
      })
    })
  }

  private within(
    done: Effect.Effect<void>,
    millis: number,
    orElse: () => Effect.Effect<Cut>
  ): Effect.Effect<ShutdownReport> {
    return Effect.map(
      Timeout.timeoutOrElse(Effect.as(done, nobody), { duration: millis, orElse }),
      (cut) => ({ database: this.runtime.adapter.name, cut })
    )
  }

  /** In a fiber of its own, so that a cancel which cannot be interrupted holds up nothing. */
  private cancelWithin(connection: Connection, millis: number): Effect.Effect<void> {
    return Effect.flatMap(
      Effect.forkDetach(connection.cancel),
      (fiber) =>
        Timeout.timeoutOrElse(Effect.asVoid(Fiber.await(fiber)), { duration: millis, orElse: () => Effect.void })
    )
  }

  /** Cancels on the server what borrowers run, and destroys their connections. */
  private readonly cutOff: Effect.Effect<Cut> = Effect.suspend(() => {
    const { runtime } = this
    const { controlTimeout } = runtime.options.state
    const cut = holdersOf(runtime, true)
    if (cut.length > 0) runtime.telemetry.report({ _tag: "CutOff", count: cut.length }, cut)
    const why = `cut off at the ${runtime.state.closing ? "shutdown" : "draining"} of the pool`
    const slots = Array.from(runtime.state.slots).filter((slot) => slot.connection !== undefined)
    return Effect.forEach(
      slots,
      (slot) =>
        Effect.andThen(
          slot.phase === "Closing" ? Effect.void : this.cancelWithin(slot.connection!, controlTimeout),
          Effect.sync(() => {
            slot.connection!.destroy(why)
            runtime.state.closed(slot, runtime.now())
          })
        ),
      { concurrency: "unbounded", discard: true }
    ).pipe(
      Effect.andThen(Effect.sync(() => runtime.perform())),
      Effect.as(cut)
    )
  })
}
