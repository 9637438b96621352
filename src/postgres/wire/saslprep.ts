/**
 * Prepares a password for SCRAM (SASLprep, RFC 4013), so that one that is typed in another way, or on another system, is
 * the same. A module of its own because only passwords beyond ASCII need its tables.
 */
import { leftToRight, prohibited, rightToLeft } from "./stringprep.ts"

/**
 * What the server makes of a password before it is compared. As in PostgreSQL, one that the rules do not allow is taken
 * as it is.
 */
export const saslprep = (password: string): string => {
  const prepared = password
    // Table C.1.2 comes before B.1: U+200B is in both.
    .replace(/[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g, " ")
    .replace(/\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/g, "")
    .normalize("NFKC")
  const points = Array.from(prepared, (character) => character.codePointAt(0)!)
  return points.length === 0 || points.some(isIn(prohibited)) || !isOneDirection(points) ? password : prepared
}

/** What has a letter that is written from right to left begins and ends with one, and has none of the other direction. */
const isOneDirection = (points: ReadonlyArray<number>): boolean => {
  const isRightToLeft = isIn(rightToLeft)
  return !points.some(isRightToLeft) ||
    isRightToLeft(points[0]!) && isRightToLeft(points[points.length - 1]!) && !points.some(isIn(leftToRight))
}

const isIn = (table: string): (point: number) => boolean => {
  const numbers = table.split(" ").map((number) => parseInt(number, 36))
  return (point) => {
    let end = 0
    for (let index = 0; index < numbers.length; index += 2) {
      const begin = end + numbers[index]!
      end = begin + numbers[index + 1]!
      if (point <= end) return point >= begin
    }
    return false
  }
}
