/**
 * Reads the part of YAML that rules of Prometheus need: maps, lists, plain and quoted text, and blocks. Throws at
 * everything else, so what it reads every other reader reads in the same way.
 */
export const parseYaml = (text: string): unknown => {
  const lines = text.split("\n")
    .map((line, i) => ({ text: line.trimEnd(), number: i + 1 }))
    .filter(({ text }) => !/^\s*#/.test(text))
  let at = 0
  const fail = (why: string): never => {
    throw new Error(`Line ${lines[at]?.number}: ${why}: ${lines[at]?.text}`)
  }
  const indentOf = (line: string): number => /^ */.exec(line)![0].length
  const skip = (): void => {
    while (at < lines.length && lines[at]!.text === "") at++
  }

  const block = (indent: number): string => {
    const found: Array<string> = []
    for (; at < lines.length; at++) {
      const { text } = lines[at]!
      if (text !== "" && indentOf(text) <= indent) break
      found.push(text)
    }
    const least = Math.min(...found.filter((line) => line !== "").map(indentOf))
    return found.map((line) => line.slice(least)).join("\n").trimEnd() + "\n"
  }

  const scalar = (text: string): unknown => {
    const quoted = /^'((?:[^']|'')*)'$/.exec(text)
    if (quoted !== null) return quoted[1]!.replaceAll("''", "'")
    if (/^["[{&*!|>%@`'-]/.test(text)) return fail("this reader does not know that")
    if (/: | #|:$/.test(text)) return fail("such text must be quoted")
    return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text
  }

  const value = (rest: string, indent: number): unknown => {
    at++
    if (rest === "|") return block(indent)
    if (rest !== "") return scalar(rest)
    skip()
    const next = lines[at]
    if (next === undefined || indentOf(next.text) <= indent) return fail("there is no value")
    return node(indentOf(next.text))
  }

  const node = (indent: number): unknown => {
    if (lines[at]!.text.slice(indent).startsWith("- ")) {
      const list: Array<unknown> = []
      for (skip(); at < lines.length && indentOf(lines[at]!.text) === indent; skip()) {
        const line = lines[at]!
        if (!line.text.slice(indent).startsWith("- ")) return fail("this is no item of the list")
        // What follows the dash is a node of its own.
        lines[at] = { ...line, text: `${" ".repeat(indent + 2)}${line.text.slice(indent + 2)}` }
        list.push(node(indent + 2))
      }
      return list
    }
    const map: Record<string, unknown> = {}
    for (skip(); at < lines.length && indentOf(lines[at]!.text) === indent; skip()) {
      const entry = /^(\w+):(?: (.*))?$/.exec(lines[at]!.text.slice(indent))
      if (entry === null) return fail("this is no entry of the map")
      if (entry[1]! in map) return fail("this is there twice")
      map[entry[1]!] = value(entry[2] ?? "", indent)
    }
    if (at < lines.length && indentOf(lines[at]!.text) > indent) return fail("this is indented too far")
    return map
  }

  skip()
  const result = node(0)
  skip()
  return at < lines.length ? fail("this was not expected") : result
}
