/**
 * The reaper: a small process beside the tests that outlives them by a moment.
 *
 * It hears over its standard input which servers run and which temporary folders exist. When that pipe closes, the
 * process that started them has ended, be it by `SIGKILL`, and the reaper ends the servers and removes the folders.
 * It has a session of its own, so that Ctrl-C in a terminal does not reach it.
 */
import * as fs from "node:fs"
import * as readline from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { alive, descendants, signal } from "./processes.ts"

/** One line on the reaper's standard input. */
export type ReaperMessage =
  | { readonly watch: number; readonly quit: NodeJS.Signals }
  | { readonly forget: number }
  | { readonly keep: string }
  | { readonly drop: string }

const servers = new Map<number, NodeJS.Signals>()
const folders = new Set<string>()

for await (const line of readline.createInterface({ input: process.stdin })) {
  const message = JSON.parse(line) as ReaperMessage
  if ("watch" in message) {
    servers.set(message.watch, message.quit)
  } else if ("forget" in message) {
    servers.delete(message.forget)
  } else if ("keep" in message) {
    folders.add(message.keep)
  } else {
    folders.delete(message.drop)
  }
}

const family = [...servers.keys()].flatMap((pid) => [pid, ...descendants(pid)])
// A gentle signal first: PostgreSQL then gives its System V shared memory back.
for (const [pid, quit] of servers) {
  signal(pid, quit)
}
for (const pid of family) {
  signal(pid, "SIGCONT")
}
for (let waited = 0; waited < 3000 && alive(family).length > 0; waited += 50) {
  await sleep(50)
}
for (const pid of alive(family)) {
  signal(pid, "SIGKILL")
}
for (const folder of folders) {
  fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}
