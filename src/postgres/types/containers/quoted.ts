import { unfit } from "../../../values/UnfitValue.ts"

/** The text between quotes, and where it ends. A quote in it is doubled or behind a backslash. */
export const quoted = (text: string, start: number): readonly [string, number] => {
  let value = ""
  let at = start + 1
  while (at < text.length) {
    const char = text[at]!
    if (char === "\\") {
      value += text[at + 1] ?? ""
      at += 2
    } else if (char !== "\"") {
      value += char
      at++
    } else if (text[at + 1] === "\"") {
      value += char
      at += 2
    } else {
      return [value, at + 1]
    }
  }
  return unfit("a quote is not closed")
}
