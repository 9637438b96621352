/** A statement in two words, for people who look at many of them. */
import { fingerprint } from "./fingerprint.ts"

/** `select city`. It has no value in it, and there are as many of them as there are tables. */
export const summaryOf = (sql: string): string => {
  const known = summaries.get(sql)
  if (known !== undefined) return known
  const made = summarize(fingerprint(sql))
  if (summaries.size >= 1_000) summaries.clear()
  summaries.set(sql, made)
  return made
}

const summaries = new Map<string, string>()

const name = String
  .raw`((?:only\s+|if\s+(?:not\s+)?exists\s+|ignore\s+)*(?:["\x60]?[\w$]+["\x60]?\.)?["\x60]?[\w$]+["\x60]?)`

/** What stands before the table, for each operation; the others have none, or none that matters. */
const targets: Readonly<Record<string, RegExp>> = {
  select: new RegExp(`\\bfrom\\s+${name}`, "i"),
  insert: new RegExp(`\\binto\\s+${name}`, "i"),
  replace: new RegExp(`\\binto\\s+${name}`, "i"),
  merge: new RegExp(`\\binto\\s+${name}`, "i"),
  update: new RegExp(`^update\\s+${name}`, "i"),
  delete: new RegExp(`\\bfrom\\s+${name}`, "i"),
  truncate: new RegExp(`^truncate\\s+(?:table\\s+)?${name}`, "i"),
  copy: new RegExp(`^copy\\s+${name}`, "i"),
  call: new RegExp(`^call\\s+${name}`, "i"),
  create: new RegExp(
    `\\b(?:table|view|index|function|procedure|trigger|schema|type)\\s+(?:concurrently\\s+)?${name}`,
    "i"
  ),
  alter: new RegExp(`\\b(?:table|view|index|function|procedure|schema|type)\\s+${name}`, "i"),
  drop: new RegExp(
    `\\b(?:table|view|index|function|procedure|trigger|schema|type)\\s+(?:concurrently\\s+)?${name}`,
    "i"
  )
}

const summarize = (form: string): string => {
  const outer = /^with\b/i.test(form) ? withoutCommon(form) : form
  const operation = /^\(*\s*([a-z]+)/i.exec(outer)?.[1]?.toLowerCase()
  if (operation === undefined) return "statement"
  const target = targets[operation]?.exec(outer)?.[1]?.replace(/^(?:(?:only|if|not|exists|ignore)\s+)+/i, "")
  return target === undefined ? operation : `${operation} ${target.replaceAll(/["`]/g, "")}`
}

/** What comes after the common table expressions. What is in parentheses is none of it. */
const withoutCommon = (form: string): string => {
  let depth = 0
  for (let at = 4; at < form.length; at++) {
    const char = form[at]
    if (char === "(") depth++
    else if (char === ")") depth--
    else if (depth === 0 && /^(?:select|insert|update|delete|merge)\b/i.test(form.slice(at, at + 8))) {
      return form.slice(at)
    }
  }
  return form
}
