/** `pgbench`, PostgreSQL's own load generator, written in C: it shows where the server stands. Nobody is compared with it. */
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { which } from "../../test/support/servers/binaries.ts"
import { requirement } from "../../test/support/servers/PostgresServer.ts"
import type { Beside } from "../harness/model.ts"

const scripts = {
  echo: "\\set n random(1, 100000)\nselect :n::int;\n",
  byKey: "\\set n random(1, 100000)\nselect label from item where id = :n;\n"
}

export const pgbench = (script: keyof typeof scripts): Beside => ({
  id: "pgbench",
  label: "pgbench -M prepared -c 8 -j 2",
  run: async ({ postgres }, pace) => {
    // Beside the server: what Debian has in the PATH is a wrapper that wants a client package.
    const server = which(requirement.programs, requirement.folders())
    if (server === undefined || postgres === undefined) throw new Error("PostgreSQL's programs are not on this machine")
    const program = path.join(path.dirname(server), "pgbench")
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-bench-"))
    try {
      const file = path.join(folder, "script.sql")
      fs.writeFileSync(file, scripts[script])
      const seconds = Math.max(1, Math.round(pace.measure))
      const output = await new Promise<string>((resolve, reject) => {
        const where = ["-h", postgres.host, "-p", String(postgres.port), "-U", postgres.user]
        const how = ["-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", String(seconds), "-f", file]
        execFile(
          program,
          [...where, ...how, postgres.database],
          (error, stdout, stderr) => error === null ? resolve(stdout) : reject(new Error(stderr.trim()))
        )
      })
      const found = (pattern: RegExp) => Number(pattern.exec(output)?.[1])
      return { rate: found(/tps = ([\d.]+)/), p50: found(/latency average = ([\d.]+)/) }
    } finally {
      fs.rmSync(folder, { recursive: true, force: true })
    }
  }
})
