import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Batch, Bulk, Outcome, Pool, Transaction } from "watertight"
import { Pglite } from "watertight/pglite"
import { AdvisoryLock, Copy, Postgres, Script, type Sessions, Tenant, Types } from "watertight/postgres"
import { program } from "../../../examples/tenants.ts"
import { describeWith, freshDatabase, postgresUrl } from "../../support/index.ts"
import { databaseAt } from "../clientSupport.ts"
import { sqlFailure } from "../support.ts"

/** Rows of three tenants under row-level security, and a schema for each with a table of its own shape. */
const schema = `
  create table doc (tenant text not null, id serial, body text);
  insert into doc (tenant, body) select t, t || n from unnest(array['a', 'b', 'c']) t, generate_series(1, 3) n;
  alter table doc enable row level security;
  create policy own on doc using (tenant = nullif(current_setting('app.tenant', true), ''))
    with check (tenant = nullif(current_setting('app.tenant', true), ''));
  create schema a; create schema b; create schema "c ""x";
  create type a.status as enum ('new', 'old'); create type b.status as enum ('new', 'gone');
  create table a.orders (id int primary key, s a.status, m int); insert into a.orders values (1, 'new', 1);
  create table b.orders (id int primary key, m text, s b.status); insert into b.orders values (1, 'b', 'gone');
  create table "c ""x".orders (id int primary key, s text, m timestamptz); insert into "c ""x".orders values (1, 'c', null);
`

/** A database whose user is neither the owner of the tables nor a superuser. */
const database = (options: Partial<Postgres.LayerOptions> = {}) =>
  Layer.unwrap(Effect.gen(function*() {
    const url = new URL(yield* freshDatabase())
    const name = url.pathname.slice(1)
    const user = `u_${name}`
    yield* Script.run(`${schema}
      create role ${user} login password 'x'; create role r_${name}; grant r_${name} to ${user};
      grant usage on schema a, b, "c ""x" to ${user}, r_${name};
      grant all on all tables in schema public, a, b, "c ""x" to ${user}, r_${name};
      grant all on all sequences in schema public to ${user}, r_${name};
      grant create on schema public to ${user};
    `).pipe(Effect.provide(databaseAt(url.href)))
    yield* Effect.addFinalizer(() =>
      Effect.ignore(
        Script.run(`drop owned by ${user}, r_${name} cascade; drop role ${user}, r_${name}`).pipe(
          Effect.provide(databaseAt(url.href))
        )
      )
    )
    url.username = user
    url.password = "x"
    return Postgres.layer({ url: Redacted.make(url.href), maxConnections: 4, ...options })
  }))

const of = (tenant: string) => Tenant.run({ settings: { "app.tenant": tenant } })

const kindOf = (error: { readonly reason: { readonly cause?: unknown } }) => {
  assert.instanceOf(error.reason.cause, Tenant.TenantMismatch)
  return (error.reason.cause as Tenant.TenantMismatch).kind
}

describeWith("url-postgresql")("tenants by row-level security", () => {
  it.layer(database())("of a setting", (it) => {
    it.effect("see their own rows in every way, alone and in transactions, and nobody else's", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const text = sql<{ tenant: string }>`select tenant from doc`
        assert.deepStrictEqual(yield* text, [])
        for (const tenant of ["a", "b", "c", "a'; drop table doc --"]) {
          const n = tenant.length === 1 ? 3 : 0
          const rows = Array.from({ length: n }, () => ({ tenant }))
          yield* Effect.gen(function*() {
            assert.deepStrictEqual(yield* text, rows)
            assert.deepStrictEqual(yield* text.unprepared, rows)
            assert.deepStrictEqual(yield* text.values, rows.map(() => [tenant]))
            assert.strictEqual(((yield* text.raw) as { rowCount: number }).rowCount, n)
            yield* Effect.gen(function*() {
              assert.deepStrictEqual(yield* text, rows)
              assert.deepStrictEqual(Array.from(yield* Stream.runCollect(text.stream)), rows)
              assert.strictEqual((yield* Script.run("select 1; select * from doc"))[1]!.rows.length, n)
              yield* Transaction.run(Effect.map(text, (nested) => assert.deepStrictEqual(nested, rows)))
            }).pipe(Transaction.run({ isolation: "serializable" }))
            yield* sql.withTransaction(Effect.map(text, (seen) => assert.deepStrictEqual(seen, rows)))
          }).pipe(of(tenant))
          assert.deepStrictEqual(yield* text, [], "nothing stays behind")
        }
      }))

    it.effect("cannot write as another one, and what fails leaves nothing behind", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const error = yield* sqlFailure(of("a")(sql`insert into doc (tenant, body) values ('b', 'x')`))
        assert.strictEqual(error.reason._tag, "AuthorizationError")
        yield* sqlFailure(of("a")(Transaction.run(sql`select 1/0`)))
        yield* Effect.exit(of("a")(Transaction.run(Effect.andThen(sql`select 1`, Effect.fail("no")))))
        yield* Effect.exit(of("a")(Transaction.run(Effect.andThen(sql`select 1`, Effect.interrupt))))
        for (let i = 0; i < 6; i++) assert.deepStrictEqual(yield* sql`select * from doc`, [])
      }))

    it.effect("are named with BEGIN in one message", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        // Were it not in the first message, the first statement would not have it.
        const [row] = yield* of("a")(Transaction.run(sql`select current_setting('app.tenant') as t`))
        assert.deepStrictEqual(row, { t: "a" })
      }))

    it.effect("3 tenants × many fibers × 4 connections, with failures: no foreign row", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const look = (tenant: string, i: number) => {
          const rows = sql<{ tenant: string }>`select tenant from doc`
          const seen = Effect.map(rows, (found) => {
            assert.strictEqual(found.length, tenant === "" ? 0 : 3, `${tenant} ${i}`)
            for (const row of found) assert.strictEqual(row.tenant, tenant)
          })
          if (tenant === "") return Effect.asVoid(seen)
          const work = i % 5 === 0
            ? Effect.ignore(Transaction.run(Effect.andThen(seen, sql`select 1/0`)))
            : i % 5 === 1
            ? Effect.ignore(
              Effect.timeout(Transaction.run(Effect.andThen(seen, sql`select pg_sleep(0.05)`)), "10 millis")
            )
            : i % 5 === 2
            ? seen
            : Transaction.run(Effect.andThen(seen, seen))
          return of(tenant)(Effect.asVoid(work))
        }
        yield* Effect.forEach(
          Array.from({ length: 800 }, (_, i) => i),
          (i) => look(["a", "b", "c", ""][(i * 7) % 4]!, i),
          { concurrency: 50, discard: true }
        )
      }))

    it.effect("work outside of the tenant's transaction is refused, and says what to do", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const outside: Record<string, Effect.Effect<unknown, unknown, any>> = {
          stream: Stream.runCollect(sql`select * from doc`.stream),
          reserve: Effect.scoped(
            Effect.flatMap(
              sql.reserve,
              (connection) => connection.executeUnprepared("select * from doc", [], undefined)
            )
          ),
          copy: Stream.runCollect(Copy.stream("select * from doc")),
          script: Script.run("select 1; select * from doc")
        }
        for (const [name, work] of Object.entries(outside)) {
          const error = yield* sqlFailure(of("a")(work) as Effect.Effect<unknown, unknown, Sessions.Sessions>)
          assert.strictEqual(kindOf(error), "Outside", name)
        }
        const changed = [
          of("a")(of("b")(sql`select 1`)),
          Transaction.run(of("a")(sql`select 1`)),
          of("a")(Transaction.run(Tenant.none(sql`select 1`))),
          of("a")(Transaction.run(of("b")(Transaction.run(sql`select 1`, { nesting: "requiresNew" }))))
        ]
        for (const [index, work] of changed.entries()) {
          const error = yield* sqlFailure(work)
          assert.strictEqual(kindOf(error), "Other", String(index))
          assert.isFalse(error.isRetryable)
        }
        // What is said again is no change, and one of its own begins with it again.
        assert.strictEqual((yield* of("a")(Transaction.run(of("a")(sql`select * from doc`)))).length, 3)
        assert.strictEqual(
          (yield* of("a")(Transaction.run(Transaction.run(sql`select * from doc`, { nesting: "requiresNew" })))).length,
          3
        )
        assert.deepStrictEqual(yield* of("a")(Tenant.none(sql`select * from doc`)), [])
      }))

    it.effect("keys, bulk loads and locks work for a tenant", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const add = sql`insert into doc (tenant, body) values ('c', 'once')`
        yield* of("c")(Transaction.run(add, { idempotencyKey: "k1" }))
        yield* sqlFailure(of("c")(Transaction.run(add, { idempotencyKey: "k1" })))
        const rows = [{ tenant: "c", body: "bulk1" }, { tenant: "c", body: "bulk2" }]
        assert.strictEqual((yield* of("c")(Bulk.insert("doc", rows))).rows, 2)
        assert.strictEqual((yield* of("c")(Transaction.run(Bulk.insert("doc", rows)))).rows, 2)
        yield* sqlFailure(of("b")(Bulk.insert("doc", rows)))
        yield* of("c")(AdvisoryLock.withLock(sql`select 1`, "job", { wait: "1 second" }))
        assert.strictEqual((yield* of("c")(sql`delete from doc where body ~ 'once|bulk' returning 1`)).length, 5)
      }))

    const wrong: ReadonlyArray<readonly [what: string, tenant: unknown, problem: string]> = [
      ["nothing", {}, "there are none"],
      ["an empty value", { settings: { "app.tenant": "" } }, "not empty"],
      ["a value that is missing", { settings: { "app.tenant": undefined } }, "not empty"],
      ["a name without a prefix", { settings: { statement_timeout: "1" } }, "prefix"],
      ["a name with more than a name", { settings: { "app.t', 'x', false); --": "1" } }, "prefix"],
      ["a NUL", { settings: { "app.tenant": "a\0" } }, "not empty"],
      ["half a character", { settings: { "app.tenant": "a\ud800" } }, "not empty"],
      ["the role none", { role: "none" }, "role"],
      ["an empty path", { searchPath: [] }, "schema"],
      ["an unknown option", { serchPath: "a" }, "did you mean `searchPath`"],
      ["the name of others", { schema: "a" }, "did you mean `searchPath`"]
    ]
    for (const [what, tenant, problem] of wrong) {
      it.effect(`${what} is refused`, () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          const error = yield* sqlFailure(Tenant.run(sql`select 1`, tenant as Tenant.Tenant))
          assert.include(error.message, problem)
          assert.strictEqual(Outcome.of(error)?.outcome, "NotSent")
        }))
    }

    it.effect("a role that is not there fails the work, which is not run as another one", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table if not exists seen (a int)`
        for (const tenant of [{ role: "nobody_at_all" }, { role: "postgres" }]) {
          for (const work of [sql`insert into seen values (1)`, Transaction.run(sql`insert into seen values (1)`)]) {
            const error = yield* sqlFailure(Tenant.run(Effect.asVoid(work), tenant))
            assert.isTrue(Outcome.isNotApplied(error))
          }
        }
        assert.deepStrictEqual(yield* sql`select * from seen`, [])
      }))

    it.effect("problems are found", () =>
      Effect.gen(function*() {
        const found = yield* Tenant.problems({ column: "tenant" })
        assert.deepStrictEqual(found, [])
        const owner = yield* Tenant.problems({ role: "postgres", column: "id" }).pipe(
          Effect.provide(databaseAt(postgresUrl()))
        )
        assert.isAbove(owner.length, 0)
      }))
  })

  it.layer(database({ tenant: "required" }))("required", (it) => {
    it.effect("a statement without a tenant is refused in every way, unless it says that there is none", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const ways = [
          sql`select 1`,
          sql`select 1`.unprepared,
          sql.unsafe("select 1").raw,
          Stream.runCollect(sql`select 1`.stream),
          Transaction.run(sql`select 1`),
          sql.withTransaction(sql`select 1`),
          Script.run("select 1; select 2"),
          Bulk.insert("doc", [{ tenant: "a" }])
        ]
        for (const way of ways) {
          assert.strictEqual(
            kindOf(yield* sqlFailure(way as Effect.Effect<unknown, unknown, Sessions.Sessions>)),
            "Missing"
          )
        }
        assert.strictEqual((yield* Tenant.none(sql`select 1`)).length, 1)
        assert.strictEqual((yield* Tenant.none(Transaction.run(sql`select 1`))).length, 1)
        assert.strictEqual((yield* of("b")(sql`select * from doc`)).length, 3)
        assert.strictEqual((yield* of("b")(Transaction.run(sql`select * from doc`, { idempotencyKey: "r" }))).length, 3)
        const pool = yield* Pool.Pool
        assert.isAbove((yield* pool.stats).created, 0)
      }))
  })

  it.layer(database())("by schema", (it) => {
    it.effect("each finds its own tables and types, and no plan goes stale", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const orders = sql`select * from orders`
        const expected: Record<string, object> = {
          a: { id: 1, s: "new", m: 1 },
          b: { id: 1, m: "b", s: "gone" },
          "c \"x": { id: 1, s: "c", m: null }
        }
        let bodies = 0
        yield* Effect.forEach(
          Array.from({ length: 300 }, (_, i) => Object.keys(expected)[(i * 2) % 3]!),
          (tenant) =>
            Transaction.run(Effect.gen(function*() {
              bodies++
              assert.deepStrictEqual(yield* orders, [expected[tenant]!] as never)
              assert.deepStrictEqual(yield* sql`select id from orders where id = ${1}`, [{ id: 1 }])
              if (tenant !== "c \"x") {
                const s = tenant === "a" ? "old" : "gone"
                assert.deepStrictEqual(yield* sql`select ${Types.value("status", s)} as s`, [{ s }])
                yield* sql`update orders set s = ${Types.value("status", s)} where id = 2`
              }
            })).pipe(Tenant.run({ searchPath: tenant })),
          { concurrency: 12, discard: true }
        )
        assert.strictEqual(bodies, 300, "none was repeated")
        yield* sqlFailure(orders)
        // By hand it is the same: a name means what the path says.
        for (const tenant of ["a", "b", "a", "b"]) {
          const s = tenant === "a" ? "old" : "gone"
          yield* Transaction.run(Effect.gen(function*() {
            yield* sql`select set_config('search_path', ${tenant}, true)`
            assert.deepStrictEqual(yield* sql`select ${Types.value("status", s)} as s`, [{ s }])
            assert.deepStrictEqual(yield* sql`select ${Types.value("status[]", [s])} as s`, [{ s: [s] }])
          }))
        }
      }))
  })

  it.layer(database({ maxConnections: undefined, pool: { max: 1, reset: "never" } }))("the checker", (it) => {
    it.effect("sees what settings of the session let through", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`select set_config('app.tenant', 'a', false)`
        assert.strictEqual((yield* sql`select * from doc`).length, 3)
      }))
  })
})

it.layer(Pglite.layer({ tenant: "required" }), { timeout: 60_000 })("the example", (it) => {
  it.effect("tells tenants apart", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* program, { ann: "500", bob: "700", forged: "AuthorizationError" })
    }))
})

it.layer(Pglite.layer({ tenant: "required" }), { timeout: 60_000 })("tenants on PGlite", (it) => {
  it.effect("are the same", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* Tenant.none(Script.run("create schema a; create table a.t (x int); insert into a.t values (1)"))
      assert.strictEqual(kindOf(yield* sqlFailure(sql`select * from t`)), "Missing")
      assert.deepStrictEqual(yield* Tenant.run(sql`select * from t`, { searchPath: "a" }), [{ x: 1 }])
      yield* sqlFailure(Tenant.none(sql`select * from t`))
    }))
})

describeWith("url-postgresql")("batches of tenants", () => {
  it.live("see and write what is the tenant's, each time they are run", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const all = (tenant: string, body: string) =>
        of(tenant)(Batch.run([
          sql`insert into doc (tenant, body) values (${tenant}, ${body})`,
          sql<{ tenants: ReadonlyArray<string> }>`select array_agg(distinct tenant) as tenants from doc`,
          sql<{ n: number }>`select count(*)::int as n from doc`
        ]))
      for (const n of [4, 5, 6]) {
        for (const tenant of ["a", "b"]) {
          const [, [tenants], [count]] = yield* all(tenant, `${n}`)
          assert.deepStrictEqual([tenants!.tenants, count!.n], [[tenant], n])
        }
      }
      // What the policy refuses takes the rest along.
      const error = yield* sqlFailure(
        of("a")(Batch.run([
          sql`insert into doc (tenant, body) values (${"a"}, ${"x"})`,
          sql`insert into doc (tenant, body) values (${"b"}, ${"x"})`
        ]))
      )
      assert.strictEqual(Batch.indexOf(error), 1)
      const results = yield* of("a")(Batch.each([
        sql<{ n: number }>`select count(*)::int as n from doc`,
        sql`insert into doc (tenant, body) values (${"b"}, ${"x"})`
      ]))
      assert.deepStrictEqual(results[0], Result.succeed([{ n: 6 }]))
      assert.isTrue(Result.isFailure(results[1]))
    }).pipe(Effect.provide(database())))
})
