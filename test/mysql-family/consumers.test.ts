/** Where Effect's own consumers of `SqlClient` find a MySQL that is unlike the others. The rest is in the contract. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { Outcome } from "watertight"
import { ImplicitCommit } from "../../src/mysql-family/errors/errors.ts"
import { describeEach, onFresh, sqlFailure } from "./support.ts"

describeEach("Effect's own consumers over $name", (subject) => {
  it.live("Migrator, which records a failed migration as applied", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const migrate = Migrator.make({})({
        loader: Migrator.fromRecord({
          "1_one": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table one (id int)`),
          "2_two": Effect.flatMap(SqlClient.SqlClient, (sql) =>
            Effect.andThen(sql`create table two (id int)`, sql`this is no statement`)),
          "3_three": Effect.flatMap(SqlClient.SqlClient, (sql) =>
            sql`create table three (id int)`)
        } as never)
      })
      // We refuse what would commit the transaction that the migrator relies on.
      const refused = yield* Effect.flip(migrate)
      assert.strictEqual(refused._tag, "MigrationError")
      assert.instanceOf((refused.cause as any).reason.cause, ImplicitCommit)
      assert.deepStrictEqual(yield* sql`select * from effect_sql_migrations`, [])

      // By leave of the caller it goes wrong in the way that it does on every driver: this is what the docs warn of.
      const failed = yield* Effect.exit(subject.module.allowImplicitCommit(migrate))
      assert.strictEqual(failed._tag, "Failure")
      assert.deepStrictEqual(
        yield* sql`select migration_id from effect_sql_migrations order by migration_id`.values,
        [[1], [2], [3]]
      )
      assert.deepStrictEqual(yield* subject.module.allowImplicitCommit(migrate), [])
      assert.deepStrictEqual(yield* sql`show tables like 'three'`, [])
    }).pipe(Effect.provide(onFresh(subject))))

  it.live("a text of several statements is never repeated when it was done in part", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table t (id int primary key, v int) engine = innodb`
      yield* sql`create table log (n int)`
      yield* sql`insert into t values (1, 0), (2, 0)`
      const error = yield* Effect.scoped(Effect.gen(function*() {
        const other = yield* sql.reserve
        yield* other.executeUnprepared("begin", [], undefined)
        yield* other.executeUnprepared("update t set v = 1 where id = 1", [], undefined)
        return yield* sqlFailure(
          sql`insert into log values (1); update t set v = 2 where id = ${1}`.unprepared
        )
      }))
      assert.isFalse(error.isRetryable)
      assert.isTrue(Outcome.isUnknown(error))
      assert.match(error.message, /the statements before it in the same text have been committed/)
      assert.deepStrictEqual(yield* sql`select count(*) as n from log`, [{ n: 1 }])
    }).pipe(Effect.provide(onFresh(subject, { lockTimeout: "1 second" }))))
})
