/**
 * What a text may contain: half of a character has no UTF-8 and would silently become another one.
 */
import { unfit } from "./UnfitValue.ts"

/** Up to here a loop is faster than what the engine has for it. */
const shortText = 64

/** Whether a text has no half characters. */
export const isWellFormed = (text: string): boolean =>
  // Every supported runtime has it; the library that the compiler knows is older.
  (text as string & { readonly isWellFormed: () => boolean }).isWellFormed()

/** Refuses a text with half a character, and one with a NUL, which no text of PostgreSQL can contain. */
export const checkText = (text: string): string => {
  if (text.length <= shortText) {
    let index = 0
    for (; index < text.length; index++) {
      const code = text.charCodeAt(index)
      if (code === 0) return unfit("a text cannot contain a NUL")
      if (code > 0x7f) break
    }
    if (index === text.length) return text
  }
  if (text.includes("\u0000")) return unfit("a text cannot contain a NUL")
  return checkWellFormed(text)
}

/** Refuses a text with half a character. */
export const checkWellFormed = (text: string): string =>
  isWellFormed(text) ? text : unfit("the text contains half of a character")
