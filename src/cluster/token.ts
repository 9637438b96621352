/**
 * Places in the history of databases as a text for a cookie or a header: `1.lineage.generation.value`, with `~` between
 * those of several databases. All characters are allowed in a cookie and in a URL.
 */
import type { Position } from "../Adapter.ts"

const version = "1"

const encode = (text: string): string => encodeURIComponent(text).replace(/[~.!'()*]/g, (c) => `%${hex(c)}`)

const hex = (character: string): string => character.charCodeAt(0).toString(16).toUpperCase()

export const write = (positions: Iterable<Position>): string =>
  Array.from(
    positions,
    ({ generation, lineage, value }) => [version, encode(lineage), generation ?? "", encode(value)].join(".")
  ).join("~")

/** What a text says. Whatever is no place says nothing: it comes from outside. */
export const read = (token: string): ReadonlyArray<Position> =>
  token.length > 4_096 ? [] : token.split("~").flatMap((each) => {
    const [given, lineage, generation, value, ...rest] = each.split(".")
    if (given !== version || !lineage || !value || rest.length > 0 || !/^\d{0,15}$/.test(generation!)) return []
    // The only thing that the decoder throws for.
    try {
      return [{
        lineage: decodeURIComponent(lineage),
        generation: generation === "" ? undefined : Number(generation),
        value: decodeURIComponent(value)
      }]
    } catch {
      return []
    }
  })
