/**
 * Rows as objects. A column of any name becomes an own property of its row, and of several columns with the same name
 * the last one has the value.
 */

/** Makes an object of the values of a row. */
export type RowBuilder = (values: ReadonlyArray<unknown>) => Record<string, unknown>

/** A builder that pays off for a single row. */
export const genericBuilder = (names: ReadonlyArray<string>): RowBuilder => {
  // Assigning `__proto__` would set the prototype. An object without the accessor takes it as any other name, but
  // would not look like the other rows, so such a result pays for `defineProperty`.
  if (names.includes("__proto__")) {
    return (values) => {
      const row: Record<string, unknown> = {}
      for (let index = 0; index < names.length; index++) {
        Object.defineProperty(row, names[index]!, {
          value: values[index],
          enumerable: true,
          configurable: true,
          writable: true
        })
      }
      return row
    }
  }
  return (values) => {
    const row: Record<string, unknown> = {}
    for (let index = 0; index < names.length; index++) row[names[index]!] = values[index]
    return row
  }
}

/** From how many rows on a compiled builder pays off. Many statements never return more than one row. */
export const compileAfter = 16

/**
 * A function whose body is one object literal: several times faster than assigning under computed names, and every
 * row has the same hidden class from the start. Environments that forbid generated code keep the loop.
 */
export const compiledBuilder = (names: ReadonlyArray<string>): RowBuilder => {
  if (names.length > 128 || names.includes("__proto__")) return genericBuilder(names)
  const entries = names.map((name, index) => `${JSON.stringify(name)}: v[${index}]`)
  try {
    return new Function("v", `return { ${entries.join(", ")} }`) as RowBuilder
  } catch {
    return genericBuilder(names)
  }
}
