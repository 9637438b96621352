/**
 * Which processes run, and who started whom. Used by the servers and by the reaper, which is why it needs nothing but
 * Node.
 */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"

interface ProcessEntry {
  readonly pid: number
  readonly parent: number
  readonly zombie: boolean
}

// `/proc` where there is one: `ps` is missing in slim images.
const list = (): ReadonlyArray<ProcessEntry> =>
  process.platform === "linux"
    ? fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
      try {
        const stat = fs.readFileSync(`/proc/${name}/stat`, "utf8")
        // The command is in parentheses and may itself hold spaces and parentheses.
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
        return [{ pid: Number(name), parent: Number(parent), zombie: state === "Z" || state === "X" }]
      } catch {
        return [] // It ended while we looked.
      }
    })
    : execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat="], { encoding: "utf8" }).trim().split("\n").map((line) => {
      const [pid, parent, state] = line.trim().split(/\s+/)
      return { pid: Number(pid), parent: Number(parent), zombie: state?.startsWith("Z") ?? false }
    })

/** The ids of all living descendants of a process. */
export const descendants = (pid: number): ReadonlyArray<number> => {
  const entries = list()
  const found = [pid]
  for (const parent of found) {
    for (const entry of entries) {
      if (entry.parent === parent && !entry.zombie) {
        found.push(entry.pid)
      }
    }
  }
  return found.slice(1)
}

/** Those of the given processes that still run. One that ended but was not yet waited for does not count. */
export const alive = (pids: ReadonlyArray<number>): ReadonlyArray<number> => {
  const running = new Set(list().filter((entry) => !entry.zombie).map((entry) => entry.pid))
  return pids.filter((pid) => running.has(pid))
}

/** Sends a signal; a process that is gone is no error. */
export const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") {
      throw error
    }
  }
}
