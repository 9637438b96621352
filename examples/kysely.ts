/** Kysely over the client of this library: queries as effects, in the transaction around them. */
import { Transaction } from "watertight"
import { KyselyClient } from "watertight/kysely"

interface Tables {
  readonly account: { readonly id: string; readonly cents: bigint }
}

const bank = KyselyClient.make<Tables>("postgresql")

export const rich = (atLeast: bigint) =>
  bank.run(bank.build.selectFrom("account").select(["id", "cents"]).where("cents", ">=", atLeast).orderBy("id"))

export const raise = (id: string, by: bigint) =>
  bank.run(
    bank.build.updateTable("account").set((eb) => ({ cents: eb("cents", "+", by) })).where("id", "=", id).returning(
      "cents"
    )
  ).pipe(Transaction.run({}))
