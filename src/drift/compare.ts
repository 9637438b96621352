/** How two schemas differ. */
import type { Part, Shape, Thing } from "./Shape.ts"

/** What differs. What only one of the two has is `undefined` in the other. */
export interface Difference {
  /** The table, view or type. */
  readonly kind: string
  readonly name: string
  /** What of it; `undefined` for the whole. */
  readonly part: Part["kind"] | undefined
  readonly partName: string | undefined
  /** As the migrations make it. */
  readonly expected: string | undefined
  /** As the database has it. */
  readonly found: string | undefined
  /** The part as the database has it. */
  readonly foundPart: Part | undefined
}

/** The differences, in the order of the names. */
export const compare = (expected: Shape, found: Shape): ReadonlyArray<Difference> =>
  [...new Set([...expected.keys(), ...found.keys()])].toSorted().flatMap((key) => {
    const left = expected.get(key)
    const right = found.get(key)
    return left === undefined
      ? [whole(right!, "found")]
      : right === undefined
      ? [whole(left, "expected")]
      : both(left, right)
  })

const whole = (thing: Thing, side: "found" | "expected"): Difference => ({
  kind: thing.kind,
  name: thing.name,
  part: undefined,
  partName: undefined,
  expected: side === "expected" ? thing.kind : undefined,
  found: side === "found" ? thing.kind : undefined,
  foundPart: undefined
})

const both = (left: Thing, right: Thing): ReadonlyArray<Difference> => {
  if (left.kind !== right.kind) {
    return [{ ...whole(right, "found"), expected: left.kind }]
  }
  return [
    ...named(left, right, "column"),
    ...named(left, right, "query"),
    ...structured(left, right, "constraint"),
    ...structured(left, right, "index"),
    ...named(left, right, "trigger"),
    ...named(left, right, "row security"),
    ...named(left, right, "policy")
  ]
}

const of = (thing: Thing, kind: Part["kind"]): ReadonlyArray<Part> => thing.parts.filter((part) => part.kind === kind)

const differ = (thing: Thing, expected: Part | undefined, found: Part | undefined): Difference => ({
  kind: thing.kind,
  name: thing.name,
  part: (found ?? expected)!.kind,
  partName: (found ?? expected)!.name,
  expected: expected?.text,
  found: found?.text,
  foundPart: found
})

/** Parts whose name says which they are. */
const named = (left: Thing, right: Thing, kind: Part["kind"]): ReadonlyArray<Difference> =>
  pairs(of(left, kind), of(right, kind)).flatMap(([expected, found]) =>
    expected?.meaning === found?.meaning ? [] : [differ(right, expected, found)]
  )

const pairs = (
  left: ReadonlyArray<Part>,
  right: ReadonlyArray<Part>
): ReadonlyArray<readonly [Part | undefined, Part | undefined]> => {
  const lefts = new Map(left.map((part) => [part.name, part]))
  const rights = new Map(right.map((part) => [part.name, part]))
  return [...new Set([...lefts.keys(), ...rights.keys()])].map((name) => [lefts.get(name), rights.get(name)] as const)
}

/**
 * Parts that are the same if they do the same. A name that the server may have chosen says nothing: it depends on the
 * order in which things were made.
 */
const structured = (left: Thing, right: Thing, kind: Part["kind"]): ReadonlyArray<Difference> => {
  const open = [...of(right, kind)]
  const take = (isTheOne: (part: Part) => boolean): Part | undefined => {
    const index = open.findIndex(isTheOne)
    return index === -1 ? undefined : open.splice(index, 1)[0]
  }
  const differences: Array<Difference> = []
  const rest = of(left, kind)
    // The same name first, so that of two that do the same each finds its own.
    .filter((part) => take((other) => other.meaning === part.meaning && other.name === part.name) === undefined)
    .filter((part) => {
      const same = take((other) => other.meaning === part.meaning)
      if (same === undefined) return true
      if (!same.isServerName && !part.isServerName) {
        differences.push({
          ...differ(right, part, same),
          expected: `named ${part.name}`,
          found: `named ${same.name}`,
          foundPart: undefined
        })
      }
      return false
    })
  for (const part of rest) {
    const same = take((other) => other.name === part.name) ??
      take((other) => other.subject === part.subject && (other.isServerName || part.isServerName))
    differences.push(differ(right, part, same))
  }
  return [...differences, ...open.map((part) => differ(right, undefined, part))]
}
