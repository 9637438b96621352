import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { InvalidOptions } from "../../../src/options/InvalidOptions.ts"
import { resolve } from "../../../src/postgres/adapter/Config.ts"
import type { PostgresOptions } from "../../../src/postgres/adapter/PostgresOptions.ts"
import { failure } from "../support.ts"

const url = (text: string) => ({ url: Redacted.make(text) })

const text = (url: unknown): unknown => Redacted.isRedacted(url) ? Redacted.value(url) : undefined

describe("options that cannot work are refused by name, before anything is connected", () => {
  const cases: ReadonlyArray<[options: Record<string, unknown>, option: string, problem: string]> = [
    [{ hots: "db" }, "hots", "did you mean `host`?"],
    [{ maxConnection: 5 }, "maxConnection", "did you mean `maxConnections`?"],
    [{ statement_timeout: 5 }, "statement_timeout", "did you mean `statementTimeout`?"],
    [{ somethingElseEntirely: 5 }, "somethingElseEntirely", "does not exist"],
    [{ host: "" }, "host", "must not be empty"],
    [{ host: "a,b" }, "host", "several hosts"],
    [{ host: "a\u0000b" }, "host", "NUL"],
    [{ host: 5 }, "host", "must be a string"],
    [{ port: 0 }, "port", "between 1 and 65535"],
    [{ port: 65_536 }, "port", "between 1 and 65535"],
    [{ port: 1.5 }, "port", "between 1 and 65535"],
    [{ port: "5432" }, "port", "between 1 and 65535"],
    [{ path: "" }, "path", "must not be empty"],
    [{ stream: "socket" }, "stream", "must be a function"],
    [{ database: "a\u0000" }, "database", "NUL"],
    [{ username: "" }, "username", "must not be empty"],
    [{ password: Redacted.make("a\u0000b") }, "password", "NUL"],
    [{ password: "plain" }, "password", "Redacted"],
    [{ connectTimeout: -5 }, "connectTimeout", "longer than zero"],
    [{ connectTimeout: "soon" }, "connectTimeout", "must be a duration"],
    [{ statementTimeout: "-1 second" }, "statementTimeout", "longer than zero"],
    [{ lockTimeout: 0 }, "lockTimeout", "longer than zero"],
    [{ idleInTransactionTimeout: Number.NaN }, "idleInTransactionTimeout", "longer than zero"],
    [{ controlTimeout: Infinity }, "controlTimeout", "must be finite"],
    [{ keepAlive: "10 millis" }, "keepAlive", "at least 1000 ms"],
    [{ idleTimeout: -1 }, "idleTimeout", "longer than zero"],
    [{ connectionTTL: "x" }, "connectionTTL", "must be a duration"],
    [{ maxConnections: -1 }, "maxConnections", "whole number"],
    [{ minConnections: 1.5 }, "minConnections", "whole number"],
    [{ minConnections: 5, maxConnections: 2 }, "minConnections", "must not be greater than `maxConnections`"],
    [{ minConnections: 11 }, "minConnections", "10 by default"],
    [{ multiplexConcurrency: 0 }, "multiplexConcurrency", "1 or more"],
    [{ preparedStatementCacheSize: -1 }, "preparedStatementCacheSize", "0 or more"],
    [{ maxMessageSize: 5 }, "maxMessageSize", "between 1024"],
    [{ fetchSize: 0 }, "fetchSize", "1 or more"],
    [{ applicationName: "" }, "applicationName", "must not be empty"],
    [{ startupOptions: "a\u0000" }, "startupOptions", "NUL"],
    [{ startupParameters: { User: "x" } }, "startupParameters", "must not set `user`"],
    [{ startupParameters: { client_encoding: "latin1" } }, "startupParameters", "UTF8"],
    [{ startupParameters: { "": "x" } }, "startupParameters", "not empty"],
    [{ startupParameters: { a: "x\u0000" } }, "startupParameters", "NUL"],
    [{ sslmode: "yes" }, "sslmode", "one of disable, allow, prefer, require, verify-ca, verify-full"],
    [{ ssl: true, sslmode: "require" }, "ssl", "together with `sslmode`"],
    [{ ssl: "yes" }, "ssl", "must be true, false"],
    [{ sslmode: "require", sslrootcert: "/does/not/exist.pem" }, "sslrootcert", "cannot be read"],
    [{ ssl: true, sslrootcert: "/does/not/exist.pem" }, "sslrootcert", "cannot be read"],
    [{ sslmode: "require", sslcert: "/does/not/exist.pem" }, "sslkey", "is missing"],
    [{ sslmode: "require", sslkey: "/does/not/exist.pem" }, "sslcert", "is missing"],
    [{ url: "postgres://localhost" }, "url", "Redacted"],
    [url("http://localhost"), "url", "must begin with postgres://"],
    [url("localhost:5432"), "url", "must begin with postgres://"],
    [url("postgres://a:5432,b:5433/db"), "url", "several hosts"],
    [url("postgres:///db?host=a,b"), "url", "several hosts"],
    [url("postgres://host:port/db"), "url", "no readable host and port"],
    [url("postgres://host:99999/db"), "url", "port"],
    [url("postgres://host/db?port=x"), "url", "port"],
    [url("postgres://user:hush%zz@host/db"), "url", "percent sign in its password"],
    [url("postgres://user:hush#@host/db"), "url", "%23"],
    [url("postgres://host/db?sslmode=maybe"), "url", "sslmode"],
    [url("postgres://host/db?sslmod=require"), "url", "unknown parameter sslmod: did you mean sslmode?"],
    [url("postgres://host/db?connection_limit=5"), "url", "say the option `pool.max`"],
    [url("postgres://host/db?pgbouncer=true"), "url", "pooler: \"transaction\""],
    [url("postgres://host/db?schema=shop"), "url", "search_path"],
    [url("postgres://host/db?sslaccept=strict"), "url", "sslmode=verify-full"],
    [url("postgres://host/db?currentSchema=shop"), "url", "search_path"],
    [url("postgres://host/db?Pool_Size=5"), "url", "say the option `pool.max`"],
    [url("postgres://host/db?uselibpqcompat=true"), "url", "leave it out"],
    [url("postgres://host/db?tcp_user_timeout=5"), "url", "statementTimeout"],
    [url("postgres://host/db?passfile=x"), "url", "`password`"],
    [url("postgres://host/shop\n"), "url", "white space at its beginning or end"],
    [url(" postgres://host/shop"), "url", "white space"],
    [url("postgres://ho\tst/shop"), "url", "control character"],
    [url("postgres://host/shop%0A"), "url", "control character in its database"],
    [url("postgres://us%01er@host/shop"), "url", "control character in its username"],
    [{ url: undefined }, "url", "is undefined"],
    [{ url: undefined, database: "shop" }, "url", "is undefined"],
    [url("postgres://host/db?connect_timeout=soon"), "url", "connect_timeout"],
    [url("postgres://host/db?target_session_attrs=read-write"), "url", "target_session_attrs"],
    [url("postgres://host/db?channel_binding=always"), "url", "channel_binding that is not one of disable, prefer"],
    [url("postgres://host/db?channel_binding=require&sslmode=disable"), "url", "channel_binding=require"],
    [{ channelBinding: "require", host: "/tmp" }, "channelBinding", "needs TLS"],
    [{ channelBinding: "yes" }, "channelBinding", "one of disable, prefer, require"],
    [{ channelBinding: "require", sslmode: "require", requireAuth: "md5" }, "requireAuth", "leaves out scram-sha-256"],
    [{ requireAuth: "scram" }, "requireAuth", "does not exist: there are none, password, md5, scram-sha-256, gss"],
    [{ requireAuth: "md5,!password" }, "requireAuth", "mixes methods with and without `!`"],
    [{ requireAuth: "md5, md5" }, "requireAuth", "names a method twice"],
    [{ requireAuth: "gss,sspi" }, "requireAuth", "leaves no method that is spoken here"],
    [{ requireAuth: "!none,!password,!md5,!scram-sha-256" }, "requireAuth", "leaves no method"],
    [url("postgres://host/db?require_auth=kerberos"), "url", "has a require_auth that names a method"],
    [{ sslnegotiation: "direct" }, "sslnegotiation", "set `sslmode` to \"require\""],
    [{ sslnegotiation: "fast" }, "sslnegotiation", "one of postgres, direct"],
    [url("postgres://host/db?sslnegotiation=direct"), "url", "sslnegotiation=direct"],
    [{ family: 5 }, "family", "must be 4 or 6"],
    // Each option has a type, also those that no text and no number is.
    [{ prepare: "no" }, "prepare", "true or false"],
    [{ multiplex: 1 }, "multiplex", "true or false"],
    [{ transformJson: "yes" }, "transformJson", "true or false"],
    [{ transformResultNames: "camel" }, "transformResultNames", "a function from a name to a name"],
    [{ types: "all" }, "types", "registry"],
    [{ codecs: [] }, "codecs", "must be an object"],
    [{ notifications: true }, "notifications", "must be an object"],
    [{ spanAttributes: "a" }, "spanAttributes", "must be an object"],
    [{ startupParameters: "work_mem=64MB" }, "startupParameters", "must be an object"],
    [{ undefined: null }, "undefined", "one of refuse, null"],
    [{ tenant: true }, "tenant", "one of required, optional"],
    [{ pooler: "session" }, "pooler", "needs no option"],
    [{ host: " db" }, "host", "white space"],
    [{ database: "shop\n" }, "database", "white space"],
    [{ connectionString: "postgres://db" }, "connectionString", "did you mean `url`?"],
    [{ maxMessageSize: 2 ** 31 }, "maxMessageSize", "between 1024 and 1073741823"],
    [{ connectTimeout: null }, "connectTimeout", "must be a duration"],
    [{ lookup: "dns" }, "lookup", "must be a function"],
    [{ password: Redacted.make("hush\n") }, "password", "ends in a line break"],
    [url("postgres://host/db?keepalives_idle=0"), "url", "longer than zero"],
    [url("postgres://host/db?keepalives=yes"), "url", "keepalives that is neither 0 nor 1"],
    [url("postgres://host/db?keepalives=0&keepalives_idle=5"), "url", "leave one of them out"],
    [url("postgres://host/db?keepalives_interval=5"), "url", "leave it out: the system decides"],
    [url("postgres://host/db?keepalives_count=5"), "url", "leave it out: the system decides"],
    [url("postgres://host/db?application_name"), "url", "name=value"],
    [url("postgres://host/db?sslmode=require&sslrootcert=/does/not/exist.pem"), "sslrootcert", "cannot be read"]
  ]
  for (const [options, option, problem] of cases) {
    const shown = JSON.stringify({ ...options, url: text(options["url"]) })
    it.effect(`${shown}: ${option} ${problem}`, () =>
      Effect.gen(function*() {
        const error = yield* failure(resolve(options as PostgresOptions))
        assert.instanceOf(error, InvalidOptions)
        assert.strictEqual(error.option, option)
        assert.include(error.problem, problem)
        assert.strictEqual(error.module, "Postgres")
        assert.notInclude(error.message, "hush")
      }))
  }

  const variables: ReadonlyArray<readonly [name: string, option: string, given: PostgresOptions, also: object]> = [
    ["PGHOST", "url", {}, { host: "db" }],
    ["PGHOSTADDR", "url", { username: "a" }, url("postgres://db")],
    ["PGPORT", "url", { database: "shop" }, { path: "/tmp/.s.PGSQL.5432" }],
    ["PGSERVICE", "url", {}, { host: "db" }],
    ["PGUSER", "username", { host: "db" }, url("postgres://ann@db")],
    ["PGDATABASE", "database", url("postgres://ann@db") as PostgresOptions, url("postgres://ann@db/shop")],
    ["PGPASSWORD", "password", url("postgres://ann@db/shop") as PostgresOptions, url("postgres://ann:a@db/shop")],
    ["PGSSLMODE", "sslmode", url("postgres://db") as PostgresOptions, url("postgres://db?sslmode=require")],
    ["PGSSLROOTCERT", "sslmode", { host: "db" }, { host: "db", sslmode: "disable" }]
  ]
  for (const [name, option, given, also] of variables) {
    it.effect(`${name}, which libpq reads: refused where it would decide, and of no concern where the program does`, () =>
      Effect.gen(function*() {
        yield* Effect.acquireRelease(
          Effect.sync(() => vi.stubEnv(name, "hush")),
          () => Effect.sync(() => vi.unstubAllEnvs())
        )
        const error = yield* failure(resolve(given))
        assert.instanceOf(error, InvalidOptions)
        assert.strictEqual(error.option, option)
        assert.include(error.problem, `the variable ${name} is set, which is not read`)
        assert.notInclude(error.message, "hush")
        yield* resolve(also as PostgresOptions)
      }))
  }

  it.effect("keepalives of libpq: on, off, and after how long", () =>
    Effect.gen(function*() {
      const keepAliveOf = (query: string) =>
        Effect.map(resolve(url(`postgres://ann@db/shop?${query}`) as PostgresOptions), ({ endpoint }) =>
          endpoint.keepAlive)
      assert.strictEqual(yield* keepAliveOf("keepalives=0"), 0)
      assert.strictEqual(yield* keepAliveOf("keepalives=1"), 30_000)
      assert.strictEqual(yield* keepAliveOf("keepalives=1&keepalives_idle=60"), 60_000)
    }))

  it.effect("a file that is no certificate", () =>
    Effect.gen(function*() {
      const file = join(tmpdir(), `watertight-${process.pid}.pem`)
      writeFileSync(file, "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
      const error = yield* failure(resolve({ sslmode: "verify-full", sslrootcert: file }))
      assert.strictEqual(error.option, "sslrootcert")
      assert.include(error.problem, "TLS cannot use")
    }))
})

describe("options", () => {
  it.effect("have defaults", () =>
    Effect.gen(function*() {
      const config = yield* resolve({ username: "app" })
      assert.strictEqual(config.name, "postgresql://localhost:5432/app")
      assert.strictEqual(config.startup["application_name"], "watertight")
      assert.strictEqual(config.connectTimeout, 5_000)
      assert.strictEqual(config.controlTimeout, 5_000)
      assert.strictEqual(config.statementTimeout, Infinity)
      assert.strictEqual(config.endpoint.keepAlive, 30_000)
      assert.strictEqual(config.endpoint.tls.mode, "prefer")
      assert.strictEqual(config.maxMessageSize, 0x3fffffff)
      assert.isTrue(config.prepare)
      assert.strictEqual((yield* resolve({ username: "app", host: "/tmp" })).endpoint.tls.mode, "disable")
    }))

  it.effect("come from a URL, and explicit ones win", () =>
    Effect.gen(function*() {
      const text = "postgresql://us%40er:p%2Fw@[::1]:6543/my%20db?application_name=app&connect_timeout=7" +
        "&options=-c%20geqo%3Doff&sslmode=require&target_session_attrs=any&keepalives_idle=60"
      const config = yield* resolve(url(text))
      assert.strictEqual(config.endpoint.host, "::1")
      assert.strictEqual(config.endpoint.port, 6543)
      assert.strictEqual(config.startup.user, "us@er")
      assert.strictEqual(config.startup.database, "my db")
      assert.strictEqual(config.startup["application_name"], "app")
      assert.strictEqual(config.startup["options"], "-c geqo=off")
      assert.strictEqual(config.connectTimeout, 7_000)
      assert.strictEqual(config.endpoint.keepAlive, 60_000)
      assert.strictEqual(config.endpoint.tls.mode, "require")
      assert.strictEqual(Redacted.value(config.password as Redacted.Redacted), "p/w")
      assert.strictEqual(config.name, "postgresql://[::1]:6543/my db")
      const explicit = yield* resolve({
        ...url(text),
        host: "db",
        port: 1,
        username: "other",
        database: "x",
        sslmode: "disable",
        applicationName: "mine",
        connectTimeout: "1 second",
        password: Redacted.make("q")
      })
      assert.strictEqual(explicit.name, "postgresql://db:1/x")
      assert.strictEqual(explicit.startup.user, "other")
      assert.strictEqual(explicit.startup["application_name"], "mine")
      assert.strictEqual(explicit.connectTimeout, 1_000)
      assert.strictEqual(explicit.endpoint.tls.mode, "disable")
      assert.strictEqual(Redacted.value(explicit.password as Redacted.Redacted), "q")
    }))

  it.effect("URLs of all shapes", () =>
    Effect.gen(function*() {
      const shapes: ReadonlyArray<[text: string, name: string]> = [
        ["postgres://u@", "postgresql://localhost:5432/u"],
        ["postgres://u@/db", "postgresql://localhost:5432/db"],
        ["postgres://u@host", "postgresql://host:5432/u"],
        ["postgres://u:p@host:1/", "postgresql://host:1/u"],
        ["postgres://u@:5433/db", "postgresql://localhost:5433/db"],
        ["postgres://u:a@b@host/db", "postgresql://host:5432/db"],
        ["postgres:///db?user=u&host=h&port=2&dbname=other", "postgresql://h:2/other"],
        ["postgres://u@%2Frun%2Fpg/db", "postgresql://%2Frun%2Fpg%2F.s.PGSQL.5432/db"]
      ]
      for (const [text, name] of shapes) assert.strictEqual((yield* resolve(url(text))).name, name)
    }))

  it.effect("the limits of the server are startup parameters, in whole milliseconds", () =>
    Effect.gen(function*() {
      const { startup } = yield* resolve({
        username: "u",
        statementTimeout: 0.5,
        lockTimeout: "2 seconds",
        startupParameters: { Statement_Timeout: "1", WORK_MEM: "64MB" }
      })
      assert.strictEqual(startup["statement_timeout"], "1")
      assert.strictEqual(startup["lock_timeout"], "2000")
      assert.strictEqual(startup["work_mem"], "64MB")
      assert.isUndefined(startup["idle_in_transaction_session_timeout"])
    }))
})
