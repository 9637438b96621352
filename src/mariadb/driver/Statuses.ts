import type { Connection } from "./connector.ts"
import type { Inner } from "./packets.ts"

/**
 * The status that came with the answer of which the connector tells now.
 *
 * **Details**
 *
 * The connector keeps one status for the connection, and tells of an answer in a later tick. By then it has read the
 * other answers of the same chunk: the status is that of the last, and an error among them sets "in transaction" whether
 * one is open or not. So each status is kept from the end of its command until that has been told.
 */
export class Statuses {
  private readonly info: Connection["info"]
  private readonly kept: Array<number> = []

  constructor(info: Connection["info"], commands: Inner["receiveQueue"]) {
    this.info = info
    const shift = commands.shift.bind(commands)
    // A command leaves the queue when it has ended, which is after the connector has scheduled to tell of it.
    commands.shift = () => {
      const command = shift()
      // Where nothing else waits for an answer, none can come in between.
      if (this.kept.length > 0 || !commands.isEmpty()) {
        this.kept.push(info.status)
        process.nextTick(this.drop)
      }
      return command
    }
  }

  get current(): number {
    return this.kept.length === 0 ? this.info.status : this.kept[0]!
  }

  private readonly drop = () => void this.kept.shift()
}
