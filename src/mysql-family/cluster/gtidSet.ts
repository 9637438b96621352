/**
 * Sets of transactions, as MySQL writes them: for each server, or group, the numbers of its transactions.
 * `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,…`, since 8.3 with tags between the two. Pure.
 */

interface Interval {
  readonly from: number
  readonly to: number
}

/** In ascending order and apart from each other, by the server and the tag. */
export type GtidSet = ReadonlyMap<string, ReadonlyArray<Interval>>

const uuid = /^[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}$/
const tag = /^[a-z_]\w{0,31}$/
const numbers = /^(\d{1,15})(?:-(\d{1,15}))?$/

/** `undefined` for what is no set. */
export const parse = (text: string): GtidSet | undefined => {
  const intervals = new Map<string, Array<Interval>>()
  for (const each of text.toLowerCase().replace(/\s/g, "").split(",").filter((each) => each !== "")) {
    const [server, ...parts] = each.split(":")
    if (!uuid.test(server!) || parts.length === 0) return undefined
    let key = server!
    for (const part of parts) {
      const found = numbers.exec(part)
      if (found !== null) {
        const from = Number(found[1])
        const own = intervals.get(key)
        const interval = { from, to: Number(found[2] ?? from) }
        if (own === undefined) intervals.set(key, [interval])
        else own.push(interval)
      } else if (tag.test(part)) key = `${server}:${part}`
      else return undefined
    }
  }
  return joined(intervals)
}

const joined = (intervals: ReadonlyMap<string, ReadonlyArray<Interval>>): GtidSet =>
  new Map(Array.from(intervals, ([key, own]) => {
    const result: Array<Interval> = []
    for (const { from, to } of own.toSorted((a, b) => a.from - b.from)) {
      const last = result.at(-1)
      if (last === undefined || from > last.to + 1) result.push({ from, to })
      else if (to > last.to) result[result.length - 1] = { from: last.from, to }
    }
    return [key, result] as const
  }))

export const format = (set: GtidSet): string =>
  Array.from(
    set,
    ([key, own]) => [key, ...own.map(({ from, to }) => from === to ? `${from}` : `${from}-${to}`)].join(":")
  ).join(",")

/** What is in one of them. */
export const union = (a: GtidSet, b: GtidSet): GtidSet => {
  const all = new Map(a)
  for (const [key, own] of b) all.set(key, [...(all.get(key) ?? []), ...own])
  return joined(all)
}

/** Whether one has all of the other. */
export const includes = (set: GtidSet, other: GtidSet): boolean =>
  [...other].every(([key, wanted]) => {
    const own = set.get(key) ?? []
    return wanted.every(({ from, to }) => own.some((interval) => interval.from <= from && to <= interval.to))
  })
