import * as Effect from "effect/Effect"
import * as Ledger from "../../transaction/ledger/ledger.ts"
import { layerOfLedger, type Subject } from "../support.ts"

/** A server of its own for the ledger, over a driver. */
export const placeOf = (subject: Subject): Ledger.Place => ({
  server: Effect.map(
    subject.server.make(),
    (server) => Ledger.killable({ ...server, query: (statement) => server.query(statement, [], "test") })
  ),
  layer: layerOfLedger(subject)
})
