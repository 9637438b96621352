/** What tells one read from another, and how large its result is. */

/**
 * A text for a value that differs wherever the value or its type does: `1`, `"1"` and `1n` are three.
 *
 * `undefined` for a value that has no such text, such as a function or an instance of an unknown class.
 */
export const keyOf = (value: unknown): string | undefined => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "number":
      return Object.is(value, -0) ? "-0" : String(value)
    case "bigint":
      return `${value}n`
    case "boolean":
    case "undefined":
      return String(value)
    case "object":
      return value === null ? "null" : keyOfObject(value)
    default:
      return undefined
  }
}

const keyOfObject = (value: object): string | undefined => {
  if (value instanceof Date) return `d${value.getTime()}`
  if (value instanceof Uint8Array) {
    return `b${Buffer.from(value.buffer, value.byteOffset, value.length).toString("base64")}`
  }
  if (Array.isArray(value)) return joined("[", value, "]")
  const prototype = Object.getPrototypeOf(value) as unknown
  if (prototype !== Object.prototype && prototype !== null) return undefined
  const parts: Array<unknown> = []
  for (const name of Object.keys(value).sort()) parts.push(name, (value as Record<string, unknown>)[name])
  return joined("{", parts, "}")
}

const joined = (open: string, values: ReadonlyArray<unknown>, close: string): string | undefined => {
  const keys = values.map(keyOf)
  return keys.includes(undefined) ? undefined : open + keys.join(",") + close
}

/**
 * About how many bytes a value takes in memory. Stops counting above `limit`, so a huge value costs no more than a large
 * one.
 */
export const sizeOf = (value: unknown, limit: number): number => {
  let bytes = 0
  const seen = new Set<object>()
  const stack: Array<unknown> = [value]
  while (stack.length > 0 && bytes <= limit) {
    const next = stack.pop()
    switch (typeof next) {
      case "string":
        bytes += 16 + 2 * next.length
        break
      case "bigint":
        bytes += 24
        break
      case "object":
        if (next === null || seen.has(next)) bytes += 8
        else {
          seen.add(next)
          bytes += 24
          if (ArrayBuffer.isView(next)) bytes += next.byteLength
          else for (const part of Object.values(next)) stack.push(part)
        }
        break
      default:
        bytes += 8
    }
  }
  return bytes
}
