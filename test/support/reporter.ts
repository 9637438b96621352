/** Prints at the end of a run what it left out, and why. What was left out without a reason makes the run fail. */
import * as fs from "node:fs"
import type { Reporter, TestModule, Vitest } from "vitest/node"
import { leftOut } from "./leftOut.ts"
import { isWhole, long } from "./long.ts"

/** How tests ended. */
export interface Counts {
  passed: number
  failed: number
  leftOut: number
  /** Why how many were left out. */
  readonly reasons: Record<string, number>
}

/** How the tests of a file ended, by the server that their names tell; `""` where they tell none. */
export interface FileSummary {
  readonly file: string
  readonly counts: Record<string, Counts>
  /** Whether its process died before all of its tests had ended. */
  readonly isCutOff: boolean
}

const serverOf = (name: string): string =>
  /\bon (MySQL|MariaDB)\b/.exec(name)?.[1] ?? /\b(MySQL|MariaDB) over\b/.exec(name)?.[1] ?? ""

export default class LeftOutReporter implements Reporter {
  private vitest: Vitest | undefined

  onInit(vitest: Vitest): void {
    this.vitest = vitest
  }

  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const reasons = new Map<string, Map<string, number>>()
    const unexplained: Array<string> = []
    const summaries = modules.map((module): FileSummary => {
      const isCutOff = !["passed", "failed", "skipped"].includes(module.state())
      const summary: FileSummary = { file: module.relativeModuleId, counts: {}, isCutOff }
      const countsOf = (server: string) => summary.counts[server] ??= { passed: 0, failed: 0, leftOut: 0, reasons: {} }
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        const counts = countsOf(serverOf(test.fullName))
        if (state === "passed" || state === "failed") {
          counts[state]++
          continue
        }
        // What was to run and did not is behind a hook that failed, or was not chosen.
        if (test.options.mode === "run") {
          if (isCutOff || module.state() === "failed") counts.failed++
          continue
        }
        counts.leftOut++
        const reason = test.fullName.split(leftOut)[1]?.split(" > ")[0]
        if (reason === undefined) {
          unexplained.push(`${module.relativeModuleId} > ${test.fullName}`)
          continue
        }
        counts.reasons[reason] = (counts.reasons[reason] ?? 0) + 1
        const files = reasons.get(reason) ?? new Map<string, number>()
        files.set(module.relativeModuleId, (files.get(module.relativeModuleId) ?? 0) + 1)
        reasons.set(reason, files)
      }
      // A file that could not be collected has no tests.
      if (
        (isCutOff || module.state() === "failed") && Object.values(summary.counts).every(({ failed }) => failed === 0)
      ) {
        countsOf("").failed = 1
      }
      return summary
    })
    for (const [reason, files] of reasons) {
      const count = [...files.values()].reduce((sum, each) => sum + each, 0)
      console.log(`\n${count} tests were left out, because ${reason}`)
      for (const [file, each] of files) console.log(`  ${each} of ${file}`)
    }
    if (isWhole(process.argv)) {
      console.log(`\n${long.length} files were left out, because they take long: npm run test:matrix runs them`)
      for (const file of long) console.log(`  ${file}`)
    }
    // A run of chosen tests leaves out the others on purpose.
    if (unexplained.length > 0 && this.vitest?.config.testNamePattern == null) {
      console.error(`\n${unexplained.length} tests were left out without a reason:\n  ${unexplained.join("\n  ")}`)
      process.exitCode = 1
    }
    const target = process.env["WATERTIGHT_TEST_SUMMARY"]
    if (target !== undefined && target !== "") fs.writeFileSync(target, JSON.stringify(summaries))
  }
}
