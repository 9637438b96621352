import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Introspection, Transaction } from "watertight"
import { makeIntrospection } from "../../../src/mysql-family/introspection/introspection.ts"
import {
  columnsOf,
  type ConstraintRow,
  toColumn,
  toConstraints,
  toIndexes,
  toTables
} from "../../../src/mysql-family/introspection/rows.ts"
import { describeEach, liveWith, onFresh, sqlFailure, type Subject } from "../support.ts"

/** What a server has that the others have not, and how it writes what all of them have. */
interface Words {
  /** An index that is not used. */
  readonly unused: string
  /** Statements that only this server takes. */
  readonly more: ReadonlyArray<string>
  /** The tables of these statements. */
  readonly tables: ReadonlyArray<readonly [name: string, kind: string]>
  readonly upper: string
  readonly twice: string
  readonly now: string
  /** The checks of a table: their names, and the columns that they name. */
  readonly checks: ReadonlyArray<string>
  readonly named: string
}

const words: { readonly [name in Subject["server"]["name"]]: Words } = {
  MariaDB: {
    unused: "ignored",
    more: ["create sequence numbers", "create table audited (a int) with system versioning"],
    tables: [["audited", "table"]],
    upper: "concat(ucase(`name`),'it\\'s')",
    twice: "`n` * 2",
    now: "current_timestamp()",
    // Its JSON is a text that is checked.
    checks: ["check document document", "check named name,three,n", "check three three"],
    named: "`name` <> '' and `three` < `n` and `name` <> 'a`b`'"
  },
  MySQL: {
    unused: "invisible",
    more: [],
    tables: [],
    upper: "concat(upper(`name`),_utf8mb4'it\\'s')",
    twice: "(`n` * 2)",
    now: "CURRENT_TIMESTAMP",
    checks: ["check customer_chk_1 three", "check named name,three,n"],
    named: "((`name` <> _utf8mb4'') and (`three` < `n`) and (`name` <> _utf8mb4'a`b`'))"
  }
}

const schemaOf = ({ server }: Subject) => [
  `create table customer (
    id int auto_increment primary key comment 'who it is',
    email varchar(200) not null,
    name varchar(50) collate utf8mb4_bin default 'no''bo"d\\\\y',
    upper_name varchar(60) as (concat(upper(name), 'it''s')) stored,
    twice int as (n * 2) virtual,
    nothing int default null,
    looks_like_nothing varchar(10) default 'NULL',
    n int not null default 5,
    at datetime not null default current_timestamp on update current_timestamp,
    three int default (1 + 2) check (three > 0),
    document json,
    flags bit(3) default b'101',
    constraint email_unique unique (email),
    constraint name_unique unique (name(20), email),
    constraint named check (name <> '' and three < n and name <> 'a\`b\`'),
    key by_name (name(10), email),
    fulltext key by_words (name)
  ) default character set utf8mb4 collate utf8mb4_general_ci comment 'who buys'`,
  `create table \`Or der\` (
    a int, b int, customer int, primary key (b, a),
    key unused (a) ${words[server.name].unused},
    constraint to_customer foreign key (customer) references customer (id) on delete cascade on update set null
  )`,
  "create table \"case\" (only_lower int)".replaceAll("\"", "`"),
  "create table `Case` (only_upper int)",
  "create view happy as select id from customer where name = 'ok'",
  "create table place (at geometry not null, spatial index (at))",
  `create table log (at date not null) partition by range (year(at))
    (partition p0 values less than (2020), partition p1 values less than maxvalue)`,
  ...words[server.name].more,
  `insert into customer (email) select seq from ${server.series(1000)}`,
  "analyze table customer"
]

describeEach("introspection over $name", (subject) => {
  const expected = words[subject.server.name]

  it.layer(onFresh(subject), { excludeTestServices: true })("a schema", (it) => {
    it.effect("in the shape for all databases", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const db = yield* Introspection.Introspection
        yield* Effect.forEach(schemaOf(subject), (statement) => sql.unsafe(statement))
        const name = yield* db.currentDatabase
        assert.include(yield* db.databases, name)
        assert.include(yield* db.schemas, name)
        assert.notInclude(yield* db.schemas, "mysql")
        const here = { schema: name }

        const tables = yield* db.tables(here)
        assert.deepStrictEqual(
          tables.map(({ kind, name }) => [name, kind]).toSorted(),
          [
            ["Case", "table"],
            ["Or der", "table"],
            ["case", "table"],
            ["customer", "table"],
            ["happy", "view"],
            ["log", "partitioned table"],
            ["place", "table"],
            ...expected.tables
          ].toSorted()
        )
        const [customer] = yield* db.tables({ ...here, table: "customer" })
        assert.isAbove(customer!.rowEstimate!, 900)
        assert.isAbove(customer!.dataBytes!, 16_000)
        assert.isAbove(customer!.indexBytes!, 16_000)
        assert.strictEqual(customer!.comment, "who buys")
        const [view] = yield* db.tables({ ...here, table: "happy" })
        assert.include(view!.definition!, "= 'ok'")
        assert.deepStrictEqual([view!.comment, view!.rowEstimate, view!.dataBytes], [undefined, undefined, undefined])
        assert.deepStrictEqual(yield* db.tables({ ...here, table: "numbers" }), [])
        assert.isAbove((yield* db.tables({ schema: "mysql" })).length, 10)

        const columns = yield* db.columns({ ...here, table: "customer" })
        assert.deepStrictEqual(columns.map(({ name, position }) => [name, position]).slice(0, 3), [
          ["id", 1],
          ["email", 2],
          ["name", 3]
        ])
        const of = (name: string) => columns.find((column) => column.name === name)!
        assert.deepStrictEqual(of("name"), {
          schema: name,
          table: "customer",
          name: "name",
          position: 3,
          type: "varchar(50)",
          nullable: true,
          default: "'no''bo\"d\\\\y'",
          generated: undefined,
          expression: undefined,
          collation: "utf8mb4_bin",
          comment: undefined
        })
        assert.deepStrictEqual([of("id").generated, of("id").comment, of("id").nullable], [
          "identity",
          "who it is",
          false
        ])
        assert.deepStrictEqual([of("upper_name").generated, of("upper_name").default], ["stored", undefined])
        assert.strictEqual(of("upper_name").expression, expected.upper)
        assert.deepStrictEqual([of("twice").generated, of("twice").expression], ["virtual", expected.twice])
        assert.deepStrictEqual(
          ["email", "nothing", "looks_like_nothing", "n", "at", "three", "document", "flags"].map((name) =>
            of(name).default
          ),
          [undefined, undefined, "'NULL'", "5", expected.now, "(1 + 2)", undefined, "b'101'"]
        )

        const indexes = yield* db.indexes({ ...here, table: "customer" })
        assert.deepStrictEqual(indexes.map(({ columns, method, name }) => [name, method, columns]), [
          ["by_name", "btree", ["name(10)", "email"]],
          ["by_words", "fulltext", ["name"]],
          ["email_unique", "btree", ["email"]],
          ["name_unique", "btree", ["name(20)", "email"]],
          ["PRIMARY", "btree", ["id"]]
        ])
        assert.deepStrictEqual(indexes.map(({ primary, unique }) => [primary, unique]), [
          [false, false],
          [false, false],
          [false, true],
          [false, true],
          [true, true]
        ])
        assert.deepStrictEqual(
          (yield* db.indexes({ ...here, table: "Or der" })).map(({ name, valid }) => [name, valid]),
          [["PRIMARY", true], ["to_customer", true], ["unused", false]]
        )
        assert.deepStrictEqual((yield* db.indexes({ ...here, table: "place" }))[0]!.columns, ["at"])

        const constraints = yield* db.constraints(here)
        assert.deepStrictEqual(
          constraints.map(({ columns, kind, name, table }) => `${table} ${kind} ${name} ${columns}`).toSorted(),
          [
            "Or der foreign key to_customer customer",
            "Or der primary key PRIMARY b,a",
            ...expected.checks.map((check) => `customer ${check}`),
            "customer primary key PRIMARY id",
            "customer unique email_unique email",
            "customer unique name_unique name,email"
          ]
        )
        const prefix = constraints.find((constraint) => constraint.name === "name_unique")!
        assert.strictEqual(prefix.definition, "UNIQUE (`name`(20), `email`)")
        const named = constraints.find((constraint) => constraint.name === "named")!
        assert.strictEqual(named.definition, expected.named)
        const foreign = constraints.find(({ kind }) => kind === "foreign key")!
        assert.deepStrictEqual(foreign.references, {
          schema: name,
          table: "customer",
          columns: ["id"],
          onDelete: "cascade",
          onUpdate: "set null"
        })
        assert.strictEqual(
          foreign.definition,
          `FOREIGN KEY (\`customer\`) REFERENCES \`${name}\`.\`customer\` (\`id\`) ON DELETE CASCADE ON UPDATE SET NULL`
        )
      }))

    it.effect("what exists, by names that differ in case", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const db = yield* Introspection.Introspection
        const name = yield* db.currentDatabase
        assert.isTrue(yield* db.hasSchema(name))
        assert.isFalse(yield* db.hasSchema(name.toUpperCase()))
        assert.isTrue(yield* db.hasTable("customer"))
        assert.isTrue(yield* db.hasTable("happy", name))
        assert.isFalse(yield* db.hasTable("Customer"))
        assert.isFalse(yield* db.hasTable("customer", "mysql"))
        assert.isFalse(yield* db.hasTable("numbers"))
        assert.deepStrictEqual((yield* db.columns({ schema: name, table: "Case" })).map(({ name }) => name), [
          "only_upper"
        ])
        assert.isTrue(yield* db.hasColumn("case", "ONLY_LOWER"))
        assert.isFalse(yield* db.hasColumn("Case", "only_lower"))
        assert.isTrue(yield* db.hasIndex("customer", "by_name"))
        assert.isFalse(yield* db.hasIndex("customer", "unused", name))
        assert.isTrue(yield* db.hasConstraint("Or der", "to_customer", name))
        assert.isFalse(yield* db.hasConstraint("customer", "to_customer"))
        // What answers in big integers and what reads its own writes is asked in the same way.
        assert.isTrue(
          yield* db.hasTable("customer").pipe(
            Transaction.run(),
            Effect.provideService(SqlClient.SafeIntegers, true)
          )
        )
        yield* sql`set sql_mode = concat(@@sql_mode, ',ANSI_QUOTES')`.pipe(
          Effect.andThen(db.constraints({ schema: name, table: "customer" })),
          Effect.tap((constraints) =>
            Effect.sync(() =>
              assert.deepStrictEqual(constraints.find((constraint) => constraint.name === "named")!.columns, [
                "name",
                "three",
                "n"
              ])
            )
          ),
          Transaction.run()
        )
      }))

    it.effect("says so where there is no database to speak of", () =>
      Effect.gen(function*() {
        const url = new URL(subject.server.url())
        url.pathname = ""
        const error = yield* Introspection.Introspection.pipe(
          Effect.flatMap((db) => sqlFailure(db.currentDatabase)),
          Effect.provide(Layer.fresh(subject.module.layer({ url: Redacted.make(url.href), maxConnections: 1 })))
        )
        assert.include(error.message, "name one in the URL")
      }))
  })
})

describeEach("what only some servers have, over $name", (subject) => {
  liveWith(subject, "functional indexes", "constraints that are not enforced")(
    "expressions in indexes, hidden columns, vectors, what is not enforced",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const db = yield* Introspection.Introspection
        yield* sql.unsafe(`create table t (a int, hidden int invisible, v vector(3), u varchar(40) default (uuid()),
          doc json, at timestamp(3) default now(3) on update now(3),
          changed datetime on update now() invisible, constraint lax check (a < 100) not enforced,
          unique key by_lower ((lower(u)), a desc), key by_tag ((cast(doc->'$.tags' as unsigned array))))`)
        const here = { schema: yield* db.currentDatabase }
        assert.deepStrictEqual(
          (yield* db.columns(here)).map(({ default: given, generated, name, type }) => [name, type, given, generated]),
          [
            ["a", "int", undefined, undefined],
            ["hidden", "int", undefined, undefined],
            ["v", "vector(3)", undefined, undefined],
            ["u", "varchar(40)", "uuid()", undefined],
            ["doc", "json", undefined, undefined],
            ["at", "timestamp(3)", "CURRENT_TIMESTAMP(3)", undefined],
            ["changed", "datetime", undefined, undefined]
          ]
        )
        assert.deepStrictEqual(
          (yield* db.columnTypes(here)).flatMap(({ column, hidden }) => hidden ? [column] : []),
          ["hidden", "changed"]
        )
        assert.deepStrictEqual((yield* db.columnTypes(here)).slice(-2).map(({ onUpdate }) => onUpdate), [
          "CURRENT_TIMESTAMP(3)",
          "CURRENT_TIMESTAMP"
        ])
        assert.deepStrictEqual((yield* db.indexes(here)).map(({ columns, name, unique }) => [name, columns, unique]), [
          ["by_lower", ["lower(`u`)", "a"], true],
          ["by_tag", ["cast(json_extract(`doc`,_utf8mb4'$.tags') as unsigned array)"], false]
        ])
        assert.strictEqual((yield* db.indexDefinitions(here))[0]!.definition, "btree (lower(`u`), a DESC)")
        assert.deepStrictEqual(
          (yield* db.constraints(here)).map(({ columns, definition, enforced, kind, name, validated }) => [
            name,
            kind,
            columns,
            definition,
            enforced,
            validated
          ]),
          [
            ["by_lower", "unique", ["u", "a"], "UNIQUE ((lower(`u`)), `a`)", true, true],
            ["lax", "check", ["a"], "(`a` < 100)", false, false]
          ]
        )
      }).pipe(Effect.provide(onFresh(subject)))
  )
})

describe("what MySQL 8 answers", () => {
  const column = (type: string, given: string | null, extra = "", expression: string | null = "") =>
    toColumn(false)({
      schema: "shop",
      table: "t",
      name: "c",
      position: 1n,
      type,
      nullable: "YES",
      default: given,
      extra,
      expression,
      collation: null,
      comment: ""
    })

  it("defaults are expressions, as they stand in a statement", () => {
    for (
      const [type, given, extra, expected] of [
        ["varchar(20)", "nobody", "", "'nobody'"],
        ["varchar(20)", "it's \\", "", "'it''s \\\\'"],
        ["varchar(20)", "NULL", "", "'NULL'"],
        ["varchar(20)", "", "", "''"],
        ["varchar(20)", "uuid()", "", "'uuid()'"],
        ["varchar(36)", "uuid()", "DEFAULT_GENERATED", "uuid()"],
        ["varchar(36)", "concat(_utf8mb4\\'a\\\\b\\',_utf8mb4\\'\\n\\')", "DEFAULT_GENERATED", null],
        ["int", "5", "", "5"],
        ["int unsigned", "5", "", "5"],
        ["decimal(5,2)", "1.50", "", "1.50"],
        ["bit(3)", "b'101'", "", "b'101'"],
        ["binary(2)", "0x6162", "", "0x6162"],
        ["varchar(9)", "0x6162", "", "'0x6162'"],
        ["enum('int','b')", "int", "", "'int'"],
        ["date", "2020-01-01", "", "'2020-01-01'"],
        ["datetime", "CURRENT_TIMESTAMP", "DEFAULT_GENERATED on update CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP"]
      ] as const
    ) {
      const expression = expected ?? "concat(_utf8mb4'a\\b',_utf8mb4'\n')"
      assert.deepStrictEqual([column(type, given, extra).default, column(type, given, extra).generated], [
        expression,
        undefined
      ])
    }
    assert.isUndefined(column("varchar(20)", null).default)
  })

  it("what is generated", () => {
    assert.strictEqual(column("int", null, "auto_increment").generated, "identity")
    const stored = column("varchar(9)", null, "STORED GENERATED", "concat(`name`,_utf8mb4\\'it\\\\\\'s\\')")
    assert.deepStrictEqual([stored.generated, stored.expression, stored.default], [
      "stored",
      "concat(`name`,_utf8mb4'it\\'s')",
      undefined
    ])
    assert.strictEqual(column("int", null, "VIRTUAL GENERATED INVISIBLE", "(`id` + 1)").generated, "virtual")
    assert.isUndefined(column("int", null, "INVISIBLE").generated)
  })

  it("indexes may have expressions, and be invisible", () => {
    const part = {
      schema: "shop",
      table: "t",
      name: "i",
      nonUnique: 1n,
      length: null,
      method: "BTREE",
      usable: "NO",
      expression: null
    }
    const [index] = toIndexes([
      { ...part, column: null, expression: "lower(`name`)" },
      { ...part, column: "email" }
    ])
    assert.deepStrictEqual([index!.columns, index!.valid, index!.unique], [["lower(`name`)", "email"], false, false])
  })

  it("checks are found by their name alone", () => {
    const rows: ReadonlyArray<ConstraintRow> = [
      { schema: "shop", table: "t", name: "t_chk_1", type: "CHECK", enforced: "NO" },
      { schema: "shop", table: "u", name: "to_t", type: "FOREIGN KEY", enforced: "YES" }
    ]
    const [check, foreign] = toConstraints(
      false,
      rows,
      [{
        schema: "shop",
        table: "u",
        name: "to_t",
        column: "t",
        otherSchema: "shop",
        otherTable: "t",
        otherColumn: "i`d"
      }],
      [],
      [{ schema: "shop", table: "u", name: "to_t", onDelete: "SET NULL", onUpdate: "NO ACTION" }],
      [{
        schema: "shop",
        table: null,
        name: "t_chk_1",
        clause: "((`a` > 0) and (`b``c` <> _utf8mb4\\'`d`\\'))"
      }]
    )
    assert.deepStrictEqual(check!.columns, ["a", "b`c"])
    assert.strictEqual(check!.definition, "((`a` > 0) and (`b``c` <> _utf8mb4'`d`'))")
    assert.deepStrictEqual([check!.enforced, check!.validated], [false, false])
    assert.deepStrictEqual([foreign!.enforced, foreign!.validated], [true, true])
    assert.strictEqual(foreign!.references!.onUpdate, "no action")
    assert.include(foreign!.definition, "`shop`.`t` (`i``d`) ON DELETE SET NULL")
  })

  it("estimates are missing where it does not know", () => {
    const row = { schema: "shop", name: "t", options: null, comment: "", rows: null, data: 5n, indexes: null }
    const [table, view] = toTables(
      [{ ...row, type: "BASE TABLE" }, { ...row, name: "v", type: "VIEW", comment: "VIEW" }],
      [{ schema: "shop", name: "v", definition: "" }]
    )
    assert.deepStrictEqual([table!.rowEstimate, table!.dataBytes, table!.comment], [undefined, 5, undefined])
    assert.deepStrictEqual([view!.definition, view!.comment], [undefined, undefined])
  })
})

it.effect("a row that lacks a column: every method → a SqlError, and no defect", () =>
  Effect.gen(function*() {
    const answers = (rows: ReadonlyArray<object>) =>
      ({ unsafe: () => ({ withoutTransform: Effect.succeed(rows) }) }) as unknown as SqlClient.SqlClient
    const server = { isMariadb: false, version: "9.7.4", rollbackOnTimeout: false, maxAllowedPacket: 1 }
    // As MySQL answers a column that has no alias.
    const db = makeIntrospection(answers([{ EXTRA: "", SCHEMA: "shop" }]), "shop", Effect.succeed(server))
    const all = {
      currentDatabase: db.currentDatabase,
      databases: db.databases,
      schemas: db.schemas,
      tables: db.tables(),
      columns: db.columns(),
      columnTypes: db.columnTypes(),
      indexes: db.indexes(),
      indexDefinitions: db.indexDefinitions(),
      constraints: db.constraints(),
      hasSchema: db.hasSchema("a"),
      hasTable: db.hasTable("a"),
      hasColumn: db.hasColumn("a", "b"),
      hasIndex: db.hasIndex("a", "b"),
      hasConstraint: db.hasConstraint("a", "b")
    }
    for (const [name, method] of Object.entries(all)) {
      const error = yield* sqlFailure(method as Effect.Effect<unknown, unknown>)
      assert.include(error.message, "without", name)
    }
  }))

it("the columns of a condition are its quoted names, not what a text contains", () => {
  assert.deepStrictEqual(columnsOf("`a` <> '`b`' and \"c\" <> 'it''s `d`' and `a` < 'x\\'`e`'"), ["a", "c"])
})
