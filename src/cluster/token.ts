/**
 * Places in the history of databases as a text for a cookie or a header: `1.lineage.generation.value`, with `~` between
 * those of several databases, and `0` among them if something may have been applied of which nobody knows the place. All
 * characters are allowed in a cookie and in a URL.
 */
import type { Position } from "../Adapter.ts"

/** What a text says. */
export interface Token {
  readonly positions: ReadonlyArray<Position>
  /** Whether there may be something that only the primary is sure to have. */
  readonly isDoubtful: boolean
  /** Whether all of it is what this library writes. */
  readonly isReadable: boolean
}

const version = "1"

const doubt = "0"

/** The longest text. A browser keeps no cookie that is twice as long. */
const limit = 2_048

const encode = (text: string): string => encodeURIComponent(text).replace(/[~.!'()*]/g, (c) => `%${hex(c)}`)

const hex = (character: string): string => character.charCodeAt(0).toString(16).toUpperCase()

export const write = ({ isDoubtful, positions }: Omit<Token, "isReadable">): string => {
  const places = positions.map(({ generation, lineage, value }) =>
    [version, encode(lineage), generation ?? "", encode(value)].join(".")
  )
  const text = [...places, ...(isDoubtful ? [doubt] : [])].join("~")
  return text.length <= limit ? text : doubt
}

const unreadable: Token = { positions: [], isDoubtful: true, isReadable: false }

/**
 * What a text says. It comes from outside: whatever is no place may have been one, so that only the primary is sure to
 * have what it stood for. An empty one is none.
 */
export const read = (token: string): Token => {
  if (token === "") return { positions: [], isDoubtful: false, isReadable: true }
  if (token.length > limit) return unreadable
  const parts = token.split("~")
  const positions = parts.flatMap((each) => readPosition(each) ?? [])
  const doubts = parts.length - positions.length
  return { positions, isDoubtful: doubts > 0, isReadable: doubts === parts.filter((part) => part === doubt).length }
}

const readPosition = (text: string): Position | undefined => {
  const [given, lineage, generation, value, ...rest] = text.split(".")
  if (given !== version || !lineage || !value || rest.length > 0 || !/^\d{0,15}$/.test(generation!)) return undefined
  // The only thing that the decoder throws for.
  try {
    return {
      lineage: decodeURIComponent(lineage),
      generation: generation === "" ? undefined : Number(generation),
      value: decodeURIComponent(value)
    }
  } catch {
    return undefined
  }
}
