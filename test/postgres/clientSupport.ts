import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Postgres } from "watertight/postgres"
import { freshDatabase } from "../support/index.ts"

/** A fresh database on the shared server. */
export const database = (options: Partial<Postgres.LayerOptions> = {}) =>
  Layer.unwrap(Effect.map(freshDatabase(), (url) => Postgres.layer({ url: Redacted.make(url), ...options })))

/** A database at a URL, such as that of a proxy. */
export const databaseAt = (url: string, options: Partial<Postgres.LayerOptions> = {}) =>
  Postgres.layer({ url: Redacted.make(url), ...options })
