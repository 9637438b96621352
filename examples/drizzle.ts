/** Drizzle as a builder: it makes the text and the parameters, and the client of this library runs them. */
import { eq, gte, type SQL, sql as raw } from "drizzle-orm"
import { bigint, PgDialect, pgTable, QueryBuilder, text } from "drizzle-orm/pg-core"
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import { Transaction } from "watertight"

const account = pgTable("account", { id: text().primaryKey(), cents: bigint({ mode: "bigint" }).notNull() })

const dialect = new PgDialect()

/** Runs a query of Drizzle; in the transaction around it, if there is one. */
export const run = <Row extends object>(query: SQL<Row> | { readonly getSQL: () => SQL }) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => {
    const { params, sql: text } = dialect.sqlToQuery(query.getSQL())
    return sql.unsafe<Row>(text, params)
  })

type Account = typeof account.$inferSelect

export const rich = (atLeast: bigint) =>
  run<Account>(new QueryBuilder().select().from(account).where(gte(account.cents, atLeast)).orderBy(account.id))

export const raise = (id: string, by: bigint) =>
  run<Pick<Account, "cents">>(
    raw`update ${account} set cents = ${account.cents} + ${by} where ${eq(account.id, id)} returning cents`
  ).pipe(Transaction.run({}))
