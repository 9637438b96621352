/**
 * The levels of a transaction: the transaction itself and the savepoints that are open in it, one inside the other.
 *
 * **Details**
 *
 * All levels share one connection, and ROLLBACK TO SAVEPOINT undoes whatever ran since the savepoint was set. So a
 * statement runs only while its level is the innermost one: a statement of an outer level waits until the savepoints
 * above it have been released or rolled back. Without this it would be undone with them, after it had succeeded.
 *
 * | the level of the statement           | what happens                                                   |
 * | ------------------------------------ | -------------------------------------------------------------- |
 * | is the innermost one                 | it runs                                                        |
 * | has a savepoint open inside of it    | it waits; after the limit it fails with `NestedOpen`           |
 * | the same, and its fiber runs that one | it fails with `NestedOpen` at once: it would wait for itself  |
 * | has ended                            | it fails with `NestedEnded`                                    |
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"

/** One level: the transaction, or a savepoint in it. */
export interface Level {
  /** The number of its savepoint; 0 for the transaction itself. */
  readonly id: number
  readonly parent: Level | undefined
  /** The first failure before the level began. What failed inside is undone with it. */
  readonly failureBefore: SqlError | undefined
  /** The fiber that runs its body. */
  owner: Fiber.Fiber<unknown, unknown> | undefined
  /** Why the level cannot be kept: a transaction that has joined it has failed. */
  doomed: SqlError | undefined
  /** Whether no caller waits for its end. */
  hurried: boolean
  isOpen: boolean
  /** What resumes the statements that wait until it is the innermost one. */
  waiters: Array<() => void>
}

const makeLevel = (id: number, parent: Level | undefined, failureBefore: SqlError | undefined): Level => ({
  id,
  parent,
  failureBefore,
  owner: undefined,
  doomed: undefined,
  hurried: false,
  isOpen: true,
  waiters: []
})

export class Levels {
  readonly root: Level = makeLevel(0, undefined, undefined)
  innermost: Level = this.root

  /** A savepoint was set. */
  enter(id: number, failureBefore: SqlError | undefined): void {
    this.innermost = makeLevel(id, this.innermost, failureBefore)
  }

  /** The open level of a savepoint. */
  find(id: number): Level | undefined {
    let level: Level | undefined = this.innermost
    while (level !== undefined && level.id !== id) level = level.parent
    return level
  }

  /** A level is over, and with it what is still open inside of it. Those who wait may look again. */
  leave(level: Level): void {
    if (!level.isOpen) return
    for (let inner: Level | undefined = this.innermost; inner !== level.parent; inner = inner!.parent) close(inner!)
    this.innermost = level.parent ?? level
    wake(this.innermost)
  }

  /** Whether a savepoint inside of the level is run by this fiber, which would wait for itself. */
  isWaitingForItself(level: Level, fiber: Fiber.Fiber<unknown, unknown>): boolean {
    for (let inner = this.innermost; inner !== level; inner = inner.parent!) {
      if (inner.owner === fiber) return true
    }
    return false
  }

  /** Waits until the level is the innermost one, or is over. */
  turn(level: Level): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (level === this.innermost || !level.isOpen) return Effect.void
      const waiting = Effect.callback<void>((resume) => {
        const waiter = () => resume(Effect.void)
        level.waiters.push(waiter)
        return Effect.sync(() => {
          const index = level.waiters.indexOf(waiter)
          if (index >= 0) level.waiters.splice(index, 1)
        })
      })
      // Another savepoint may have been set by the time that the fiber runs again.
      return Effect.andThen(waiting, this.turn(level))
    })
  }
}

const close = (level: Level): void => {
  level.isOpen = false
  wake(level)
}

const wake = (level: Level): void => {
  for (const waiter of level.waiters.splice(0)) waiter()
}
