/** What the compiler says about functions that demand a transaction. */
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Effect } from "effect"
import type { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { Transaction } from "watertight"

interface Account {
  readonly cents: number
}

declare const balance: Effect.Effect<Account, "NoSuchAccount", Transaction.ReadTransaction | SqlClient.SqlClient>
declare const book: Effect.Effect<void, never, Transaction.Transaction | SqlClient.SqlClient>
declare const plain: Effect.Effect<string, never, SqlClient.SqlClient>

// Declared only: nothing here runs.
const never = (work: () => void): void => void work

describe("a function that demands a transaction", () => {
  it("is content inside one, and only inside one", () => {
    never(() => {
      expectTypeOf(Transaction.run(book)).toEqualTypeOf<
        Effect.Effect<void, SqlError, SqlClient.SqlClient | Transaction.Manager>
      >()
      expectTypeOf(book).not.toExtend<Effect.Effect<void, SqlError, SqlClient.SqlClient | Transaction.Manager>>()
    })
  })

  it("can be piped into one", () => {
    never(() => {
      expectTypeOf(book.pipe(Transaction.run())).toEqualTypeOf<
        Effect.Effect<void, SqlError, SqlClient.SqlClient | Transaction.Manager>
      >()
      expectTypeOf(book.pipe(Transaction.run({ isolation: "serializable", name: "book" }))).toEqualTypeOf<
        Effect.Effect<void, SqlError, SqlClient.SqlClient | Transaction.Manager>
      >()
    })
  })

  it("that writes is not content with one that is read only", () => {
    never(() => {
      expectTypeOf(Transaction.run(book, { access: "read only" })).toEqualTypeOf<
        Effect.Effect<void, SqlError, SqlClient.SqlClient | Transaction.Manager | Transaction.Transaction>
      >()
      expectTypeOf(book.pipe(Transaction.run({ access: "read only" }))).toEqualTypeOf<
        Effect.Effect<void, SqlError, SqlClient.SqlClient | Transaction.Manager | Transaction.Transaction>
      >()
    })
  })

  it("that reads is content with any", () => {
    never(() => {
      type Done = Effect.Effect<Account, "NoSuchAccount" | SqlError, SqlClient.SqlClient | Transaction.Manager>
      expectTypeOf(Transaction.run(balance)).toEqualTypeOf<Done>()
      expectTypeOf(Transaction.run(balance, { access: "read only" })).toEqualTypeOf<Done>()
      expectTypeOf(Transaction.run(balance, { access: "read write" })).toEqualTypeOf<Done>()
    })
  })

  it("may call another one", () => {
    never(() => {
      const both = Effect.andThen(balance, book)
      expectTypeOf(Transaction.run(both)).toEqualTypeOf<
        Effect.Effect<void, "NoSuchAccount" | SqlError, SqlClient.SqlClient | Transaction.Manager>
      >()
    })
  })

  it("and one that does not demand one loses nothing", () => {
    never(() => {
      expectTypeOf(Transaction.run(plain)).toEqualTypeOf<
        Effect.Effect<string, SqlError, SqlClient.SqlClient | Transaction.Manager>
      >()
    })
  })
})

describe("a specification", () => {
  it("takes no more than there is", () => {
    never(() => {
      // @ts-expect-error there is no such isolation
      Transaction.run(plain, { isolation: "snapshot" })
      // @ts-expect-error there is no such access
      Transaction.run(plain, { access: "write only" })
      // @ts-expect-error there is no such nesting
      Transaction.run(plain, { nesting: "maybe" })
    })
  })

  it("whose access is not known when it is compiled gives the right to write", () => {
    never(() => {
      const spec = {} as Transaction.Spec
      expectTypeOf(Transaction.run(book, spec)).toEqualTypeOf<
        Effect.Effect<void, SqlError, SqlClient.SqlClient | Transaction.Manager>
      >()
    })
  })
})
