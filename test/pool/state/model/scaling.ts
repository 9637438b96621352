/** Foretells what the pool makes of its demand, by the formulas as they stand in the books. */
import type { ScaleReason } from "../../../../src/pool/state/PoolEvent.ts"
import type { Books, Client, Use } from "./Books.ts"
import { partsOf } from "./parts.ts"

/** Somebody gets a connection: demand is looked at from now on. */
export const recordUse = (books: Books, client: Client): void => {
  const { scaling } = books.options
  if (scaling === undefined) return
  if (books.scaleAt === Infinity) {
    const missed = books.sampledAt === undefined ? 0 : (books.now - books.sampledAt) / scaling.interval
    for (let i = 1; i <= missed; i++) books.needs.push(0)
    books.sampledAt = books.now
    books.scaleAt = books.now + scaling.interval
  }
  const use: Use = { shares: client.lease.proven, from: books.now, until: undefined, old: false }
  books.uses.push(use)
  books.useOf.set(client, use)
  books.peak = Math.max(books.peak, books.exclusive())
}

/** The sample that is due now. */
export const sample = (books: Books): void => {
  const { max, min, shareWait } = books.options
  const { interval, utilization, wait, window } = books.options.scaling!
  const { connections: { idle, open, opening }, sharing: { serviceTime } } = partsOf(books.state)
  const { floor, now } = books
  const since = books.sampledAt!
  if (books.uses.length === 0) {
    books.see("rest")
    books.scaleAt = Infinity
    books.floor = min
    return
  }
  const average = (uses: ReadonlyArray<Use>) =>
    uses.reduce((sum, use) => sum + (use.until ?? now) - Math.max(use.from, since), 0) / (now - since)
  const exclusive = books.uses.filter((use) => !use.shares)
  const arrivals = exclusive.filter((use) => !use.old).length
  const load = average(exclusive)
  const sharing = average(books.uses.filter((use) => use.shares))
  let wanted = 0
  let reason: ScaleReason = "Utilization"
  const limit = Math.min(max, partsOf(books.state).server.ceiling, books.mayRun)
  if (arrivals >= 10) {
    const factorial = (n: number): number => n <= 1 ? 1 : n * factorial(n - 1)
    const term = (k: number) => load ** k / factorial(k)
    const waits = (c: number): number => {
      if (c <= load) return Infinity
      const all = term(c) * c / (c - load)
      const others = Array.from({ length: c }, (_, k) => term(k)).reduce((a, b) => a + b)
      return all / (all + others) * (load * (now - since) / arrivals) / (c - load)
    }
    const others = sharing > 0 ? 1 : 0
    const least = Math.min(limit - others, Math.max(1, Math.ceil(load / utilization - 1e-9)))
    let connections = least
    while (connections < limit - others && waits(connections) > wait) connections++
    if (connections > least) reason = "Wait"
    wanted = connections + others
  }
  const toShare = sharing === 0 ? 0 : serviceTime === 0 ? 1 : Math.ceil(sharing / (1 + shareWait / serviceTime))
  books.needs.push(Math.min(limit, Math.max(wanted, books.peak + toShare)))
  const samples = Math.ceil(window / interval)
  const lately = books.needs.slice(-samples)
  while (lately.length < samples) lately.push(Infinity)
  const median = lately.sort((a, b) => a - b)[Math.ceil(samples / 2) - 1]!

  const size = open + opening.length
  const mayGrow = books.suspended === undefined && partsOf(books.state).server.ceiling === Infinity
  wanted = Math.min(wanted, mayGrow ? size + books.spare : open)
  if (wanted > Math.max(size, floor)) {
    books.see(`up by ${reason}`)
    books.scaled.push({ _tag: "ScaledUp", from: size, to: wanted, reason })
  }
  books.floor = Math.max(min, wanted)
  const old = idle.filter((slot) => slot.idleSince <= now - window / 10).length
  const excess = Math.min(old, open - Math.max(books.floor, median, 1))
  if (excess > 0) books.scaled.push({ _tag: "ScaledDown", from: open, to: open - excess, reason: "Unneeded" })

  books.uses = books.uses.filter((use) => use.until === undefined)
  for (const use of books.uses) use.old = true
  books.peak = books.exclusive()
  books.sampledAt = now
  books.scaleAt = now + interval
}
