/**
 * `npm run bench -- docs`: writes the results of the last runs into docs/performance.md, between
 * `<!-- bench scenario case -->` and `<!-- /bench -->`, so that no number in it was ever copied by hand.
 */
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
      /(<!-- bench (\S+) (\S+) -->\n).*?(<!-- \/bench -->)/gs,
      (whole, begin: string, scenario: string, name: string, end: string) => {
        const result = Results.read(scenario)
        const found = result?.cases.find((one) => one.name === name)
        if (result === undefined || found === undefined) return whole
        const { machine, pace } = result
        const about = [
          `${result.date}, commit ${result.commit}`,
          `${machine.cores} cores of ${machine.cpu}, ${machine.memory}`,
          `Node ${machine.node.slice(1)}`,
          ...machine.servers,
          `${pace.rounds} rounds of ${pace.measure} s`
        ].join("; ")
        return `${begin}\n${markdown(found)}\n\n\`${result.command}\` (${about})\n\n${end}`
      }
    )
  )
}
