/** Watertight on MariaDB or MySQL, over the MariaDB connector or over mysql2. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import type { Subject, Target } from "../harness/model.ts"
import { built, operations } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

export const open = async (
  { connections, options, server, servers }: Target
): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const config = {
    url: Redacted.make(servers[server]!.url),
    pool: { max: connections },
    // Without TLS, as the others: MySQL has it by default.
    sslmode: "disable",
    allowPublicKeyRetrieval: true
  } as const
  const layer = options["driver"] === "mysql2" ? Mysql.layer(config) : Mariadb.layer(config)
  const { close, context } = await built(layer)
  return { style: effects, close, ...operations(Context.get(context, SqlClient.SqlClient), server) }
}
