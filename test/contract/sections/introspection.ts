import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import { Introspection } from "watertight"
import type { Section } from "../suite.ts"

const byName = (a: { readonly name: string }, b: { readonly name: string }) => a.name < b.name ? -1 : 1

export const introspection: Section = (test, dialect) => {
  const { described } = dialect

  test("says what is there, in one shape", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const db = yield* Introspection.Introspection
      yield* sql.unsafe(`create table parent (id ${dialect.key}, name varchar(20) not null default 'nobody', age int,
        next_age int generated always as (age + 1) stored, constraint of_age check (age > 0),
        constraint name_unique unique (name, age))`)
      yield* sql`create table child (a int, b int, parent int, primary key (b, a),
        constraint to_parent foreign key (parent) references parent (id) on delete cascade)`
      yield* sql`create index by_age on parent (age, name)`
      yield* sql`create view adults as select id from parent where age > 17`
      const database = yield* db.currentDatabase
      assert.include(yield* db.databases, database)
      const schema = (yield* db.schemas).find((name) => name === database || name === "public")!
      const of = (table: string) => ({ schema, table })

      const [parent] = yield* db.tables(of("parent"))
      assert.isAtLeast(parent!.indexBytes!, 1)
      assert.deepInclude(parent, { schema, name: "parent", kind: "table", comment: undefined, definition: undefined })
      const [view] = yield* db.tables(of("adults"))
      assert.deepInclude(view, { name: "adults", kind: "view", rowEstimate: undefined, dataBytes: undefined })
      assert.include(view!.definition!, "17")

      const column = {
        ...of("parent"),
        type: described.integer,
        nullable: true,
        default: undefined,
        generated: undefined,
        expression: undefined,
        // Every text has one on MariaDB, and only one that is unlike its type on PostgreSQL.
        collation: undefined,
        comment: undefined
      }
      assert.deepStrictEqual(
        (yield* db.columns(of("parent"))).map((column) => ({ ...column, collation: undefined })),
        [
          { ...column, name: "id", position: 1, nullable: false, generated: "identity" },
          {
            ...column,
            name: "name",
            position: 2,
            type: described.name,
            nullable: false,
            default: described.default
          },
          { ...column, name: "age", position: 3 },
          { ...column, name: "next_age", position: 4, generated: "stored", expression: described.expression }
        ]
      )

      const index = {
        ...of("parent"),
        unique: false,
        primary: false,
        method: "btree",
        condition: undefined,
        valid: true,
        bytes: undefined
      }
      assert.deepStrictEqual(
        (yield* db.indexes(of("parent"))).map((index) => ({ ...index, bytes: undefined })).toSorted(byName),
        [
          { ...index, name: "by_age", columns: ["age", "name"] },
          { ...index, name: "name_unique", columns: ["name", "age"], unique: true },
          { ...index, name: described.primary, columns: ["id"], unique: true, primary: true }
        ].toSorted(byName)
      )

      const constraints = [...(yield* db.constraints(of("parent"))), ...(yield* db.constraints(of("child")))]
      assert.deepStrictEqual(constraints.map(({ columns, kind, table }) => `${table} ${kind} ${columns}`).toSorted(), [
        "child foreign key parent",
        "child primary key b,a",
        "parent check age",
        "parent primary key id",
        "parent unique name,age"
      ])
      assert.strictEqual(constraints.find(({ name }) => name === "of_age")!.definition, described.check)
      assert.deepStrictEqual(constraints.find(({ name }) => name === "to_parent")!.references, {
        schema,
        table: "parent",
        columns: ["id"],
        onDelete: "cascade",
        onUpdate: described.noAction
      })
    }))

  test("says what exists", () =>
    Effect.gen(function*() {
      const db = yield* Introspection.Introspection
      const schema = (yield* db.tables({ table: "parent" }))[0]!.schema
      assert.deepStrictEqual(
        yield* Effect.all([
          db.hasSchema(schema),
          db.hasTable("parent"),
          db.hasTable("adults", schema),
          db.hasColumn("parent", "age"),
          db.hasIndex("parent", "by_age"),
          db.hasIndex("parent", "by_age", schema),
          db.hasConstraint("child", "to_parent"),
          db.hasConstraint("parent", "of_age", schema)
        ]),
        Array(8).fill(true)
      )
      assert.deepStrictEqual(
        yield* Effect.all([
          db.hasSchema("nowhere"),
          db.hasTable("nothing"),
          db.hasTable("parent", "nowhere"),
          db.hasColumn("parent", "nothing"),
          db.hasColumn("child", "age"),
          db.hasIndex("child", "by_age"),
          db.hasConstraint("parent", "to_parent"),
          db.hasConstraint("child", "to_parent", "nowhere")
        ]),
        Array(8).fill(false)
      )
    }))
}
