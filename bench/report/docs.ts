/**
 * `npm run bench -- docs`: writes the results of the last runs into docs/performance.md, between
 * `<!-- bench scenario case -->` and `<!-- /bench -->`, so that no number in it was ever copied by hand. With `chart`
 * behind the case, its chart is shown, too; `bench/.gitignore` must let that one through.
 */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Results from "./results.ts"
import { markdown } from "./table.ts"

const file = path.resolve(import.meta.dirname, "../../docs/performance.md")

export const writeDocs = (): void => {
  const text = fs.readFileSync(file, "utf8")
  fs.writeFileSync(
    file,
    text.replaceAll(
      /(<!-- bench (\S+) (\S+)( chart)? -->\n).*?(<!-- \/bench -->)/gs,
      (whole, begin: string, scenario: string, name: string, chart: string | undefined, end: string) => {
        const result = Results.read(scenario, name)
        if (result === undefined) return whole
        if (result.pace.quick || result.partial) {
          process.stderr.write(`${scenario} ${name}: not taken, it was a first impression: ${result.command}\n`)
          return whole
        }
        const { machine, pace } = result
        const about = [
          `${result.date}, commit ${result.commit}`,
          `${machine.cores} cores of ${machine.cpu}, ${machine.memory}`,
          `Node ${machine.node.slice(1)}`,
          ...machine.servers,
          `${pace.rounds} rounds of ${pace.measure} s`
        ].join("; ")
        const image = chart === undefined ? "" : `![${result.title}](../bench/results/${scenario}-${name}.svg)\n\n`
        return `${begin}\n**${result.title}**\n\n${image}${
          markdown(result)
        }\n\n\`${result.command}\` (${about})\n\n${end}`
      }
    )
  )
  // As the formatter wants it.
  spawnSync(process.execPath, [path.resolve(import.meta.dirname, "../../node_modules/dprint/bin.cjs"), "fmt", file], {
    stdio: "inherit"
  })
}
