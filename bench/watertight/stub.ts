/** An adapter of a database that does nothing, at once: what is left is what we cost ourselves. */
import * as Effect from "effect/Effect"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { Adapter } from "watertight"

const row = [{ n: 1 }]
const rows = Effect.succeed(row)

const connection = (id: number): Adapter.Connection => ({
  id: String(id),
  canPipeline: true,
  isClosed: false,
  isReady: true,
  inTransaction: false,
  commitToken: undefined,
  onLost: () => {},
  handBack: () => true,
  onRetire: () => {},
  execute: () => rows,
  executeRaw: () => rows,
  executeValues: () => Effect.succeed([[1]]),
  executeValuesUnprepared: () => Effect.succeed([[1]]),
  executeUnprepared: () => rows,
  executeStream: () => Stream.empty,
  ping: Effect.void,
  verify: Effect.void,
  reset: Effect.void,
  begin: () => Effect.void,
  commit: Effect.void,
  rollback: Effect.void,
  savepoint: () => Effect.void,
  releaseSavepoint: () => Effect.void,
  rollbackSavepoint: () => Effect.void,
  close: Effect.void,
  cancel: Effect.void,
  destroy: () => {}
})

let next = 0

export const adapter: Adapter.Adapter = {
  [Adapter.TypeId]: Adapter.TypeId,
  driver: "nothing",
  name: "nothing://",
  compiler: Statement.makeCompilerSqlite(),
  transformRows: undefined,
  // As many as a real database has.
  spanAttributes: [
    ["db.system.name", "nothing"],
    ["db.namespace", "nothing"],
    ["server.address", "127.0.0.1"],
    ["server.port", 1]
  ],
  maxConnections: undefined,
  connect: Effect.andThen(Effect.yieldNow, Effect.sync(() => connection(next++))),
  isPermanent: () => false,
  ruleOf: () => undefined,
  idempotency: { createTable: () => "", insert: () => "", inserted: () => true, prune: () => "" },
  resolveCommit: undefined
}
