/**
 * Positions of MariaDB: for each domain the last transaction, as the server that wrote it and a number that grows.
 * `0-1-100,1-2-50`. Pure.
 */

interface Last {
  readonly server: number
  readonly sequence: number
}

/** The last transaction of each domain. */
export type Position = ReadonlyMap<number, Last>

/** `undefined` for what is no position. */
export const parse = (text: string): Position | undefined => {
  const position = new Map<number, Last>()
  for (const each of text.split(",").filter((each) => each !== "")) {
    const found = /^\s*(\d{1,10})-(\d{1,10})-(\d{1,20})\s*$/.exec(each)
    if (found === null) return undefined
    position.set(Number(found[1]), { server: Number(found[2]), sequence: Number(found[3]) })
  }
  return position
}

export const format = (position: Position): string =>
  Array.from(position, ([domain, { sequence, server }]) => `${domain}-${server}-${sequence}`).join(",")

/** The least position that has both. */
export const union = (a: Position, b: Position): Position => {
  const all = new Map(a)
  for (const [domain, last] of b) {
    const known = all.get(domain)
    if (known === undefined || last.sequence > known.sequence) all.set(domain, last)
  }
  return all
}

/**
 * Whether one has what the other has. A number of the same domain that another server wrote is another transaction: one
 * of them was lost with its server.
 */
export const includes = (position: Position, other: Position): boolean =>
  [...other].every(([domain, { sequence, server }]) => {
    const own = position.get(domain)
    return own !== undefined && (own.sequence > sequence || own.sequence === sequence && own.server === server)
  })
