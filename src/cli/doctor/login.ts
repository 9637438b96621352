/** Why a server did not let somebody in. */
import type { SqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../../failure/SqlFailure.ts"
import { firstLine, type Line, problem } from "./Check.ts"

const full =
  "somebody has all connections: lower `pool.max` of the programs, put a pooler in between, or raise `max_connections`"

const remedies: Readonly<Record<string, string>> = {
  "28P01": "the password is wrong, or the user is unknown",
  "28000": "the server lets this user in from nowhere, or not from here: look at pg_hba.conf",
  "3D000": "there is no such database: look for a typing error, or create it",
  "53300": full,
  "57P03": "the server is starting or stopping: try again in a moment",
  "08P01": "something else than PostgreSQL answers there",
  "1045": "the password is wrong, or the user may not come from this machine",
  "1044": "the user has no rights on this database: GRANT them",
  "1049": "there is no such database: look for a typing error, or create it",
  "1040": full,
  "1203": full,
  "1226": full,
  "1129": "the server has blocked this machine after many failures: FLUSH HOSTS, or raise `max_connect_errors`",
  "1130": "the server lets nobody in from this machine: create the user for this host",
  "1251": "the server wants a way to log in that the driver does not know",
  "2059": "the server wants a way to log in that the driver does not know"
}

export const refused = (error: SqlError): Line => {
  // While connecting, the code is a part of what the server says.
  const code = String(SqlFailure.of(error).code ?? /\((\w{4,5})\)/.exec(firstLine(error))?.[1] ?? "")
  return problem("login", firstLine(error), remedies[code] ?? "look into the log of the server")
}
