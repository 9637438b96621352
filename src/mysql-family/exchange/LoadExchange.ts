/**
 * The exchange of a `LOAD DATA LOCAL INFILE`: the server asks for the file, gets it bit by bit, and then answers.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import type { DriverConnection, FileWriter, LoadReceiver } from "../driver/Driver.ts"
import type { Ok } from "../statement/results.ts"
import type { Profile } from "../statement/statements.ts"
import { BulkExchange } from "./BulkExchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"

export class LoadExchange extends BulkExchange implements LoadReceiver {
  private file: FileWriter | undefined = undefined
  private exit: Effect.Effect<Ok, SqlError> | undefined = undefined
  private waiter: ((effect: Effect.Effect<any, SqlError>) => void) | undefined = undefined

  constructor(
    host: ExchangeHost,
    profile: Profile,
    run: (driver: DriverConnection, receiver: LoadExchange) => void,
    fiber: Fiber.Fiber<unknown, unknown>
  ) {
    super(host, profile, run, fiber, (exit) => {
      this.exit = exit
      this.wake(exit)
    })
  }

  /** Since when the server waits for a piece of the file, if it does. */
  private idleSince: number | undefined = undefined

  /** The source of the rows has any time. */
  override get hasStalled(): boolean {
    return this.idleSince === undefined
  }

  override blame(): string | undefined {
    if (this.idleSince === undefined) return undefined
    const seconds = Math.round((performance.now() - this.idleSince) / 1_000)
    return `no rows came for ${seconds} s, and the server waits for \`net_read_timeout\``
  }

  private wake(effect: Effect.Effect<unknown, SqlError>): void {
    const { waiter } = this
    this.waiter = undefined
    waiter?.(effect)
  }

  private wait<A>(isOver: () => boolean): Effect.Effect<A, SqlError> {
    return Effect.callback((resume) => {
      if (this.exit !== undefined) return resume(this.exit as Effect.Effect<any, SqlError>)
      if (isOver()) return resume(Effect.void as Effect.Effect<any>)
      this.waiter = resume
    })
  }

  /** Ends when the server has asked for the file. */
  readonly requested: Effect.Effect<unknown, SqlError> = this.wait(() => this.file !== undefined)

  /** Writes a piece of the file. Ends when more can be written. */
  write(bytes: Buffer): Effect.Effect<unknown, SqlError> {
    return this.wait(() => {
      const hasRoom = this.file!.write(bytes)
      this.idleSince = hasRoom ? performance.now() : undefined
      return hasRoom
    })
  }

  /** Ends the file. Answers what the server has made of it. */
  readonly finish: Effect.Effect<Ok, SqlError> = this.wait(() => {
    this.idleSince = undefined
    this.file!.end()
    return false
  })

  /** What has been loaded is for the end of the transaction to undo. */
  override discard(): void {
    this.file?.end()
  }

  onRequest(file: FileWriter): void {
    this.file = file
    this.idleSince = performance.now()
    if (this.abandoned) file.end()
    else this.wake(Effect.void)
  }

  onDrain(): void {
    this.idleSince = performance.now()
    this.wake(Effect.void)
  }

  onForeignRequest(): void {
    this.host.giveUp("the server asked for a file that it was not to have, and got nothing")
  }
}
