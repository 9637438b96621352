import { assert, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as path from "node:path"
import type { MysqlOptions } from "../../../src/mysql-family/adapter/MysqlOptions.ts"
import { Mysql } from "../../../src/mysql/index.ts"
import { FaultProxy, freePort } from "../../support/index.ts"
import {
  connect,
  connector,
  describeEach,
  liveWith,
  one,
  run,
  serverError,
  sqlFailure,
  statusOf,
  working
} from "../support.ts"

const parts = (url: string): MysqlOptions => {
  const { hostname, password, pathname, port, username } = new URL(url)
  return {
    host: hostname,
    port: Number(port),
    username,
    password: Redacted.make(decodeURIComponent(password)),
    database: pathname.slice(1)
  }
}

describeEach("connecting over $name", (subject) => {
  it.live("states what the session is to be like", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, {
        statementTimeout: "1500 millis",
        lockTimeout: "2 seconds",
        sessionVariables: { group_concat_max_len: 4321, lc_messages: "de_DE" },
        applicationName: "teller"
      })
      const sql = "select @@character_set_client, @@character_set_results, @@time_zone, @@autocommit, " +
        `@@${subject.server.timeLimit.variable}, ` +
        "@@innodb_lock_wait_timeout, @@group_concat_max_len, @@lc_messages, @@sql_mode like '%STRICT_TRANS_TABLES%', " +
        "@@sql_mode like '%IGNORE_SPACE%'"
      for (let round = 0; round < 2; round++) {
        assert.deepStrictEqual(yield* session.executeValues(sql, []), [
          ["utf8mb4", "utf8mb4", "+00:00", 1, subject.server.timeLimit.of(1.5), 2, 4321, "de_DE", 1, 0]
        ])
        yield* run(session, "set @a = 1")
        yield* session.reset
      }
      assert.strictEqual(session.server.isMariadb, subject.server.isMariadb)
      assert.match(session.server.version, subject.server.version)
      assert.isAbove(session.server.maxAllowedPacket, 1_000_000)
    }))

  it.live("limits statements at the server", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { statementTimeout: "100 millis" })
      yield* session.begin({})
      const error = yield* sqlFailure(run(session, subject.server.endless))
      assert.strictEqual(serverError(error).errno, subject.server.errnos.timeLimit)
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.isFalse(error.isRetryable)
      assert.isTrue(session.inTransaction)
      yield* run(session, "select 1")
      yield* session.commit
    }))

  it.live("fails for good where only a person can help", () =>
    Effect.gen(function*() {
      const options = parts(subject.server.url())
      const refused: ReadonlyArray<readonly [MysqlOptions, tag: string, errno: number]> = [
        [{ ...options, password: Redacted.make("wrong") }, "AuthenticationError", 1045],
        [{ ...options, username: "nobody_at_all" }, "AuthenticationError", 1045],
        [{ ...options, database: "no_such_database" }, "ConnectionError", 1049]
      ]
      for (const [wrong, tag, errno] of refused) {
        const error = yield* sqlFailure(connect(subject, wrong))
        assert.strictEqual(error.reason._tag, tag)
        assert.strictEqual(serverError(error).errno, errno)
        assert.strictEqual(error.reason.operation, "connect")
        assert.isFalse(error.isRetryable)
        assert.notInclude(JSON.stringify(error) + error.message + error.stack, "wrong\"")
        const adapter = yield* subject.module.makeAdapter(wrong)
        assert.isTrue(adapter.isPermanent(error))
      }
      // What cannot be set is wrong for every session.
      const error = yield* sqlFailure(connect(subject, { sessionVariables: { no_such_variable: 1 } }))
      assert.strictEqual(serverError(error).errno, 1193)
      assert.isFalse(error.isRetryable)
    }))

  it.live("may be tried again where it may pass", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const nobody = yield* sqlFailure(connect(subject, { ...parts(subject.server.url()), port }))
      assert.strictEqual(nobody.reason._tag, "ConnectionError")
      assert.isTrue(nobody.isRetryable)
      assert.match(nobody.message, /ECONNREFUSED/)
      const proxy = yield* FaultProxy.make(subject.server.url())
      yield* proxy.acceptAndClose
      assert.isTrue((yield* sqlFailure(connect(subject, parts(proxy.url)))).isRetryable)
      yield* proxy.blackhole
      const started = performance.now()
      const silent = yield* sqlFailure(connect(subject, { ...parts(proxy.url), connectTimeout: "200 millis" }))
      assert.isBelow(performance.now() - started, 4_000)
      assert.isTrue(silent.isRetryable)
      const server = yield* subject.server.make({ settings: { max_connections: 10 } })
      const open = yield* connector(subject, { url: Redacted.make(server.url) })
      // One of them is kept for people with privileges.
      yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.exit(open))
      const full = yield* sqlFailure(Effect.forever(open))
      assert.strictEqual(serverError(full).errno, 1040)
      assert.isTrue(full.isRetryable)
    }), 30_000)

  it.live("leaves nothing behind when it is interrupted, at any moment", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(subject.server.url())
      yield* proxy.delay("4 millis")
      const open = yield* connector(subject, parts(proxy.url))
      for (let after = 0; after < 40; after++) {
        const fiber = yield* Effect.forkChild(Effect.scoped(open), { startImmediately: true })
        yield* Effect.sleep(after)
        yield* Fiber.interrupt(fiber)
      }
      yield* proxy.until(() => proxy.open() === 0)
    }), 30_000)

  it.live("asks for the password every time", () =>
    Effect.gen(function*() {
      const options = parts(subject.server.url())
      let asked = 0
      const password = Effect.sync(() => ++asked === 2 ? Redacted.make("old") : options.password as Redacted.Redacted)
      const open = yield* connector(subject, { ...options, password })
      yield* open
      // Somebody is about to change it.
      const error = yield* sqlFailure(open)
      assert.strictEqual(serverError(error).errno, 1045)
      assert.isTrue(error.isRetryable)
      yield* open
      assert.strictEqual(asked, 3)
    }))

  it.live(
    "through a Unix socket, and compressed",
    () =>
      Effect.gen(function*() {
        const server = yield* subject.server.make()
        const socketPath = path.join(path.dirname(server.dataFolder), "server.sock")
        const login = { username: server.user, password: Redacted.make(server.password), database: "test" }
        const session = yield* connect(subject, { socketPath, ...login })
        assert.strictEqual(yield* one(session, "select 1"), 1)
        const slow = yield* Effect.forkChild(run(session, "select sleep(20)"), { startImmediately: true })
        yield* working(yield* connect(subject, { socketPath, ...login }), session)
        yield* Fiber.interrupt(slow)
        yield* session.reset
        const compressed = yield* connect(subject, { url: Redacted.make(server.url), compress: true })
        assert.strictEqual(yield* one(compressed, "select repeat('x', 100000)"), "x".repeat(100_000))
        assert.strictEqual(
          yield* statusOf(subject, compressed, "compression"),
          "ON"
        )
        const big = "y".repeat(3_000_000)
        assert.strictEqual(yield* one(compressed, "select length(?)", [big]), 3_000_000)
      }),
    30_000
  )

  liveWith(subject, "ed25519")(
    "with a password of ed25519 where the driver can",
    () =>
      Effect.gen(function*() {
        const server = yield* subject.server.make()
        yield* server.query("install soname 'auth_ed25519'")
        yield* server.query("create user ed identified via ed25519 using password('s3cret')")
        const url = Redacted.make(`mysql://ed:s3cret@${server.host}:${server.port}/`)
        const connected = yield* Effect.exit(connect(subject, { url }))
        assert.strictEqual(connected._tag, subject.ed25519 ? "Success" : "Failure")
      }),
    30_000
  )

  it.live("encrypts, and verifies whom it speaks to", () =>
    Effect.gen(function*() {
      const server = yield* subject.server.make({ tls: { required: true } })
      const { ca, otherCa } = server.certificates!
      const options = parts(server.url)
      const cipher = (more: MysqlOptions) =>
        Effect.flatMap(connect(subject, { ...options, ...more }), (session) => statusOf(subject, session, "ssl_cipher"))
      assert.notStrictEqual(yield* cipher({ sslmode: "verify-full", sslrootcert: ca }), "")
      assert.notStrictEqual(yield* cipher({ sslmode: "verify-full", sslrootcert: ca, host: "localhost" }), "")
      assert.notStrictEqual(yield* cipher({ sslmode: "verify-ca", sslrootcert: ca }), "")
      assert.notStrictEqual(yield* cipher({ sslmode: "require" }), "")
      assert.notStrictEqual(yield* cipher({ sslrootcert: ca, ssl: true }), "")
      // By default TLS is taken where the server offers it.
      assert.notStrictEqual(yield* cipher({}), "")
      const wrong: ReadonlyArray<MysqlOptions> = [
        { sslmode: "disable" },
        { ssl: true },
        { sslmode: "verify-full", sslrootcert: otherCa },
        { sslmode: "verify-ca", sslrootcert: otherCa }
      ]
      for (const options of wrong) {
        const error = yield* sqlFailure(cipher(options))
        assert.isFalse(error.isRetryable, error.message)
      }
      // Statements are stopped over TLS as well.
      const session = yield* connect(subject, { ...options, sslmode: "verify-full", sslrootcert: ca })
      const slow = yield* Effect.forkChild(run(session, "select sleep(20)"), { startImmediately: true })
      yield* working(yield* connect(subject, { ...options, sslmode: "verify-full", sslrootcert: ca }), session)
      yield* Fiber.interrupt(slow)
      yield* session.reset
      assert.isTrue(session.isReady)
    }), 30_000)

  it.live("refuses a certificate that is made out to somebody else", () =>
    Effect.gen(function*() {
      const server = yield* subject.server.make({ tls: { names: ["DNS:db.example"] } })
      const sslrootcert = server.certificates!.ca
      for (const host of ["127.0.0.1", "localhost"]) {
        const options = { ...parts(server.url), host, sslrootcert }
        const error = yield* sqlFailure(connect(subject, { ...options, sslmode: "verify-full" }))
        assert.isFalse(error.isRetryable)
        yield* connect(subject, { ...options, sslmode: "verify-ca" })
      }
      // An address must be in the certificate as an address.
      const named = yield* subject.server.make({ tls: { names: ["DNS:localhost"] } })
      yield* sqlFailure(
        connect(subject, { ...parts(named.url), sslmode: "verify-full", sslrootcert: named.certificates!.ca })
      )
    }), 30_000)

  it.live("shows a client certificate", () =>
    Effect.gen(function*() {
      const server = yield* subject.server.make({ tls: { clientCertificate: true } })
      const { ca, clientCertificate, clientKey } = server.certificates!
      const options = { ...parts(server.url), sslmode: "verify-full", sslrootcert: ca } as const
      yield* sqlFailure(connect(subject, options))
      const session = yield* connect(subject, { ...options, sslcert: clientCertificate, sslkey: clientKey })
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }), 30_000)

  it.live("gives a client, from options and from a Config", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const client = yield* Mysql.MysqlClient
        const sql = yield* SqlClient.SqlClient
        assert.strictEqual(client.driver, subject.key.split("_")[0])
        const server = yield* client.server
        assert.strictEqual(server.isMariadb, subject.server.isMariadb)
        const dialect = sql.onDialectOrElse({ mysql: () => "mysql", orElse: () => "another" })
        assert.strictEqual(dialect, "mysql")
        assert.deepStrictEqual(yield* sql`select 1 as ${sql("someName")}`, [{ someName: 1 }])
      })
      yield* Effect.provide(
        program,
        subject.module.layer({ url: Redacted.make(subject.server.url()), pool: { startup: "lazy" } })
      )
      const layer = subject.module.layerConfig({
        url: Config.Redacted("DATABASE_URL"),
        maxConnections: Config.succeed(2)
      })
      yield* Effect.provide(program, layer).pipe(
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromUnknown({ DATABASE_URL: subject.server.url() })
        )
      )
    }))
})
