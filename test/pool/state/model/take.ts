/** Each action of the pool, held against what the books know at that moment. */
import type { PoolEvent } from "../../../../src/pool/state/PoolEvent.ts"
import type { Lease } from "../../../../src/pool/state/Slot.ts"
import type { Books, Client } from "./Books.ts"
import { recordUse } from "./scaling.ts"

/** A client has got a connection. */
export const lent = (books: Books, client: Client): void => {
  const { lease } = client
  const slot = lease.slot!
  recordUse(books, client)
  books.check(books.held().length <= books.mayRun, `${books.held().length} run`)
  books.check(!books.known.get(slot)!.retired, `${client.name} got ${slot.id}, which was retired`)
  books.check(books.known.get(slot)!.suspect === undefined, `${client.name} got ${slot.id}, which is in doubt`)
  books.check(books.statusOf(slot) === "open", `${client.name} got ${slot.id}, which is ${books.statusOf(slot)}`)
  books.check(
    Math.min(slot.expiresAt, books.known.get(slot)!.endsAt) > books.now,
    `${client.name} got a connection that is too old`
  )
  books.check(slot.load <= books.options.pipelineDepth, `more than pipelineDepth on ${slot.id}`)
  if (lease.shared && slot.load > 1) {
    books.see("joined")
    // Those before it, as it found them.
    const others = books.sharers(slot).filter((other) => other !== client)
    const found = others.filter((other) => other.lease.since < books.now || other.name < client.name)
    books.check(found.every((other) => other.lease.proven), `${client.name} waits behind an unknown statement`)
    books.check(books.known.get(slot)!.abandoned === 0, `${client.name} waits behind an abandoned statement`)
    books.check(books.now - slot.headSince < books.slowLimit, `${client.name} waits behind a slow one`)
  } else if (slot.aliveAt < books.now) {
    books.check(slot.aliveAt + books.options.validateAfter >= books.now, `${client.name} got ${slot.id} without a ping`)
  }
}

/** The pool tells about itself. */
const told = (books: Books, event: PoolEvent, lease: Lease<number> | undefined): void => {
  switch (event._tag) {
    case "Created":
      books.created++
      return
    case "Closed":
      books.closed++
      return
    case "LeakSuspected": {
      const client = books.clientOf(lease!)
      books.check(++client.leaks === 1, `${client.name} is suspected twice`)
      books.check(client.status === "held" && event.millis >= books.options.leakThreshold, "suspected too early")
      return
    }
    case "LeakReturned": {
      const client = books.clientOf(lease!)
      books.check(client.leaks === 1 && client.status === "ended", `${client.name} has returned nothing`)
      return
    }
    case "ScaledUp":
    case "ScaledDown": {
      const expected = books.scaled.shift()
      books.check(
        expected !== undefined && JSON.stringify(event) === JSON.stringify(expected),
        `${JSON.stringify(event)} instead of ${JSON.stringify(expected)}`
      )
      return
    }
    case "LimitChanged":
      books.check(event.from !== event.to, "the limit has not changed")
      books.check(event.to >= 1, "nothing may run")
      return
    case "OverloadRaised":
      books.check(event.to === event.from + 1, `raised from ${event.from} to ${event.to}`)
      return
  }
}

/** Sees what is to be done. */
export const take = (books: Books): void => {
  for (const action of books.state.actions.splice(0)) {
    books.see(
      action._tag === "Report"
        ? action.event._tag
        : "reason" in action
        ? `${action._tag} ${action.reason}`
        : action._tag
    )
    const late = action._tag === "Fail" || (action._tag === "Report" && action.event._tag === "LeakReturned")
    books.check(books.drained === 0 || late, `${action._tag} after Drained`)
    switch (action._tag) {
      case "Lease": {
        const client = books.clientOf(action.lease)
        books.equal(action.waitedMillis, books.now - client.askedAt, `the wait of ${client.name}`)
        books.check(!books.shutdown, "lent after shutdown")
        books.check(books.suspended === undefined, "lent while suspended")
        books.check(client.status === "waiting", `a lease for ${client.name}, which is ${client.status}`)
        const ahead = books.queue().filter((other) =>
          other.name < client.name && other.lease.lane === client.lease.lane
        )
        books.check(
          !ahead.some((other) => other.lease.shared === client.lease.shared),
          `${client.name} was served before ${ahead[0]?.name}`
        )
        books.check(
          ahead.length === 0 || (client.lease.shared && client.lease.slot!.load > 1),
          `${client.name} got a whole connection before ${ahead[0]?.name}`
        )
        client.status = "held"
        lent(books, client)
        break
      }
      case "Fail": {
        const client = books.clientOf(action.lease)
        books.check(client.status === "waiting", `a failure for ${client.name}, which is ${client.status}`)
        client.status = "failed"
        if (action.reason === "AcquireTimeout") {
          books.check(client.askedAt + books.options.acquireTimeout <= books.now, `${client.name} failed too early`)
        }
        if (action.reason === "PoolClosed") books.check(books.shutdown, "closed without shutdown")
        if (action.reason === "QueueFull") {
          books.check(books.options.maxWaiting < Infinity, "full without limit")
        }
        if (action.reason === "Suspended") {
          const isOver = client.askedAt + books.options.acquireTimeout <= books.now
          books.check(books.suspended === "reject" || books.suspended === "hold" && isOver, "suspended without reason")
        }
        break
      }
      case "Connect":
        books.check(!books.known.has(action.slot), `${action.slot.id} is opened twice`)
        books.check(!books.shutdown, "opened after shutdown")
        books.check(books.suspended === undefined, "opened while suspended")
        books.check(
          books.state.slots.size <= books.state.limit,
          `one of ${books.state.slots.size} connections is opened`
        )
        books.known.set(action.slot, {
          slot: action.slot,
          status: "connecting",
          endsAt: Infinity,
          abandoned: 0,
          retired: false,
          suspect: undefined,
          cut: false
        })
        break
      case "Abandon":
        books.check(books.statusOf(action.slot) === "connecting", `${action.slot.id} is not being opened`)
        break
      case "Ping":
        books.check(books.statusOf(action.slot) === "open", `ping of ${action.slot.id}`)
        books.known.get(action.slot)!.status = "pinging"
        break
      case "Reset":
        books.check(books.statusOf(action.slot) === "open", `reset of ${action.slot.id}`)
        books.known.get(action.slot)!.status = "resetting"
        break
      case "Close":
        books.check(
          books.statusOf(action.slot) === "open" || action.abrupt,
          `${action.slot.id} is closed, and is ${books.what}`
        )
        books.known.get(action.slot)!.status = "closing"
        books.known.get(action.slot)!.cut = action.abrupt
        break
      case "Reclaim": {
        const { lease } = action
        books.check(books.clientOf(lease).status === "held", `${books.clientOf(lease).name} has nothing to reclaim`)
        books.check(books.now - lease.since >= books.options.reclaimAfter, "reclaimed too early")
        break
      }
      case "Report":
        told(books, action.event, action.lease)
        break
      case "Wake":
        books.check(action.at < books.wakeAt, "a Wake that is no earlier than the one before")
        books.wakeAt = action.at
        break
      case "Drained":
        books.check((books.shutdown || books.draining) && books.state.slots.size === 0, "drained too early")
        books.draining = false
        if (!books.shutdown) break
        books.drained++
        books.check(books.drained === 1, "drained twice")
        break
    }
  }
}
