/**
 * A place in the history of a database, whatever kind of cluster it is. Pure.
 *
 * | cluster            | place                                                          |
 * | ------------------ | -------------------------------------------------------------- |
 * | MySQL, by GTID     | the set of transactions that a server has                      |
 * | MariaDB, by GTID   | the last transaction of each domain                            |
 * | Galera             | the cluster, and the number of the last transaction            |
 */
import * as GtidSet from "./gtidSet.ts"
import * as MariadbPosition from "./mariadbPosition.ts"

/** How places of one kind are read, compared and joined. */
interface Kind<P> {
  readonly parse: (text: string) => P | undefined
  readonly format: (place: P) => string
  readonly includes: (place: P, other: P) => boolean
  readonly union: (a: P, b: P) => P
}

interface Galera {
  readonly cluster: string
  readonly sequence: number
}

const galera: Kind<Galera> = {
  parse: (text) => {
    const found = /^galera:([\da-f-]{36}):(\d{1,15})$/.exec(text)
    return found === null ? undefined : { cluster: found[1]!, sequence: Number(found[2]) }
  },
  format: ({ cluster, sequence }) => `galera:${cluster}:${sequence}`,
  includes: (place, other) => place.cluster === other.cluster && place.sequence >= other.sequence,
  // A cluster that was begun anew counts anew. The second one is what was seen last.
  union: (a, b) => a.cluster === b.cluster && a.sequence > b.sequence ? a : b
}

/** No text is a place of two kinds. */
const kinds: ReadonlyArray<Kind<any>> = [galera, MariadbPosition, GtidSet]

const kindOf = (text: string): Kind<any> | undefined =>
  text === "" ? undefined : kinds.find(({ parse }) => parse(text) !== undefined)

/** The place of a node of a Galera cluster. */
export const ofGalera = (cluster: string, sequence: number): string => galera.format({ cluster, sequence })

/** Whether a text is a place at all. */
export const isPosition = (text: string): boolean => kindOf(text) !== undefined

/** The same place in its shortest form, or `undefined` for what is no place. */
export const normal = (text: string): string | undefined => {
  const kind = kindOf(text)
  return kind?.format(kind.parse(text))
}

/** Whether a server that is at one place has another. */
export const includes = (at: string, wanted: string): boolean => {
  const kind = kindOf(wanted)
  const place = kind?.parse(at)
  return kind !== undefined && place !== undefined && kind.includes(place, kind.parse(wanted))
}

/** The least place that has both. What was seen last counts where they have nothing in common. */
export const join = (a: string, b: string): string => {
  const kind = kindOf(b)
  const place = kind?.parse(a)
  return kind === undefined ? a : place === undefined ? b : kind.format(kind.union(place, kind.parse(b)))
}
