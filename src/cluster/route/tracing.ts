/** Tells the span of a statement on which server it runs. The client that made the span does not know. */
import type * as Fiber from "effect/Fiber"
import { spanOf } from "../../database/spanName.ts"
import type { Member } from "../Member.ts"

/** A call goes to a node. Of several attempts the last one is told. */
export const trace = (
  fiber: Fiber.Fiber<unknown, unknown>,
  { node: { status }, options: { host, port } }: Member
): void => {
  const span = spanOf(fiber)
  if (span === undefined) return
  span.attribute("server.address", host)
  if (port !== undefined) span.attribute("server.port", port)
  span.attribute("watertight.node.role", status.toLowerCase())
}
