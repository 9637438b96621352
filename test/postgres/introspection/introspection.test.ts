import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Introspection, Transaction } from "watertight"
import { Catalog, Script } from "watertight/postgres"
import { database } from "../clientSupport.ts"

const schema = `
create schema shop;
create extension hstore;
create type shop.mood as enum ('sad', 'ok');
comment on type shop.mood is 'how it is';
create table shop.customer (
  id int generated always as identity primary key,
  email varchar(200) not null constraint email_unique unique,
  name text collate "C" default 'nobody',
  upper_name text generated always as (upper(name)) stored,
  mood shop.mood,
  constraint named check (name <> '')
);
comment on table shop.customer is 'who buys';
comment on column shop.customer.email is 'where to';
create table shop."Or der" (
  a int, b int, customer int references shop.customer on delete cascade on update set null, primary key (b, a)
) ;
create index by_name on shop.customer using btree (lower(name), email) where mood = 'ok';
create view shop.happy as select id from shop.customer where mood = 'ok';
create materialized view shop.counted as select count(*) as n from shop.customer;
create table shop.log (at date not null) partition by range (at);
create table shop.log_old partition of shop.log for values from ('2020-01-01') to ('2021-01-01');
create table shop.log_rest partition of shop.log default;
create sequence shop.numbers start 5 increment 10 cycle maxvalue 100;
alter table shop.customer enable row level security;
create policy own on shop.customer for select to public using (name = current_user);
create table plain (x int);
insert into plain select generate_series(1, 1000);
analyze plain;
`

it.layer(database({ maxConnections: 2 }))("introspection", (it) => {
  it.effect("in the shape for all databases", () =>
    Effect.gen(function*() {
      yield* Script.run(schema)
      const db = yield* Introspection.Introspection
      assert.include(yield* db.databases, yield* db.currentDatabase)
      assert.deepStrictEqual(yield* db.schemas, ["public", "shop"])
      const tables = yield* db.tables()
      assert.deepStrictEqual(tables.map(({ kind, name, schema }) => [schema, name, kind]), [
        ["public", "plain", "table"],
        ["shop", "Or der", "table"],
        ["shop", "counted", "materialized view"],
        ["shop", "customer", "table"],
        ["shop", "happy", "view"],
        ["shop", "log", "partitioned table"],
        ["shop", "log_old", "table"],
        ["shop", "log_rest", "table"]
      ])
      assert.strictEqual(tables[0]!.rowEstimate, 1000)
      assert.isAbove(tables[0]!.dataBytes!, 8_000)
      assert.strictEqual(tables[3]!.comment, "who buys")
      assert.include(tables[4]!.definition!, "customer")
      assert.deepStrictEqual((yield* db.tables({ schema: "shop", table: "nope" })).length, 0)
      assert.isAbove((yield* db.tables({ schema: "pg_catalog" })).length, 50)

      const columns = yield* db.columns({ schema: "shop", table: "customer" })
      const of = (name: string) => columns.find((column) => column.name === name)!
      assert.deepStrictEqual(columns.map(({ name, position }) => [name, position]), [
        ["id", 1],
        ["email", 2],
        ["name", 3],
        ["upper_name", 4],
        ["mood", 5]
      ])
      assert.deepStrictEqual(of("email"), {
        schema: "shop",
        table: "customer",
        name: "email",
        position: 2,
        type: "character varying(200)",
        nullable: false,
        default: undefined,
        generated: undefined,
        expression: undefined,
        collation: undefined,
        comment: "where to"
      })
      assert.strictEqual(of("id").generated, "identity")
      assert.strictEqual(of("name").default, "'nobody'::text")
      assert.strictEqual(of("name").collation, "C")
      assert.strictEqual(of("upper_name").generated, "stored")
      assert.strictEqual(of("upper_name").expression, "upper(name)")
      assert.strictEqual(of("mood").type, "shop.mood")

      const types = yield* db.columnTypes({ schema: "shop", table: "customer" })
      assert.deepStrictEqual(
        types.map(({ column, insertable, maxLength, type }) => [column, type, maxLength, insertable]),
        [
          ["id", { schema: "pg_catalog", name: "int4", dimensions: 0 }, undefined, false],
          ["email", { schema: "pg_catalog", name: "varchar", dimensions: 0 }, 200, true],
          ["name", { schema: "pg_catalog", name: "text", dimensions: 0 }, undefined, true],
          ["upper_name", { schema: "pg_catalog", name: "text", dimensions: 0 }, undefined, false],
          ["mood", { schema: "shop", name: "mood", dimensions: 0 }, undefined, true]
        ]
      )
      assert.deepInclude((yield* db.types).find(({ name }) => name === "mood"), { schema: "shop", kind: "enum" })

      const index = (yield* db.indexes({ schema: "shop", table: "customer" })).find(({ name }) => name === "by_name")!
      assert.deepStrictEqual(index.columns, ["lower(name)", "email"])
      assert.strictEqual(index.method, "btree")
      assert.include(index.condition!, "mood")
      assert.isFalse(index.unique)

      const constraints = yield* db.constraints({ schema: "shop" })
      assert.deepStrictEqual(
        constraints.map(({ columns, kind, table }) => `${table} ${kind} ${columns}`).sort(),
        [
          "Or der foreign key customer",
          "Or der primary key b,a",
          "customer check name",
          "customer primary key id",
          "customer unique email"
        ]
      )
      assert.deepStrictEqual(constraints.find(({ kind }) => kind === "foreign key")!.references, {
        schema: "shop",
        table: "customer",
        columns: ["id"],
        onDelete: "cascade",
        onUpdate: "set null"
      })
    }))

  it.effect("constraints: NOT VALID → not validated, and validated once it has been checked", () =>
    Effect.gen(function*() {
      const db = yield* Introspection.Introspection
      const sql = yield* SqlClient
      const states = Effect.map(
        db.constraints({ schema: "public", table: "later" }),
        (found) => found.map(({ enforced, name, validated }) => ({ enforced, name, validated }))
      )
      yield* sql`create table public.later (a int)`
      yield* sql`alter table public.later add constraint positive check (a > 0) not valid`
      assert.deepStrictEqual(yield* states, [{ name: "positive", enforced: true, validated: false }])
      yield* sql`alter table public.later validate constraint positive`
      assert.deepStrictEqual(yield* states, [{ name: "positive", enforced: true, validated: true }])
    }))

  it.effect("what exists, also in the transaction that makes it", () =>
    Effect.gen(function*() {
      const db = yield* Introspection.Introspection
      const sql = yield* SqlClient
      assert.isTrue(yield* db.hasSchema("shop"))
      assert.isFalse(yield* db.hasSchema("Shop"))
      assert.isTrue(yield* db.hasTable("plain"))
      assert.isFalse(yield* db.hasTable("customer"))
      assert.isTrue(yield* db.hasTable("customer", "shop"))
      assert.isTrue(yield* db.hasTable("happy", "shop"))
      assert.isTrue(yield* db.hasColumn("Or der", "a", "shop"))
      assert.isFalse(yield* db.hasColumn("Or der", "nope", "shop"))
      yield* Effect.gen(function*() {
        yield* sql`create table born (a int)`
        assert.isTrue(yield* db.hasTable("born"))
        return yield* Effect.fail("undo")
      }).pipe(Transaction.run(), Effect.flip)
      assert.isFalse(yield* db.hasTable("born"))
    }))

  it.effect("what only PostgreSQL has", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const extensions = yield* Catalog.extensions
      assert.deepStrictEqual(extensions.map(({ name }) => name), ["hstore", "plpgsql"])
      assert.isString(extensions[0]!.available)
      assert.deepStrictEqual(yield* Catalog.enums, [
        { schema: "shop", name: "mood", labels: ["sad", "ok"], comment: "how it is" }
      ])
      const partitions = yield* Catalog.partitions({ table: "log" })
      assert.deepStrictEqual(partitions.map(({ bound, by, name }) => [name, by, bound]), [
        ["log_old", "RANGE (at)", "FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')"],
        ["log_rest", "RANGE (at)", "DEFAULT"]
      ])
      yield* sql`select nextval('shop.numbers')`
      const [ids, numbers] = yield* Catalog.sequences({ schema: "shop" })
      assert.deepStrictEqual([ids!.table, ids!.column, ids!.last], ["customer", "id", undefined])
      assert.deepStrictEqual(numbers, {
        schema: "shop",
        name: "numbers",
        type: "bigint",
        start: 5n,
        increment: 10n,
        min: 1n,
        max: 100n,
        cycles: true,
        last: 5n,
        table: undefined,
        column: undefined
      })
      const [policy] = yield* Catalog.policies()
      assert.deepStrictEqual([policy!.name, policy!.command, policy!.roles, policy!.permissive, policy!.enabled], [
        "own",
        "select",
        ["public"],
        true,
        true
      ])
      const [statistics] = yield* Catalog.tableStatistics({ table: "plain" })
      assert.isNumber(statistics!.deadRows)
      assert.isAbove(statistics!.totalBytes, 8_000)
      const indexes = yield* Catalog.indexStatistics({ schema: "shop" })
      assert.includeMembers(indexes.map(({ index }) => index), ["by_name", "email_unique"])
    }))
})
