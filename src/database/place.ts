/**
 * Where a connection leads, for the spans of what runs on it. Only a cluster knows more than the name of the database.
 */
import type * as Fiber from "effect/Fiber"
import type { Connection } from "../Adapter.ts"
import { spanOf } from "./spanName.ts"

/** A server, and what it is at this moment. */
export interface Place {
  readonly host: string
  readonly port: number | undefined
  readonly role: () => string
}

const places = new WeakMap<object, Place>()

/** From now on spans tell that the connection leads there. */
export const mark = (connection: Connection, place: Place): void => void places.set(connection, place)

/** Tells the span of the statement that a fiber runs on which server it is, if somebody traces. Of several the last one. */
export const trace = (fiber: Fiber.Fiber<unknown, unknown>, { host, port, role }: Place): void => {
  const span = spanOf(fiber)
  if (span === undefined) return
  span.attribute("server.address", host)
  if (port !== undefined) span.attribute("server.port", port)
  span.attribute("watertight.node.role", role())
}

/** The same for a statement on a connection that somebody has already. */
export const traceOn = (fiber: Fiber.Fiber<unknown, unknown>, connection: Connection): void => {
  if (fiber.cache.tracer === undefined || !fiber.cache.tracerEnabled) return
  let inner: { readonly base?: unknown } = connection as { readonly base?: unknown }
  while (typeof inner.base === "object" && inner.base !== null) inner = inner.base
  const place = places.get(inner)
  if (place !== undefined) trace(fiber, place)
}
