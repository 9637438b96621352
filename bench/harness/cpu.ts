/** CPU time of this process and of a server. */
import * as fs from "node:fs"
import { descendants } from "../../test/support/servers/processes.ts"

/** Microseconds of CPU time that each thread of a process and of its descendants has used, by thread. */
type Usage = ReadonlyMap<string, number>

const usageOf = (pid: number): Usage | undefined => {
  if (process.platform !== "linux") return undefined
  const usage = new Map<string, number>()
  for (const member of [pid, ...descendants(pid)]) {
    try {
      for (const thread of fs.readdirSync(`/proc/${member}/task`)) {
        // Nanoseconds on the CPU; `stat` knows hundredths of a second only.
        const [nanos] = fs.readFileSync(`/proc/${member}/task/${thread}/schedstat`, "utf8").split(" ")
        usage.set(`${member}/${thread}`, Number(nanos) / 1000)
      }
    } catch {
      // It ended while we looked, or this kernel does not tell.
    }
  }
  return usage.size === 0 ? undefined : usage
}

/** Starts to count; the result says how much a server has used since, or `undefined` where nobody can know. */
export const serverMeter = (pids: ReadonlyArray<number>): () => number | undefined => {
  const before = pids.map(usageOf)
  return () => {
    let total = 0
    for (const [index, pid] of pids.entries()) {
      const start = before[index]
      const end = usageOf(pid)
      if (start === undefined || end === undefined) return undefined
      for (const [thread, micros] of end) total += micros - (start.get(thread) ?? 0)
    }
    return pids.length === 0 ? undefined : total
  }
}
