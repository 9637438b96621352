/**
 * What every PostgreSQL layer provides beside the client.
 */
import * as Context from "effect/Context"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Adapter } from "../../Adapter.ts"
import type { Pool } from "../../Pool.ts"
import * as Sessions from "../Sessions.ts"

/** The services of the modules of PostgreSQL. */
export type Features = Sessions.Sessions

export const makeFeatures = (
  adapter: Adapter,
  pool: Pool,
  client: SqlClient.SqlClient
): Context.Context<Features> => Context.make(Sessions.Sessions, Sessions.make(adapter, pool, client))
