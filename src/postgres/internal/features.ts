/**
 * What every PostgreSQL layer provides beside the client.
 */
import * as Context from "effect/Context"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Adapter } from "../../Adapter.ts"
import * as Bulk from "../../Bulk.ts"
import type { Pool } from "../../Pool.ts"
import * as Sessions from "../Sessions.ts"
import { makeBulk } from "./bulk.ts"

/** The services of the modules of PostgreSQL. */
export type Features = Sessions.Sessions | Bulk.Bulk

export const makeFeatures = (
  adapter: Adapter,
  pool: Pool,
  client: SqlClient.SqlClient
): Context.Context<Features> => {
  const sessions = Sessions.make(adapter, pool, client)
  return Context.make(Sessions.Sessions, sessions).pipe(
    Context.add(Bulk.Bulk, makeBulk(sessions, client))
  )
}
