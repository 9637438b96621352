/**
 * Whether a history of transactions could have happened at the isolation that was asked for.
 *
 * The transactions append unique values to lists, and read lists. A list that was read tells in which order its values
 * were appended, and so who saw whom and who overwrote whom. That makes a graph of transactions:
 *
 * | edge  | from                                | to                                         |
 * | ----- | ----------------------------------- | ------------------------------------------ |
 * | `ww`  | who appended a value                | who appended the next one                  |
 * | `wr`  | who appended the last value of a list that was read | who read it                |
 * | `rw`  | who read a list                     | who appended the first value it did not see |
 *
 * Each kind of circle in it is forbidden at some isolation (Adya). The method is that of Elle, in small.
 */

/** What a transaction did to one list. */
export type Operation =
  | { readonly append: number; readonly key: number }
  | { readonly read: ReadonlyArray<number>; readonly key: number }

/** A transaction, as its caller saw it. What was read counts only if it succeeded. */
export interface Transaction {
  readonly id: string
  readonly status: "succeeded" | "failed" | "unknown"
  readonly operations: ReadonlyArray<Operation>
}

export type Isolation = "read committed" | "repeatable read" | "serializable"

export interface Anomaly {
  readonly name:
    | "duplicate" // a value is in a list twice: the append was done twice
    | "lost" // an append that succeeded is not there
    | "aborted read" // G1a: an append that failed was seen
    | "intermediate read" // G1b: a state in the middle of another transaction was seen
    | "incompatible order" // two reads disagree about the order
    | "not its own" // a transaction did not see what it had appended itself
    | "G0" // a circle of overwriting
    | "G1c" // a circle of overwriting and seeing
    | "G-single" // a circle with one transaction that did not see another: lost update, read skew
    | "G2" // a circle with several: write skew
  /** What is known about it. */
  readonly where: string
}

const forbidden: Record<Isolation, ReadonlySet<Anomaly["name"]>> = {
  "read committed": new Set(["G0", "G1c"]),
  // PostgreSQL's is snapshot isolation: only write skew remains.
  "repeatable read": new Set(["G0", "G1c", "G-single"]),
  "serializable": new Set(["G0", "G1c", "G-single", "G2"])
}

/** Finds what must not be. `final` is what the lists were when everything was over. */
export const check = (
  history: ReadonlyArray<Transaction>,
  final: ReadonlyMap<number, ReadonlyArray<number>>,
  isolation: Isolation
): ReadonlyArray<Anomaly> => {
  const anomalies: Array<Anomaly> = []
  const found = (name: Anomaly["name"], where: string) => void anomalies.push({ name, where })

  const writers = new Map<number, Transaction>()
  /** The last value that a transaction appended to a list: the only one that others may find at the end of it. */
  const lasts = new Set<number>()
  for (const transaction of history) {
    const last = new Map<number, number>()
    for (const operation of transaction.operations) {
      if (!("append" in operation)) continue
      writers.set(operation.append, transaction)
      last.set(operation.key, operation.append)
    }
    for (const value of last.values()) lasts.add(value)
  }

  for (const [key, values] of final) {
    if (new Set(values).size < values.length) found("duplicate", `list ${key}: ${values}`)
    for (const value of values) {
      if (writers.get(value)?.status === "failed") found("aborted read", `${value} is in list ${key} at the end`)
    }
  }
  const edges: Array<Edge> = []
  for (const values of final.values()) {
    for (let i = 0; i + 1 < values.length; i++) {
      edges.push({ kind: "ww", from: writers.get(values[i]!)!, to: writers.get(values[i + 1]!)! })
    }
  }
  for (const transaction of history) {
    if (transaction.status !== "succeeded") continue
    const own = new Map<number, Array<number>>()
    for (const operation of transaction.operations) {
      const { key } = operation
      const order = final.get(key) ?? []
      if ("append" in operation) {
        own.set(key, [...own.get(key) ?? [], operation.append])
        if (!order.includes(operation.append)) found("lost", `${operation.append} of ${transaction.id}`)
        continue
      }
      const seen = operation.read
      const where = `${transaction.id} read list ${key} as ${seen}`
      const mine = own.get(key) ?? []
      if (mine.some((value, i) => seen[seen.length - mine.length + i] !== value)) found("not its own", where)
      const foreign = seen.slice(0, seen.length - mine.length)
      for (const value of foreign) {
        if (writers.get(value)?.status === "failed") found("aborted read", where)
      }
      const last = foreign.at(-1)
      if (last !== undefined && !lasts.has(last) && writers.get(last) !== transaction) found("intermediate read", where)
      if (seen.some((value, i) => order[i] !== value)) {
        // What a failed or duplicated append does to the order has been told.
        if (seen.every((value) => order.includes(value))) found("incompatible order", `${where}, not as ${order}`)
        continue
      }
      if (last !== undefined) edges.push({ kind: "wr", from: writers.get(last)!, to: transaction })
      const next = order[seen.length]
      if (next !== undefined) edges.push({ kind: "rw", from: transaction, to: writers.get(next)! })
    }
  }
  for (
    const { circle, name } of circles(
      edges.filter(({ from, to }) => from !== undefined && to !== undefined && from !== to)
    )
  ) {
    if (forbidden[isolation].has(name)) found(name, circle)
  }
  return anomalies
}

interface Edge {
  readonly kind: "ww" | "wr" | "rw"
  readonly from: Transaction
  readonly to: Transaction
}

/** One circle of each kind, if there is one. */
const circles = (edges: ReadonlyArray<Edge>) => {
  const result: Array<{ readonly name: Anomaly["name"]; readonly circle: string }> = []
  /** A circle that begins with an edge of `first` and goes on with edges of `rest`. */
  const look = (name: Anomaly["name"], first: Edge["kind"], rest: ReadonlyArray<Edge["kind"]>) => {
    const next = new Map<Transaction, Array<Edge>>()
    for (const edge of edges) {
      if (rest.includes(edge.kind)) next.set(edge.from, [...next.get(edge.from) ?? [], edge])
    }
    for (const edge of edges) {
      if (edge.kind !== first) continue
      const way = path(next, edge.to, edge.from)
      if (way === undefined) continue
      const steps = [edge, ...way].map(({ from, kind }) => `${from.id} -${kind}-> `)
      return void result.push({ name, circle: steps.join("") + edge.from.id })
    }
  }
  look("G0", "ww", ["ww"])
  look("G1c", "wr", ["ww", "wr"])
  look("G-single", "rw", ["ww", "wr"])
  if (!result.some(({ name }) => name === "G-single")) look("G2", "rw", ["ww", "wr", "rw"])
  return result
}

/** The shortest way from one transaction to another. */
const path = (
  next: ReadonlyMap<Transaction, ReadonlyArray<Edge>>,
  from: Transaction,
  to: Transaction
): ReadonlyArray<Edge> | undefined => {
  const by = new Map<Transaction, Edge | undefined>([[from, undefined]])
  for (const at of by.keys()) {
    if (at === to) {
      const way: Array<Edge> = []
      for (let edge = by.get(at); edge !== undefined; edge = by.get(edge.from)) way.unshift(edge)
      return way
    }
    for (const edge of next.get(at) ?? []) if (!by.has(edge.to)) by.set(edge.to, edge)
  }
  return undefined
}
