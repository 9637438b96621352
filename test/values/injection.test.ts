/**
 * What a configuration or a request may put where a name or a word of an option is expected: a valid beginning with SQL
 * behind it, and values that become a text by themselves. None is ever run, in a fresh session and in one that was used.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { BeginTransaction, SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { AdvisoryLock, Bulk, Introspection, Transaction } from "watertight"
import { Migrations } from "watertight/migrations"
import { Mysql } from "watertight/mysql"
import { Outbox } from "watertight/outbox"
import { Arrays, Copy, Json, Notifications, Postgres, Server, Tenant, Types } from "watertight/postgres"
import { describeEach } from "../mysql-family/support.ts"
import { freshDatabase } from "../support/index.ts"

type Attempt = readonly [name: string, run: (value: any) => Effect.Effect<unknown, unknown, any>]

/** SQL behind a word that is right by itself, in every way that it may be quoted, and what turns into such a text. */
const behind = (word: string): ReadonlyArray<unknown> => {
  const texts = [
    `${word}; drop table victim`,
    `${word}"; drop table victim; --`,
    `${word}'; drop table victim; --`,
    `${word}\`; drop table victim; -- `,
    `${word}\\'; drop table victim; -- `,
    `${word}); drop table victim; --`,
    `${word}\n;drop table victim`,
    `${word} /* */; drop table victim #`,
    `${word}\u0000; drop table victim`,
    `${word}$$; drop table victim; $$`,
    `${word}", read write; drop table victim; --`,
    `"${word}"; drop table victim; --`,
    `${word} as a; drop table victim`,
    `${word}\ud800; drop table victim`
  ]
  return [
    ...texts,
    [texts[0]],
    { toString: () => texts[0] },
    { toString: () => texts[1], toJSON: () => texts[2], valueOf: () => texts[3] },
    {
      [Symbol.toPrimitive]: () => texts[0],
      toUpperCase: () => texts[0],
      split: () => [texts[0]],
      replaceAll: () => texts[1]
    },
    Object(texts[0]),
    new String(texts[1])
  ]
}

const one = (sql: SqlClient) => sql`select 1 as one`

const common = (sql: SqlClient): ReadonlyArray<readonly [word: string, attempts: ReadonlyArray<Attempt>]> => [
  ["serializable", [
    ["isolation", (isolation) => Transaction.run(one(sql), { isolation })],
    ["isolation of a nested one", (isolation) => Transaction.run(Transaction.run(one(sql), { isolation }))]
  ]],
  ["read only", [["access", (access) => Transaction.run(one(sql), { access })]]],
  ["savepoint", [["nesting", (nesting) => Transaction.run(Transaction.run(one(sql), { nesting }))]]],
  ["free", [["resolve", (resolve) => Transaction.run(one(sql), { resolve })]]],
  ["a", [
    ["the name of a transaction", (name) => Transaction.run(one(sql), { name })],
    ["an idempotency key", (idempotencyKey) => Transaction.run(one(sql), { idempotencyKey })],
    ["a column", (name) => sql`select ${sql(name)} from victim`],
    ["a column of an insert", (name) => sql`insert into victim ${sql.insert({ [name]: 1 } as never)}`],
    ["a column of an update", (name) => sql`update victim set ${sql.update({ [name]: 1 } as never)}`],
    ["a column of a list", (name) => sql`select a from victim where ${sql.in(name, [1])}`]
  ]],
  ["victim", [
    ["a table", (name) => sql`select * from ${sql(name)}`],
    ["a table of Bulk", (name) => Bulk.insert(name, [{ a: 1 }])],
    ["a table of an upsert", (name) => Bulk.upsert(name, [{ a: 1 }], { key: ["a"] })],
    ["a table of Introspection", (name) => Effect.flatMap(Introspection.Introspection, (db) => db.hasTable(name))]
  ]],
  ["a", [
    ["a column of Bulk", (name) => Bulk.insert("victim", [{ a: 1 }], { columns: [name] })],
    ["a key of Bulk", (name) => Bulk.insert("victim", [{ [name]: 1 }])],
    ["the key of an upsert", (name) => Bulk.upsert("victim", [{ a: 1 }], { key: [name] })],
    ["what an upsert updates", (name) => Bulk.upsert("victim", [{ a: 1 }], { key: ["a"], update: [name] })]
  ]],
  ["a", [
    ["a lock", (key) => AdvisoryLock.withLock(key, { wait: false })(Effect.void)],
    ["a shared lock", (key) => AdvisoryLock.withLock(key, { wait: "100 millis", shared: true })(Effect.void)],
    ["a topic", (topic) => Transaction.run(Outbox.add(topic, 1))],
    ["a topic that is looked at", (topic) => Effect.all([Outbox.stats(topic), Outbox.failed(topic)])],
    ["a topic that is handled", (topic) => Effect.timeoutOption(Outbox.run(topic, () => Effect.void), "20 millis")],
    ["a key of messages", (key) => Transaction.run(Outbox.add("a", 1, { key, notify: true }))],
    ["a message", (value) => Transaction.run(Outbox.add("a", value))],
    ["messages to be handled again", (id) => Outbox.requeue("a", [id])],
    ["how many messages are shown", (limit) => Outbox.failed("a", limit)]
  ]],
  ["journal", [
    ["a journal of migrations", (table) => Migrations.status({ loader: Migrations.fromRecord({}), table })],
    ["a journal that is made", (table) => Migrations.run({ loader: migration("1_a"), table, wait: "200 millis" })]
  ]],
  ["1_a", [
    ["the name of a migration", (name) => Migrations.run({ loader: migration(name), table: "journal_of_names" })],
    [
      "one that is taken for applied",
      (name) => Migrations.baseline({ loader: migration(name), table: "baseline", upTo: 1 })
    ]
  ]]
]

const migration = (name: string) => Migrations.fromRecord({ [name]: Migrations.sql`select 1` })

const onPostgres = (sql: SqlClient): ReadonlyArray<readonly [word: string, attempts: ReadonlyArray<Attempt>]> => [
  ["news", [
    ["a channel to send to", (name) => Notifications.notify(name, "a")],
    ["a message", (text) => Notifications.notify("news", text)],
    ["a channel to listen to", (name) => Effect.scoped(Notifications.subscribe(name))]
  ]],
  ["victim", [
    ["a table of COPY", (table) => Stream.runCollect(Copy.stream({ table }))],
    ["a table to COPY into", (table) => Stream.run(Stream.make(new Uint8Array(0)), Copy.sink({ table }))]
  ]],
  ["a", [
    ["a column of COPY", (name) => Stream.runCollect(Copy.stream({ table: "victim", columns: [name] }))],
    ["a null of COPY", (text) => Stream.runCollect(Copy.stream({ table: "victim", null: text }))],
    ["a delimiter of COPY", (text) => Stream.runCollect(Copy.stream({ table: "victim", delimiter: text }))],
    ["a quote of COPY", (quote) => Stream.runCollect(Copy.stream({ table: "victim", format: "csv", quote }))],
    ["a path of JSON", (text) => sql`select ${Json.value({})} #> ${Types.value("text[]", [text])}`],
    ["a column of JSON", (name) => sql`select ${Json.get(name, ["a"])} from victim`],
    ["a lock of a transaction", (key) => Transaction.run(AdvisoryLock.inTransaction(key, { wait: false }))],
    ["a setting", (name) => Server.setting(name)]
  ]],
  ["csv", [["a format of COPY", (format) => Stream.runCollect(Copy.stream({ table: "victim", format }))]]],
  ["int4", [
    ["a type", (type) => sql`select ${Types.value(type, 1)} as v`],
    ["a type of any", (type) => sql`select 1 as v where 1 = ${Arrays.any(type, [1])}`],
    ["a type of all", (type) => sql`select 1 as v where 1 = ${Arrays.all(type, [1])}`],
    ["a type of unnest", (type) => sql`select * from ${Arrays.unnest({ a: type }, [{ a: 1 }])} as r`],
    ["a type of any of arrays", (type) => sql`select 1 as v where 1 = ${Arrays.any(`${type}[]`, [[1]])}`]
  ]],
  ["a", [
    ["a column of unnest", (name) => sql`select * from ${Arrays.unnest({ [name]: "int4" }, [{ [name]: 1 }])} as r`],
    ["a role", (role) => Tenant.run(one(sql), { role })],
    ["a search_path", (searchPath) => Tenant.run(one(sql), { searchPath })],
    ["several of them", (name) => Tenant.run(one(sql), { searchPath: ["public", name] })],
    ["a value of a tenant", (value) => Tenant.run(one(sql), { settings: { "app.tenant": value } })],
    ["a setting of a tenant", (name) => Tenant.run(one(sql), { settings: { [`app.${name}`]: "a" } })]
  ]]
]

const onMysql = (sql: SqlClient): ReadonlyArray<readonly [word: string, attempts: ReadonlyArray<Attempt>]> => [
  ["serializable", [
    ["isolation of a BEGIN in full", (isolation) =>
      Effect.provideService(
        sql.withTransaction(one(sql)),
        BeginTransaction,
        `set transaction isolation level ${isolation}; start transaction`
      )]
  ]],
  ["start transaction", [
    [
      "a BEGIN in full",
      (statement) => Effect.provideService(sql.withTransaction(one(sql)), BeginTransaction, statement)
    ]
  ]],
  ["a", [
    [
      "words to match",
      (words) => Effect.flatMap(Mysql.MysqlClient, (sql) => sql`select ${sql.match(["b"], words)} from victim`)
    ],
    [
      "a column to match",
      (name) => Effect.flatMap(Mysql.MysqlClient, (sql) => sql`select ${sql.match([name], "a")} from victim`)
    ],
    [
      "a mode to match",
      (mode) => Effect.flatMap(Mysql.MysqlClient, (sql) => sql`select ${sql.match(["b"], "a", mode)} from victim`)
    ],
    [
      "what an upsert returns",
      (name) =>
        Effect.flatMap(Mysql.MysqlClient, (sql) => sql.upsertReturning("victim", [{ a: 1 }], { returning: [name] }))
    ],
    [
      "what an upsert updates",
      (name) => Effect.flatMap(Mysql.MysqlClient, (sql) => sql.upsert("victim", [{ a: 1 }], { update: [name] }))
    ]
  ]],
  ["victim", [
    ["a table to upsert into", (table) => Effect.flatMap(Mysql.MysqlClient, (sql) => sql.upsert(table, [{ a: 1 }]))],
    ["a table to analyze", (table) => Effect.flatMap(Mysql.MysqlClient, (sql) => sql.analyze(table))]
  ]]
]

/** A defect is a fault of its own, unless the program gave what is no text where only a text can be. */
const isDefect = (cause: Cause.Cause<unknown>): boolean => cause.reasons.some(({ _tag }) => _tag === "Die")

const suite = (
  layer: Layer.Layer<any, unknown>,
  more: (sql: SqlClient) => ReturnType<typeof common>
) => {
  for (const session of ["fresh", "used"] as const) {
    // A worker tells of each topic that it cannot read.
    const silent = Layer.provideMerge(layer, Logger.layer([]))
    it.layer(silent as Layer.Layer<SqlClient | Transaction.Manager | Bulk.Bulk>, {
      excludeTestServices: true,
      timeout: "60 seconds"
    })(`in a ${session} session`, (it) => {
      it.effect("what is behind a word is never run", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table victim (a int primary key, b varchar(100))`
          yield* sql`insert into victim values (0, 'safe')`
          yield* Outbox.createTable
          const defects: Array<string> = []
          for (const [word, attempts] of [...common(sql), ...more(sql)]) {
            for (const [name, run] of attempts) {
              for (const value of behind(word)) {
                if (session === "used") {
                  yield* Transaction.run(one(sql), { isolation: "serializable", access: "read only" })
                }
                const attempt = Effect.suspend(() => run(value)).pipe(Effect.timeoutOption("5 seconds"))
                const exit = yield* Effect.exit(attempt as Effect.Effect<unknown, unknown>)
                if (exit._tag === "Failure" && isDefect(exit.cause) && typeof value === "string") {
                  defects.push(`${name}: ${JSON.stringify(value)}: ${Cause.pretty(exit.cause).split("\n")[0]}`)
                }
                assert.deepStrictEqual(
                  yield* sql`select b from victim where a = 0`,
                  [{ b: "safe" }],
                  `${name}: ${value}`
                )
              }
            }
          }
          assert.deepStrictEqual(defects, [])
        }), 120_000)
    })
  }
}

describe("PostgreSQL", () =>
  suite(
    Layer.unwrap(Effect.map(freshDatabase(), (url) => Postgres.layer({ url: Redacted.make(url), pool: { max: 2 } }))),
    onPostgres
  ))

describeEach("over $name", (subject) =>
  suite(
    Layer.unwrap(
      Effect.map(subject.server.fresh, (url) => subject.module.layer({ url: Redacted.make(url), pool: { max: 2 } }))
    ),
    onMysql
  ))
