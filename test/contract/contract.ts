/** What every database keeps to. */
import { assert, describe, it, type Vitest } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type { Dialect, Services } from "./dialects/dialects.ts"
import { batches } from "./sections/batches.ts"
import { bulk } from "./sections/bulk.ts"
import { consumers } from "./sections/consumers.ts"
import { faults } from "./sections/faults.ts"
import { interruption } from "./sections/interruption.ts"
import { introspection } from "./sections/introspection.ts"
import { locks } from "./sections/locks.ts"
import { nesting } from "./sections/nesting.ts"
import { statements } from "./sections/statements.ts"
import { streams } from "./sections/streams.ts"
import { transactions } from "./sections/transactions.ts"
import { types } from "./sections/types.ts"
import { connections, Place, type Section, type Test } from "./suite.ts"

const sections: Readonly<Record<string, Section>> = {
  statements,
  types,
  transactions,
  "nested transactions": nesting,
  batches,
  streams,
  interruption,
  faults,
  bulk,
  introspection,
  "advisory locks": locks,
  "Effect's own consumers": consumers
}

export const contract = (dialect: Dialect): void => {
  const leftOut: Array<string> = []
  const testOf = (it: Vitest.MethodsNonLive<Services | Place>): Test => {
    const needing: Test["needing"] = (...capabilities) => (name, body) => {
      const reason = capabilities.map((capability) => dialect.lacks[capability]).find((reason) => reason !== undefined)
      if (reason === undefined) return it.effect(name, body)
      leftOut.push(name)
      it.effect.skip(`${name}: left out, because ${reason}`, body)
    }
    return Object.assign(needing(), { needing })
  }

  const database = Layer.unwrap(Effect.map(Place, (url) => dialect.at(url, { pool: { max: connections } })))
  // What the pool says of outages is not for those who read the results.
  it.layer(Layer.provideMerge(database, [Layer.effect(Place, dialect.database), Logger.layer([])]), {
    excludeTestServices: true,
    timeout: "60 seconds"
  })(dialect.name, (it) => {
    for (const [name, section] of Object.entries(sections)) describe(name, () => section(testOf(it), dialect))
  })

  it("what is left out is what the dialect names, and nothing else", () => {
    assert.deepStrictEqual(leftOut, dialect.without)
  })
}
