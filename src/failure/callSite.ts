/**
 * Where in the program a statement is written, so that its failure can say so.
 *
 * The stack is captured when the text of a template is seen for the first time, and read when a statement of that text
 * fails. A template that runs again pays nothing.
 */
import { programFrames } from "../options/frames.ts"

/** A stack that is put into words when it is asked for. */
export interface CallSite {
  readonly stack?: string
  /** Its line in the program, once somebody has looked: `null` if it has none. */
  line?: string | null
}

/** Texts that come later have no place. Those of templates come first, and there are not many. */
const maxTexts = 2000
/** A longer text is a script or many values, and not kept only to find its place. */
const maxLength = 10_000
/** The same text may be written at several places. */
const maxPlaces = 3
/** Helpers of this library and of Effect may lie between the program and the template. */
const depth = 8

const places = new Map<string, Array<CallSite>>()

/** The place from which `below` was called. */
export const capture = (below: (...args: Array<any>) => unknown): CallSite => {
  const site: CallSite = {}
  const limit = Error.stackTraceLimit
  Reflect.set(Error, "stackTraceLimit", depth)
  Error.captureStackTrace?.(site, below)
  Reflect.set(Error, "stackTraceLimit", limit)
  return site
}

/** Remembers that a text is written there. */
export const note = (text: string, site: CallSite): void => {
  if (text.length > maxLength) return
  const known = places.get(text)
  if (known === undefined) {
    if (places.size < maxTexts) places.set(text, [site])
  } else if (known.length < maxPlaces && !known.includes(site)) known.push(site)
}

/** Whether nobody knows yet where a text is written. What was made behind a promise has no line of the program. */
export const isNew = (text: string): boolean => {
  if (text.length > maxLength) return false
  const known = places.get(text)
  return known === undefined
    ? places.size < maxTexts
    : known.length < maxPlaces && !known.some((site) => lineOf(site) !== null)
}

// Only the line that has the template is sure: the same template may be reached on other ways.
const lineOf = (site: CallSite): string | null =>
  site.line === undefined ? (site.line = programFrames(site.stack)[0] ?? null) : site.line

/** The lines of a stack for a text. Where it is written several times, each place is told. */
export const framesOf = (text: string): ReadonlyArray<string> => {
  const lines = (places.get(text) ?? []).flatMap((site) => lineOf(site) ?? [])
  return [...new Set(lines)].map((line, i) => i === 0 ? line : line.replace("at ", "or at "))
}
