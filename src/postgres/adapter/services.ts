/**
 * What every PostgreSQL layer provides beside the client.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Adapter } from "../../Adapter.ts"
import * as Bulk from "../../bulk/Bulk.ts"
import { lazyBulk } from "../../bulk/lazy.ts"
import { loaded } from "../../database/loaded.ts"
import * as Introspection from "../../introspection/Introspection.ts"
import { lazyIntrospection } from "../../introspection/lazy.ts"
import { Locks } from "../../locks/AdvisoryLock.ts"
import { lazyLocks } from "../../locks/lazy.ts"
import type { Pool } from "../../pool/Pool.ts"
import { hubOf } from "../errors/notices.ts"
import * as Notifications from "../Notifications.ts"
import * as Server from "../Server.ts"
import * as Sessions from "../Sessions.ts"

/** The services of the modules of PostgreSQL. */
export type Features =
  | Sessions.Sessions
  | Bulk.Bulk
  | Introspection.Introspection
  | Locks
  | Notifications.Notifications
  | Server.Server

/** What is chosen about them. */
export interface FeatureOptions {
  readonly notifications?: Notifications.Options | undefined
  readonly pooler?: "transaction" | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
}

export const makeFeatures = Effect.fnUntraced(function*(
  adapter: Adapter,
  pool: Pool,
  client: SqlClient.SqlClient,
  options: FeatureOptions
): Effect.fn.Return<Context.Context<Features>, never, Scope.Scope> {
  const sessions = Sessions.make(adapter, pool, client, options.pooler)
  const bulk = loaded(async () =>
    (await import("../bulk/bulk.ts")).makeBulk(sessions, client, options.transformQueryNames)
  )
  const introspection = loaded(async () =>
    (await import("../introspection/introspection.ts")).makeIntrospection(sessions)
  )
  const locks = loaded(async () => (await import("../locks.ts")).makeLocks(sessions))
  return Context.make(Sessions.Sessions, sessions).pipe(
    Context.add(Locks, lazyLocks(locks)),
    Context.add(Bulk.Bulk, lazyBulk(bulk)),
    Context.add(Introspection.Introspection, lazyIntrospection(introspection)),
    Context.add(Server.Server, Server.make(sessions, client, hubOf(adapter).stream)),
    Context.add(Notifications.Notifications, yield* Notifications.make(sessions, client, options.notifications))
  )
})
