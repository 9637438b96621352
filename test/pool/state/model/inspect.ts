/** What must hold after every event: everything that can be recounted is recounted. */
import type { Lease, Slot } from "../../../../src/pool/state/Slot.ts"
import type { Books } from "./Books.ts"
import { partsOf } from "./parts.ts"

/** The way to the server is as long as the fastest answer of the last minute, or two. */
const checkRoundTrip = (books: Books): void => {
  const { sharing } = partsOf(books.state)
  while (books.answers.length > 0 && books.answers[0]![0] <= books.now - 120_000) books.answers.shift()
  const recent = books.answers.filter(([at]) => at > books.now - 60_000)
  const { fastest } = sharing.roundTrip
  if (recent.length > 0) {
    books.check(recent.every(([, millis]) => fastest <= millis), `the fastest answer is ${fastest}`)
    books.check(books.answers.some(([, millis]) => fastest === millis), `no answer took ${fastest}`)
  }
}

/** When the capacity has shrunk, the number of connections does so as they come back. */
const checkCapacity = (books: Books): void => {
  const slots = [...books.state.slots]
  const { connections, server: { ceiling } } = partsOf(books.state)
  if (ceiling > books.ceiling) {
    books.check(books.refusedAt + books.options.overloadRecovery <= books.now, "raised too early")
    books.check(ceiling === books.ceiling + 1 || books.ceiling + 1 >= books.options.max, `raised to ${ceiling}`)
    books.refusedAt = books.now
  } else books.equal(ceiling, books.ceiling, "ceiling")
  books.ceiling = ceiling
  books.check(slots.length <= Math.max(books.limit, books.size), `${slots.length} connections`)
  books.size = slots.length
  books.check(
    connections.opening.length <= books.options.maxConnecting,
    `${connections.opening.length} are being opened`
  )
}

/** What the state says of each connection is what has happened to it. */
const checkPhases = (books: Books): void => {
  const expected = { Connecting: "connecting", Validating: "pinging", Resetting: "resetting", Closing: "closing" }
  for (const slot of books.state.slots) {
    const status = (expected as Record<string, string>)[slot.phase] ?? "open"
    books.check(books.statusOf(slot) === status, `${slot.id} is ${slot.phase} and ${books.statusOf(slot)}`)
  }
  for (const known of books.slots()) {
    books.check(books.state.slots.has(known.slot) === (known.status !== "gone"), `${known.slot.id} is ${known.status}`)
  }
}

/** Leases and connections belong to each other. */
const checkLeases = (books: Books): void => {
  const held = books.held()
  for (const client of books.clients) {
    const { state } = client.lease
    const status = { New: "?", Waiting: "waiting", Held: "held", Failed: "failed", Ended: "ended" }[state]
    books.check(status === client.status || client.status === "failed", `${client.name} is ${state}`)
  }
  for (const client of held) {
    const slot = client.lease.slot!
    const phase = client.lease.shared ? "Shared" : "Leased"
    books.check(
      slot.phase === phase || slot.phase === "Gone" || books.known.get(slot)!.cut,
      `${client.name} holds ${slot.id}, which is ${slot.phase}`
    )
  }
  for (const slot of books.state.slots) {
    if (books.known.get(slot)!.cut) continue
    const holders = held.filter((client) => client.lease.slot === slot)
    const whole = holders.filter((client) => !client.lease.shared)
    books.check(whole.length === (slot.phase === "Leased" ? 1 : 0), `${whole.length} have ${slot.id} for themselves`)
    books.check(holders.every((client) => client.lease.lane === slot.lane), `two lanes on ${slot.id}`)
    books.check(holders.length - whole.length === (slot.phase === "Shared" ? slot.load : 0), `load of ${slot.id}`)
    books.check(slot.phase !== "Shared" || slot.load > 0, `${slot.id} is shared by nobody`)
    if (slot.phase === "Leased") books.check(slot.lease === whole[0]!.lease, `lease of ${slot.id}`)
    else {
      const line: Array<Lease<number>> = []
      for (let lease = slot.lease; lease !== undefined; lease = lease.next) line.push(lease)
      books.check(
        line.length === holders.length && line.every((lease) => holders.some((client) => client.lease === lease)),
        `line of ${slot.id}`
      )
      books.check(line.every((lease, i) => i === 0 || line[i - 1]!.since <= lease.since), `order on ${slot.id}`)
      books.check(slot.last === line.at(-1), `last of ${slot.id}`)
    }
    if (slot.phase === "Shared") {
      const unproven = holders.filter((client) => !client.lease.proven).length + books.known.get(slot)!.abandoned
      // An abandoned statement that nobody knew is counted once.
      books.check(slot.unproven <= unproven && (slot.unproven > 0) === (unproven > 0), `unproven on ${slot.id}`)
    }
  }
}

/** What the state counts as it goes is what there is. */
const checkCounters = (books: Books): void => {
  const { connections, demand, dispatcher, limiter, queue, sharing } = partsOf(books.state)
  const slots = [...books.state.slots]
  const inPhase = (phase: Slot<number>["phase"]) => slots.filter((slot) => slot.phase === phase)
  const used = inPhase("Leased").length + inPhase("Shared").length
  const open = slots.length - inPhase("Connecting").length - inPhase("Closing").length
  books.equal(connections.opening.length, inPhase("Connecting").length, "opening")
  books.equal(connections.pinging.length, inPhase("Validating").length, "pinging")
  books.equal(connections.resetting.length, inPhase("Resetting").length, "resetting")
  books.check(connections.closing.length <= inPhase("Closing").length, "closing")
  books.equal(connections.idle.length, inPhase("Idle").length, "idle")
  books.equal(sharing.slots.length, inPhase("Shared").length, "shared")
  books.equal(connections.used, used, "used")
  for (const [i, lane] of queue.lanes.entries()) {
    books.equal(lane.used, books.usedBy(i), `used by lane ${i}`)
    books.check(lane.used <= Math.max(books.usedBefore[i] ?? 0, books.most(i)), `lane ${i} has ${lane.used}`)
    books.usedBefore[i] = lane.used
  }
  books.equal(connections.open, open, "open")
  books.equal(demand.floor, books.floor, "floor")
  if (books.options.adaptive) {
    books.equal(dispatcher.running, books.held().length, "running")
    const { max, pipelineDepth } = books.options
    books.check(limiter!.limit >= 1 && limiter!.limit <= max * pipelineDepth, `limit on what runs: ${limiter!.limit}`)
  }
  books.equal(sharing.reserved, slots.filter((slot) => slot.reserved).length, "reserved")
  books.equal(books.state.waiting, books.queue().length, "waiting")
  books.equal(books.state.counts.total, slots.length, "total")
  books.equal(books.created - books.closed, open, "created and not closed")
}

/** Who waits, of those who could run: for a whole connection, and to share one. */
const demandOf = (books: Books) => {
  const queue = books.queue()
  const lanes = Array.from({ length: books.options.lanes.length + 1 }, (_, i) => i)
  const waiting = (lane: number, shared: boolean) =>
    queue.filter((client) => client.lease.lane === lane && client.lease.shared === shared).length
  // Without lanes, all who wait could have one.
  const many = lanes.length > 1
  const reserved = lanes
    .map((lane) => Math.min(waiting(lane, false), many ? books.claim(lane) : Infinity))
    .reduce((a, b) => a + b)
  const space = (lane: number) => many ? Math.max(0, books.room(lane)) : Infinity
  const free = Math.max(0, books.mayRun - books.held().length)
  const whole = Math.min(
    free,
    lanes.map((lane) => Math.min(waiting(lane, false), space(lane))).reduce((a, b) => a + b)
  )
  const sharers = Math.min(
    free - whole,
    lanes
      .map((lane) => Math.min(waiting(lane, true), Math.max(0, space(lane) - waiting(lane, false))))
      .reduce((a, b) => a + b)
  )
  return { lanes, waiting, reserved, free, whole, sharers, all: whole + sharers }
}

type Demand = ReturnType<typeof demandOf>

/** Shared connections are reserved for those who wait for a whole one, and for nobody else. */
const checkReservations = (books: Books, demand: Demand): void => {
  const { sharing } = partsOf(books.state)
  books.equal(sharing.reserved, Math.min(demand.reserved, sharing.slots.length), "reserved for those who wait")
  books.check(
    [...books.state.slots].every((slot) => !slot.reserved || slot.phase === "Shared"),
    "reserved and not shared"
  )
}

/** How many of these have been under way for so long that they are not counted on. */
const hanging = (books: Books, slots: ReadonlyArray<Slot<number>>): number =>
  slots.filter((slot) => slot.since + books.options.slowConnect <= books.now).length

/** Nobody waits for what is there. */
const checkLending = (books: Books, demand: Demand): void => {
  const { connections, sharing } = partsOf(books.state)
  if (demand.all > 0) {
    const fresh = books.fresh()
    books.check(fresh === undefined, `${books.queue()[0]!.name} waits beside ${fresh?.id}`)
    const pings = connections.pinging.length - hanging(books, connections.pinging)
    // Time may have passed since the last event: a tick is due then.
    const pinged = connections.idle.length === 0 || pings >= demand.all || books.wakeAt <= books.now
    books.check(pinged, "idle connections are not pinged")
  }
  for (const lane of demand.lanes) {
    if (demand.waiting(lane, true) === 0 || demand.free === 0) continue
    for (const slot of sharing.slots) {
      if (slot.lane !== lane) continue
      books.check(
        slot.load >= books.options.pipelineDepth || slot.unproven > 0 || slot.reserved || slot.expiresAt <= books.now ||
          slot.retired !== undefined || slot.suspicion !== undefined ||
          books.now - slot.headSince >= books.slowLimit,
        `a statement waits, although ${slot.id} has room for it`
      )
    }
  }
}

/** As many as are wanted are under way, unless something that is known forbids it. Returns how many are wanted. */
const checkSupply = (books: Books, demand: Demand): number => {
  const { connections, opening, sharing } = partsOf(books.state)
  const underWay = connections.opening.length - hanging(books, connections.opening)
  const pings = hanging(books, connections.pinging) > 0 ? 0 : connections.pinging.length
  // Statements that wait beside shared connections are given a moment.
  const asked = demand.sharers > 0 ? books.queue().find((client) => client.lease.shared)?.lease.since : undefined
  const patient = asked !== undefined && sharing.slots.length > 0 &&
    (asked + books.options.shareWait > books.now || books.wakeAt <= books.now)
  const pressing = demand.whole + (patient ? 0 : Math.ceil(demand.sharers / 16))
  const wanted = Math.max(pressing - pings, books.floor - connections.open)
  const possible = Math.min(
    books.limit - books.state.slots.size,
    opening.window - underWay,
    books.options.maxConnecting - connections.opening.length
  )
  if (Math.min(wanted - underWay, possible) > 0) {
    const excuse = Math.min(opening.retryAt > books.now ? opening.retryAt : Infinity, books.now)
    books.check(
      opening.retryAt > books.now || books.wakeAt <= excuse,
      `${wanted} wanted, ${underWay} under way, nothing is opened`
    )
    if (opening.retryAt > books.now) books.check(books.wakeAt <= opening.retryAt, "the retry is forgotten")
  }
  return wanted
}

/** The timer comes in time for the first thing that is due. */
const checkTimer = (books: Books, demand: Demand, wanted: number): void => {
  const { connections, opening } = partsOf(books.state)
  const { maxConnecting, slowConnect } = books.options
  const due: Array<readonly [string, number]> = books.queue().map((client) => ["deadline", books.deadlineOf(client)])
  for (const slot of [...connections.pinging, ...connections.resetting, ...connections.closing]) {
    due.push(["answer", slot.since + books.options.controlTimeout])
  }
  // A pool without a connection finds out by itself when the server is back.
  if (
    books.outage && connections.open === 0 && connections.opening.length === 0 && books.limit > books.state.slots.size
  ) {
    due.push(["prober", opening.probeAt])
  }
  for (const slot of connections.idle) {
    const endsAt = Math.min(slot.expiresAt, books.known.get(slot)!.endsAt)
    due.push(["lifetime", endsAt], ["keepAlive", slot.aliveAt + books.options.keepAlive])
    if (connections.open > books.floor) due.push(["idleTimeout", slot.idleSince + books.options.idleTimeout])
  }
  // When one of those under way hangs, something else is tried, if it can be.
  const room = books.limit - books.state.slots.size
  const hangs = [
    ...(demand.all > 0 && room + connections.idle.length > 0 ? connections.pinging : []),
    ...(wanted > 0 && room > 0 && maxConnecting > connections.opening.length && opening.retryAt <= books.now
      ? connections.opening
      : [])
  ]
  for (const { since } of hangs) if (since + slowConnect > books.now) due.push(["hanging", since + slowConnect])
  for (const client of books.held()) {
    if (client.lease.slot!.phase !== "Leased" && client.lease.slot!.phase !== "Shared") continue
    const { since } = client.lease
    due.push(["reclaim", since + books.options.reclaimAfter])
    if (client.leaks === 0) due.push(["leak", since + books.options.leakThreshold])
  }
  if (books.ceiling < Infinity) due.push(["recovery", books.refusedAt + books.options.overloadRecovery])
  due.push(["scaling", books.scaleAt])
  for (const [what, at] of due) books.check(books.wakeAt <= at, `woken at ${books.wakeAt}, ${what} is due at ${at}`)
}

/** After shutdown nobody waits, nothing is idle, and the end is told once. */
const checkShutdown = (books: Books): void => {
  books.equal(books.queue().length, 0, "waiting after shutdown")
  books.equal([...books.state.slots].filter((slot) => slot.phase === "Idle").length, 0, "idle after shutdown")
  books.equal(books.drained, books.state.slots.size === 0 ? 1 : 0, "drained")
}

/** While the pool is suspended, who waits fails in time, and a drain is told about. */
const checkSuspended = (books: Books): void => {
  const queue = books.queue()
  if (books.suspended === "reject") books.equal(queue.length, 0, "waiting while others are rejected")
  for (const client of queue) books.check(books.wakeAt <= books.deadlineOf(client), `${client.name} is forgotten`)
  books.check(!books.draining || books.state.slots.size > 0, "drained, and nobody was told")
}

export const inspect = (books: Books): void => {
  checkRoundTrip(books)
  checkCapacity(books)
  checkPhases(books)
  checkLeases(books)
  checkCounters(books)
  if (books.shutdown) return checkShutdown(books)
  if (books.suspended !== undefined) return checkSuspended(books)
  const demand = demandOf(books)
  checkReservations(books, demand)
  checkLending(books, demand)
  checkTimer(books, demand, checkSupply(books, demand))
}
