/**
 * The mistakes that people make in their first weeks, and what they see of them: the text that `Effect.runPromise` prints.
 * `mistakes.txt` has them all, to be read. Each must say what happened and what to do; `says` and `advises` are its parts.
 */
import { assert, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { SqlClient, SqlSchema } from "effect/sql"
import * as net from "node:net"
import { fileURLToPath } from "node:url"
import * as util from "node:util"
import { Bulk, Transaction } from "watertight"
import { Pglite } from "watertight/pglite"
import { AdvisoryLock, Postgres, Script } from "watertight/postgres"
import { describeWith, mariadbUrl, PostgresServer } from "../support/index.ts"

type Program = Effect.Effect<unknown, unknown, any>

interface Mistake {
  readonly name: string
  /** What is run on a fresh database, or with options of its own. */
  readonly program?: Program
  readonly options?: (url: string) => object
  /** Another layer than that of PostgreSQL. */
  readonly layer?: Layer.Layer<never, unknown>
  readonly says: RegExp
  readonly advises: RegExp
}

const statement = (text: string): Program => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text))

const withSql = (body: (sql: SqlClient.SqlClient) => Effect.Effect<unknown, unknown, any>): Program =>
  Effect.flatMap(SqlClient.SqlClient, body)

const schema = `
  create table account (id int primary key, cents int8 not null constraint cents_positive check (cents >= 0));
  create table entry (account int not null references account (id));
  create table city (id int primary key, name text not null, people int default 7);
  insert into account values (1, 100)
`

const mutate = (change: (url: URL) => void) => (url: string) => {
  const changed = new URL(url)
  change(changed)
  return { url: Redacted.make(changed.href) }
}

const quick = { pool: { acquireTimeout: "1500 millis" } }

const optionMistakes: ReadonlyArray<Mistake> = [
  {
    name: "an option with a typo",
    options: () => ({ pool: { maxx: 3 } }),
    says: /maxx/,
    advises: /did you mean `max`/
  },
  { name: "min above max", options: () => ({ pool: { min: 5, max: 2 } }), says: /min/, advises: /max/ },
  { name: "max: 0", options: () => ({ pool: { max: 0 } }), says: /max/, advises: /1 or more/ },
  {
    name: "a duration with a typo",
    options: () => ({ statementTimeout: "5 sconds" }),
    says: /statementTimeout/,
    advises: /"5 seconds"/
  },
  {
    name: "the URL of MySQL",
    options: () => ({ url: Redacted.make("mysql://app:secret@db/shop") }),
    says: /url/,
    advises: /postgres:\/\//
  },
  { name: "a URL that is no Redacted", options: (url) => ({ url }), says: /url/, advises: /Redacted/ },
  {
    name: "a wrong sslmode",
    options: mutate((url) => url.searchParams.set("sslmode", "verify-ful")),
    says: /sslmode/,
    advises: /verify-full/
  },
  { name: "url: undefined", options: () => ({ url: undefined }), says: /url/, advises: /leave|environment|set/i },
  {
    name: "Redacted.make(undefined)",
    options: () => ({ url: Redacted.make(undefined as never) }),
    says: /undefined/,
    advises: /environment|set/i
  }
]

const connectMistakes = (
  ports: { readonly closed: number; readonly mute: number; readonly mysql: number }
): ReadonlyArray<Mistake> => [
  {
    name: "a wrong password",
    options: mutate((url) => {
      url.username = "app"
      url.password = "wrong"
    }),
    says: /role "app" does not exist|password authentication failed/,
    advises: /url|user|role|password/
  },
  {
    name: "a database that does not exist",
    options: mutate((url) => (url.pathname = "/shopp")),
    says: /"shopp" does not exist/,
    advises: /create database|url/i
  },
  {
    name: "a wrong host",
    options: mutate((url) => (url.hostname = "db.invalid")),
    says: /db\.invalid/,
    advises: /host|name|DNS/i
  },
  {
    name: "a closed port",
    options: mutate((url) => (url.port = String(ports.closed))),
    says: /REFUSED/,
    advises: /is up/
  },
  {
    name: "the port of something mute",
    options: mutate((url) => (url.port = String(ports.mute))),
    says: /PORT/,
    advises: /is it a PostgreSQL|port/i
  },
  {
    name: "the port of MySQL",
    options: mutate((url) => (url.port = String(ports.mysql))),
    says: /PostgreSQL/,
    advises: /MySQL|port/i
  },
  {
    name: "TLS that the server does not have",
    options: mutate((url) => url.searchParams.set("sslmode", "require")),
    says: /TLS/,
    advises: /sslmode/
  }
]

const misuse: ReadonlyArray<Mistake> = [
  {
    name: "an object as a parameter",
    program: withSql((sql) => sql`select ${{ a: 1 } as never}::text`),
    says: /object/,
    advises: /json|JSON/
  },
  {
    name: "used after its scope",
    program: Effect.gen(function*() {
      const outer = yield* SqlClient.SqlClient
      const connection = yield* Effect.scoped(outer.reserve)
      yield* connection.execute("select 1", [], undefined)
    }),
    says: /given back/,
    advises: /let it use the client|wait for it/
  },
  {
    name: "a second connection while holding the only one",
    options: () => ({ pool: { max: 1, acquireTimeout: "2 seconds" } }),
    program: withSql((sql) => Transaction.run(Transaction.run(sql`select 1`, { nesting: "requiresNew" }), {})),
    says: /waits for another/,
    advises: /Do not ask for a second/
  },
  {
    name: "no connection becomes free",
    options: () => ({ pool: { max: 1, acquireTimeout: "300 millis" } }),
    program: withSql((sql) =>
      Effect.scoped(Effect.gen(function*() {
        yield* Effect.forkScoped(
          Transaction.run(Effect.andThen(sql`select 1`, Effect.never), { name: "nightlyReport" })
        )
        yield* Effect.sleep("100 millis")
        yield* Effect.scoped(sql.reserve)
      }))
    ),
    says: /became free.*nightlyReport/s,
    advises: /Raise|shorter|less|longer/i
  },
  {
    name: "a transaction that must not be in another one",
    program: withSql((sql) => Transaction.run(Transaction.run(sql`select 1`, { nesting: "never" }), {})),
    says: /inside another/,
    advises: /nesting/
  },
  {
    name: "a statement after a failed one",
    program: withSql((sql) => Transaction.run(Effect.andThen(Effect.ignore(sql`select nothing`), sql`select 1`), {})),
    says: /had failed before/,
    advises: /nested transaction/
  },
  {
    name: "Bulk: a value of the wrong type",
    program: Bulk.insert("city", [{ id: "x", name: "Ulm" }]),
    says: /id/,
    advises: /int4|integer/
  },
  {
    name: "Bulk: no such table",
    program: Bulk.insert("citty", [{ id: 1 }]),
    says: /citty/,
    advises: /create|schema|table/i
  },
  {
    name: "Bulk: no such column",
    program: Bulk.insert("city", [{ id: 1, nam: "Ulm" }]),
    says: /nam/,
    advises: /name|columns/i
  },
  {
    name: "Bulk: a key that only some rows have, with `missing: \"bad\"`",
    program: Bulk.insert("city", [{ id: 1, name: "Ulm", people: 1 }, { id: 2, name: "Trier" }], { missing: "bad" }),
    says: /people/,
    advises: /null|missing/i
  },
  {
    name: "an error in a script",
    program: Script.run("create table t (id int);\ninsert into t valu (1);\n"),
    says: /line 2/,
    advises: /\^/
  },
  {
    name: "a lock of a transaction outside any",
    program: AdvisoryLock.inTransaction("night"),
    says: /transaction/,
    advises: /Transaction\.run|withLock/
  },
  {
    name: "no such table",
    program: statement("select cents from acount"),
    says: /"acount" does not exist/,
    advises: /\^/
  },
  {
    name: "no such column",
    program: statement("select a.cens from account a"),
    says: /cens/,
    advises: /hint: .*cents/s
  },
  { name: "a syntax error", program: statement("selct 1"), says: /syntax/, advises: /\^/ },
  {
    name: "unique",
    program: statement("insert into account values (1, 2)"),
    says: /account_pkey/,
    advises: /insert into account/
  },
  {
    name: "not null",
    program: statement("insert into city (id) values (1)"),
    says: /"name".*not-null|null value in column "name"/,
    advises: /insert into city/
  },
  {
    name: "foreign key",
    program: statement("insert into entry values (9)"),
    says: /entry_account_fkey/,
    advises: /insert into entry/
  },
  {
    name: "a write that may only read",
    program: withSql((sql) => Transaction.run(sql`delete from account`, { access: "read only" } as never)),
    says: /read-only/,
    advises: /access/
  },
  {
    name: "a statement over its limit",
    options: () => ({ statementTimeout: "100 millis" }),
    program: statement("select pg_sleep(5)"),
    says: /100 ms|statement timeout/,
    advises: /statementTimeout|StatementTimeout/
  },
  {
    name: "two statements at once",
    program: withSql((sql) => sql`select ${1}::int; select 2`),
    says: /multiple commands|several statements/,
    advises: /Script/
  },
  {
    name: "a value of the wrong type",
    program: withSql((sql) => sql`select * from account where id = ${"ann"}`),
    says: /\$1/,
    advises: /int4|integer/
  },
  {
    name: "an isolation with a typo",
    program: withSql((sql) => Transaction.run(sql`select 1`, { isolation: "serialisable" as never })),
    says: /isolation/,
    advises: /did you mean "serializable"/
  },
  {
    name: "sql.insert([])",
    program: withSql((sql) => sql`insert into city ${sql.insert([] as never)}`),
    says: /insert/,
    advises: /empty|at least one/
  },
  {
    name: "an int8 where a schema wants a number",
    program: withSql((sql) =>
      SqlSchema.findAll({
        Request: Schema.Void,
        Result: Schema.Struct({ cents: Schema.Number }),
        execute: () => sql`select cents from account`
      })(undefined)
    ),
    // Effect's own text. The README says beside the first query what an int8 becomes.
    says: /Expected number/,
    advises: /./
  },
  {
    name: "a deadline with a typo",
    program: withSql((sql) => Transaction.run(sql`select 1`, { deadline: "5 sconds" as never })),
    says: /deadline/,
    advises: /"5 seconds"/
  },
  { name: "BEGIN by hand", program: statement("begin"), says: /BEGIN|begin/, advises: /Transaction\.run/ },
  {
    name: "undefined as a parameter",
    program: withSql((sql) => sql`select * from account where id = ${undefined as never}`),
    says: /undefined/,
    advises: /null/
  },
  {
    name: "an option of a transaction with a typo",
    program: withSql((sql) => Transaction.run(sql`select 1`, { isolationLevel: "serializable" } as never)),
    says: /isolationLevel/,
    advises: /isolation/
  },
  {
    name: "resolve with a typo",
    program: Transaction.run(statement("select 1"), { resolve: "sometimes" as never }),
    says: /resolve/,
    advises: /"auto"|one of|did you mean/
  },
  {
    name: "an option that PGlite does not have",
    layer: Layer.suspend(() => Layer.effectDiscard(Layer.build(Pglite.layer({ databaseDir: "x" } as never)))),
    says: /databaseDir/,
    advises: /did you mean|one of|there is/
  },
  {
    // The compiler refuses it first. The sentence is Effect's.
    name: "a layer that is missing",
    layer: Layer.empty,
    says: /Service not found/,
    advises: /SqlClient/
  },
  {
    name: "nesting with a typo",
    program: withSql((sql) => Transaction.run(sql`select 1`, { nesting: "savepiont" as never })),
    says: /nesting/,
    advises: /did you mean "savepoint"/
  },
  {
    name: "a forgotten `yield*`",
    program: Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const rows: any = sql`select 1`
      return yield* Effect.succeed(rows[0].one)
    }),
    // JavaScript's own text: Effect's language service finds it before.
    says: /undefined/,
    advises: /./
  }
]

/** What `Effect.runPromise` prints when nobody catches, without what differs from run to run. */
const printed = (exit: Exit.Exit<unknown, unknown>, server: PostgresServer.PostgresServer): string => {
  if (Exit.isSuccess(exit)) return "(nothing: it succeeded)"
  return util.inspect(Cause.squash(exit.cause), { customInspect: false, depth: 5 })
    .replaceAll(String(server.port), "5432")
    .replace(/127\.0\.0\.1:(?!5432)\d+/g, "127.0.0.1:PORT")
    // How long it waited was measured, and is now and then exactly what was asked for.
    .replace(/(became free|could be opened) within [\d.]+ ms/g, "$1 within N ms")
    .replace(/\d+(\.\d+)? ms\b/g, (time) => /^(100|300|1500|2000) /.test(time) ? time : "N ms")
    .replace(/fiber \d+/g, "fiber N")
    .replace(/session \d+/g, "session N")
    .replace(/^ {4}(or )?at .*mistakes\.test\.ts:[\d:]+/gm, "    $1at the program")
    .replace(/(^ +at (?!the program).*\n?)+/gm, "    at other frames\n")
    .replace(/\d+\.\d{3,}/g, "N")
    .replace(/, of which this process stood still for [\d.]+ s/g, "")
    .replace(/(stalledMillis|fiberId|connectionId|position|line): '?[\w.]+'?/g, "$1: N")
    .replace(/fiber #\d+/g, "fiber #N")
    // What its source calls it is another word in another release of the server.
    .replace(/(routine|file): '[\w.]+'/g, "$1: N")
    // What the machine did meanwhile.
    .replace(/isStandstill: \w+/g, "isStandstill: B")
    // An attempt to connect may have just begun.
    .replace(/\d+ being opened/g, "N being opened")
    .replace(/(total|connecting): \d+/g, "$1: N")
}

const golden = fileURLToPath(new URL("mistakes.txt", import.meta.url))

/** A port at which nobody listens, one that says nothing, and one of MySQL if there is one. */
const ports = Effect.acquireRelease(
  Effect.callback<{ readonly mute: net.Server; readonly closed: number }>((resume) => {
    const mute = net.createServer(() => {}).listen(0, "127.0.0.1", () => {
      const other = net.createServer().listen(0, "127.0.0.1", () => {
        const closed = (other.address() as net.AddressInfo).port
        other.close(() => resume(Effect.succeed({ mute, closed })))
      })
    })
  }),
  ({ mute }) => Effect.sync(() => mute.close())
)

const layerOf = (url: string, mistake: Mistake) => {
  const { pool, ...options } = (mistake.options?.(url) ?? {}) as Postgres.LayerOptions
  return Postgres.layer({
    url: Redacted.make(url),
    connectTimeout: "1 second",
    ...options,
    pool: { ...quick.pool, ...pool }
  } as Postgres.LayerOptions)
}

describeWith("postgresql", "url-mariadb")("the mistakes of the first weeks", () => {
  it.live("each is told in words that say what to do", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ password: "secret" })
      const { closed, mute } = yield* ports
      yield* statement(schema).pipe(Effect.provide(Postgres.layer({ url: Redacted.make(server.url) })), Effect.ignore)
      yield* Script.run(schema).pipe(Effect.provide(Postgres.layer({ url: Redacted.make(server.url) })))
      const all = [
        ...optionMistakes,
        ...connectMistakes({
          closed,
          mute: (mute.address() as net.AddressInfo).port,
          mysql: Number(new URL(mariadbUrl()).port)
        }),
        ...misuse
      ]
      assert.lengthOf(all, 50)
      const failures: Array<string> = []
      const told: Array<string> = []
      for (const mistake of all) {
        const program = mistake.program ?? statement("select 1")
        const exit = yield* Effect.exit(Effect.provide(program, mistake.layer ?? layerOf(server.url, mistake)))
        const text = printed(exit, server)
        told.push(`## ${mistake.name}\n\n${text}\n`)
        for (const part of [mistake.says, mistake.advises]) {
          if (!part.test(text)) {
            failures.push(`${mistake.name}: ${part} is not in ${JSON.stringify(text.slice(0, 200))}`)
          }
        }
      }
      yield* Effect.promise(() => expect(told.join("\n")).toMatchFileSnapshot(golden))
      assert.deepStrictEqual(failures, [])
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))), 120_000)
})
