import { EventEmitter } from "node:events"
import type { FileWriter, LoadReceiver } from "../../mysql-family/driver/Driver.ts"

/** What `mysql2` takes for a stream that is read: it listens once it has asked for it. */
export class WrittenFile extends EventEmitter implements FileWriter {
  private readonly receiver: LoadReceiver
  private isPaused = false

  constructor(receiver: LoadReceiver) {
    super()
    this.receiver = receiver
  }

  write(bytes: Buffer): boolean {
    this.emit("data", bytes)
    return !this.isPaused
  }

  end(): void {
    this.emit("end")
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    this.receiver.onDrain()
  }
}
