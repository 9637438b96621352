import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import type { PostgresOptions } from "../../../src/postgres/adapter/PostgresOptions.ts"
import { describeWith, PostgresServer } from "../../support/index.ts"
import { connect, failure, fields, one, run, sqlFailure } from "../support.ts"

const isEncrypted = (options: PostgresOptions) =>
  Effect.scoped(Effect.flatMap(connect(options), (session) =>
    Effect.map(
      one(session, "select ssl from pg_stat_ssl where pid = pg_backend_pid()"),
      (ssl) => {
        assert.strictEqual(session.encrypted, ssl)
        return ssl as boolean
      }
    )))

/** A server of bytes. */
const fakeServer = (
  onData: (socket: net.Socket, chunk: Buffer, count: number) => void
): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<net.Server>((resume) => {
      const server = net.createServer((socket) => {
        let count = 0
        socket.on("data", (chunk) => onData(socket, chunk, count++))
        socket.on("error", () => {})
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => void server.close())
  ).pipe(Effect.map((server) => (server.address() as net.AddressInfo).port))

describeWith("postgresql")("passwords", () => {
  for (const authentication of ["scram-sha-256", "md5", "password"] as const) {
    it.live(`${authentication}: the right one is let in, a wrong one and none are refused for good`, () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.make({ password: "s3cr3t 'ü", authentication })
        const options = { host: server.host, port: server.port, username: server.user, database: "postgres" }
        const session = yield* connect({ ...options, password: Redacted.make("s3cr3t 'ü") })
        assert.strictEqual(yield* one(session, "select 1"), 1)
        let asked = 0
        const provided = yield* connect({
          ...options,
          password: Effect.sync(() => {
            asked++
            return Redacted.make("s3cr3t 'ü")
          })
        })
        assert.strictEqual(yield* one(provided, "select 1"), 1)
        assert.strictEqual(asked, 1)
        const wrong = yield* sqlFailure(connect({ ...options, password: Redacted.make("wr0ng") }))
        assert.strictEqual(wrong.reason._tag, "AuthenticationError")
        assert.strictEqual(fields(wrong).code, "28P01")
        assert.isFalse(wrong.isRetryable)
        assert.notInclude(wrong.message, "wr0ng")
        const none = yield* sqlFailure(connect(options))
        assert.strictEqual(none.reason._tag, "AuthenticationError")
        assert.include(none.message, "none is configured")
      }))
  }

  it.live("a database that does not exist and a role that does not exist are refused for good", () =>
    Effect.gen(function*() {
      const noDatabase = yield* sqlFailure(connect({ database: "nowhere", url: undefined }))
      assert.strictEqual(fields(noDatabase).code, "3D000")
      assert.isFalse(noDatabase.isRetryable)
      const noRole = yield* sqlFailure(connect({ username: "nobody_here" }))
      assert.strictEqual(noRole.reason._tag, "AuthenticationError")
      assert.isFalse(noRole.isRetryable)
    }))

  it.live("a server that is full, or starting, may be asked again", () =>
    Effect.gen(function*() {
      const port = yield* fakeServer((socket, _chunk, count) => {
        if (count > 0) return
        const message = Buffer.from("SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0")
        const frame = Buffer.alloc(5 + message.length)
        frame[0] = 0x45
        frame.writeInt32BE(4 + message.length, 1)
        frame.set(message, 5)
        socket.end(frame)
      })
      const error = yield* sqlFailure(connect({ host: "127.0.0.1", port, username: "x", sslmode: "disable" }))
      assert.strictEqual(error.reason._tag, "ConnectionError")
      assert.isTrue(error.isRetryable)
      assert.strictEqual(fields(error).code, "53300")
    }))

  it.live("what is not PostgreSQL fails typed", () =>
    Effect.gen(function*() {
      const port = yield* fakeServer((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"))
      for (const sslmode of ["disable", "require"] as const) {
        const error = yield* sqlFailure(connect({ host: "127.0.0.1", port, username: "x", sslmode }))
        assert.strictEqual(error.reason._tag, "ConnectionError")
      }
    }))

  it.live("a Unix socket, by its directory and by its path", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({})
      const [row] = yield* server.query("show unix_socket_directories")
      const directory = String(Object.values(row!)[0])
      for (
        const options of [
          { host: directory },
          { path: `${directory}/.s.PGSQL.${server.port}` },
          { url: Redacted.make(`postgres://${encodeURIComponent(directory)}:${server.port}/postgres?sslmode=prefer`) },
          { url: Redacted.make(`postgres:///postgres?host=${directory}&port=${server.port}`) }
        ]
      ) {
        const session = yield* connect({ port: server.port, username: server.user, database: "postgres", ...options })
        assert.isNull(yield* one(session, "select inet_server_addr()"))
        assert.isFalse(session.encrypted)
      }
    }))
})

describeWith("postgresql")("TLS", () => {
  it.live("as sslmode says, with a server that can", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ tls: true })
      const { ca, otherCa } = server.certificates!
      const base = { host: server.host, port: server.port, username: server.user, database: "postgres" }
      assert.isFalse(yield* isEncrypted({ ...base, sslmode: "disable" }))
      assert.isFalse(yield* isEncrypted({ ...base, sslmode: "allow" }))
      assert.isTrue(yield* isEncrypted(base))
      assert.isTrue(yield* isEncrypted({ ...base, sslmode: "prefer" }))
      assert.isTrue(yield* isEncrypted({ ...base, sslmode: "require" }))
      assert.isTrue(yield* isEncrypted({ ...base, sslmode: "require", sslrootcert: ca }))
      assert.isTrue(yield* isEncrypted({ ...base, sslmode: "verify-ca", sslrootcert: ca }))
      assert.isTrue(yield* isEncrypted({ ...base, sslmode: "verify-full", sslrootcert: ca }))
      assert.isTrue(yield* isEncrypted({ ...base, ssl: { ca: yield* read(ca) } }))
      assert.isTrue(yield* isEncrypted({ ...base, ssl: { rejectUnauthorized: false } }))
      assert.isFalse(yield* isEncrypted({ ...base, ssl: false }))
      const url = `postgres://${server.user}@${server.host}:${server.port}/postgres`
      assert.isTrue(
        yield* isEncrypted({ url: Redacted.make(`${url}?sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}`) })
      )
      const refused: ReadonlyArray<PostgresOptions> = [
        { ...base, ssl: true },
        { ...base, sslmode: "verify-full" },
        { ...base, sslmode: "verify-ca", sslrootcert: otherCa },
        { ...base, sslmode: "verify-full", sslrootcert: otherCa },
        { ...base, sslmode: "require", sslrootcert: otherCa }
      ]
      for (const options of refused) {
        const error = yield* sqlFailure(connect(options))
        assert.include(error.message, "TLS failed")
        assert.isFalse(error.isRetryable, "a certificate does not get better by itself")
      }
    }))

  it.live("the name in the certificate matters for verify-full only", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ tls: { names: ["DNS:db.example"] } })
      const base = {
        host: server.host,
        port: server.port,
        username: server.user,
        database: "postgres",
        sslrootcert: server.certificates!.ca
      }
      assert.isTrue(yield* isEncrypted({ ...base, sslmode: "verify-ca" }))
      const error = yield* sqlFailure(connect({ ...base, sslmode: "verify-full" }))
      assert.isFalse(error.isRetryable)
      assert.include(error.message, "TLS failed")
    }))

  it.live("a server that insists: disable is refused, allow finds its way", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ tls: { required: true } })
      const base = { host: server.host, port: server.port, username: server.user, database: "postgres" }
      assert.isTrue(yield* isEncrypted({ ...base, sslmode: "allow" }))
      const error = yield* sqlFailure(connect({ ...base, sslmode: "disable" }))
      assert.strictEqual(fields(error).code, "28000")
    }))

  it.live("a server that cannot: prefer goes on without, require is refused", () =>
    Effect.gen(function*() {
      for (const sslmode of ["disable", "allow", "prefer"] as const) {
        assert.isFalse(yield* isEncrypted({ sslmode }))
      }
      for (const sslmode of ["require", "verify-ca", "verify-full"] as const) {
        const error = yield* sqlFailure(connect({ sslmode }))
        assert.include(error.message, "does not support TLS")
        assert.isFalse(error.isRetryable)
      }
    }))

  it.live("a client certificate", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ tls: { clientCertificate: true } })
      const { ca, clientCertificate, clientKey } = server.certificates!
      const base = { host: server.host, port: server.port, username: server.user, database: "postgres" }
      const full = { ...base, sslmode: "verify-full", sslrootcert: ca } as const
      assert.isTrue(yield* isEncrypted({ ...full, sslcert: clientCertificate, sslkey: clientKey }))
      const error = yield* sqlFailure(connect(full))
      assert.isFalse(error.isRetryable)
    }))

  it.live("a cancel request is encrypted like its session", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ tls: { required: true } })
      const session = yield* connect({
        host: server.host,
        port: server.port,
        username: server.user,
        database: "postgres",
        sslmode: "require"
      })
      const started = performance.now()
      yield* Effect.exit(Effect.timeout(run(session, "select pg_sleep(20)"), "100 millis"))
      yield* session.reset
      assert.isBelow(performance.now() - started, 3_000)
      assert.isTrue(session.isReady)
    }))

  it.live("bytes behind the answer to the request for TLS are refused", () =>
    Effect.gen(function*() {
      const injected = Buffer.concat([Buffer.from("S"), Buffer.from([0x5a, 0, 0, 0, 5, 0x49])])
      const port = yield* fakeServer((socket, _chunk, count) => {
        if (count === 0) socket.write(injected)
      })
      const error = yield* sqlFailure(connect({ host: "127.0.0.1", port, username: "x", sslmode: "require" }))
      assert.include(error.message, "unexpected bytes")
      const behindNo = yield* fakeServer((socket, _chunk, count) => {
        if (count === 0) socket.write(Buffer.concat([Buffer.from("N"), injected]))
      })
      yield* failure(connect({ host: "127.0.0.1", port: behindNo, username: "x", sslmode: "prefer" }))
    }))
})

const read = (path: string) => Effect.promise(() => import("node:fs").then((fs) => fs.readFileSync(path)))
