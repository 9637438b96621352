import type { Readable } from "node:stream"
import type { RowSource, StreamReceiver } from "../../mysql-family/driver/Driver.ts"
import { RowDecoder } from "../../mysql-family/statement/results.ts"
import { decoderOf, type Field } from "./answers.ts"

/** Puts the boundary around what is called back. */
export type Guard = <Args extends ReadonlyArray<any>>(f: (...args: Args) => void) => (...args: Args) => void

/** Rows of a readable stream, as they come. */
export class StreamSource implements RowSource {
  private readonly receiver: StreamReceiver
  private readonly guard: Guard
  private readable: Readable | undefined = undefined
  private isPaused = false

  constructor(receiver: StreamReceiver, guard: Guard) {
    this.receiver = receiver
    this.guard = guard
  }

  read(readable: Readable, ended?: () => void): void {
    const { guard, receiver } = this
    let isOver = false
    const end = (tell: () => void) => {
      if (isOver) return
      isOver = true
      ended?.()
      tell()
    }
    this.readable = readable
    // Rows wait in the stream, so what they are read with waits among them.
    readable.on("fields", guard((fields: ReadonlyArray<Field>) => void readable.push(decoderOf(fields))))
    readable.on(
      "data",
      guard((item: unknown) => {
        if (item instanceof RowDecoder) receiver.onColumns(item)
        // An answer without rows comes as an object.
        else if (Array.isArray(item)) receiver.onRow(item)
      })
    )
    readable.on("error", guard((error: unknown) => end(() => receiver.onError(error, true))))
    readable.on("end", guard(() => end(() => receiver.onEnd())))
    if (this.isPaused) readable.pause()
  }

  pause(): void {
    this.isPaused = true
    this.readable?.pause()
  }

  resume(): void {
    this.isPaused = false
    this.readable?.resume()
  }
}
