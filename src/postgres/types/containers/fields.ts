/** Objects that stand for rows and for maps. */
import { isPlain } from "../../../values/Value.ts"

export const setProperty = (target: Record<string, unknown>, name: string, value: unknown): void => {
  // Assigning this one would set the prototype.
  if (name !== "__proto__") target[name] = value
  else Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true })
}

/** What is in a `Map` or a `Date` is in no field of it, and would be lost. */
export const hasFields = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value) &&
  (isPlain(value) || Object.keys(value).length > 0)
