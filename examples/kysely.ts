/** Kysely as a builder: it makes the text and the parameters, and the client of this library runs them. */
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import {
  type Compilable,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler
} from "kysely"
import { Transaction } from "watertight"

interface Tables {
  readonly account: { readonly id: string; readonly cents: bigint }
}

const db = new Kysely<Tables>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler()
  }
})

/** Runs a query of Kysely, with the type of its rows; in the transaction around it, if there is one. */
export const run = <Row>(query: Compilable<Row>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => {
    const { parameters, sql: text } = query.compile()
    return sql.unsafe<Row & object>(text, parameters as Array<unknown>)
  })

export const rich = (atLeast: bigint) =>
  run(db.selectFrom("account").select(["id", "cents"]).where("cents", ">=", atLeast).orderBy("id"))

export const raise = (id: string, by: bigint) =>
  run(db.updateTable("account").set((eb) => ({ cents: eb("cents", "+", by) })).where("id", "=", id).returning("cents"))
    .pipe(Transaction.run({}))
