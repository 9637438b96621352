/** Passwords, what the server may ask for, channel binding and TLS, on a real server and on one that does worse. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as net from "node:net"
import * as tls from "node:tls"
import type { PostgresOptions } from "../../../src/postgres/adapter/PostgresOptions.ts"
import { saslprep } from "../../../src/postgres/wire/saslprep.ts"
import { describeWith, PostgresServer } from "../../support/index.ts"
import { connect, one, sqlFailure } from "../support.ts"

/** A server of bytes that hands each connection over. */
const listen = (onConnection: (socket: net.Socket) => void): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<net.Server>((resume) => {
      const server = net.createServer((socket) => {
        socket.on("error", () => {})
        onConnection(socket)
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => void server.close())
  ).pipe(Effect.map((server) => (server.address() as net.AddressInfo).port))

const pipe = (left: net.Socket, right: net.Socket): void => {
  for (const [from, to] of [[left, right], [right, left]] as const) {
    from.on("error", () => {})
    from.on("close", () => to.destroy())
    from.pipe(to)
  }
}

const message = (kind: string, body: Buffer): Buffer => {
  const head = Buffer.alloc(5)
  head.write(kind)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const authentication = (code: number, rest: Buffer = Buffer.alloc(0)): Buffer => {
  const number = Buffer.alloc(4)
  number.writeInt32BE(code)
  return message("R", Buffer.concat([number, rest]))
}

const sasl = authentication(10, Buffer.from("SCRAM-SHA-256\0\0"))
const ready = message("Z", Buffer.from("I"))

/** Answers each message of the client with what stands at its place, and keeps what it was sent. */
const scripted = Effect.fnUntraced(function*(answers: ReadonlyArray<(said: Buffer) => Buffer>) {
  const said: Array<Buffer> = []
  const port = yield* listen((socket) => {
    let count = 0
    socket.on("data", (chunk) => {
      said.push(chunk)
      const answer = answers[count++]
      if (answer !== undefined) socket.write(answer(chunk))
    })
  })
  return { said, options: { host: "127.0.0.1", port, username: "app", sslmode: "disable" } as PostgresOptions }
})

/** A first message of SCRAM that continues the client's nonce. */
const challenge = (said: Buffer): Buffer => {
  const nonce = /r=([^,]+)$/.exec(said.toString())![1]
  return authentication(11, Buffer.from(`r=${nonce}server,s=${Buffer.from("salt").toString("base64")},i=4096`))
}

const password = Redacted.make("hush-hush")

describe("SASLprep", () => {
  const cases: ReadonlyArray<[given: string, prepared: string, why: string]> = [
    ["I\u00adX", "IX", "a soft hyphen is nothing"],
    ["user", "user", "ASCII is what it is"],
    ["USER", "USER", "case counts"],
    ["\u00aa", "a", "compatible letters are one"],
    ["\u2168", "IX", "a Roman number is its letters"],
    ["a\u00a0b\u3000c\u200bd", "a b c d", "spaces are one space"],
    ["e\u0301", "\u00e9", "composed"],
    ["\u00ad", "\u00ad", "nothing would be left"],
    ["\u00e9\u0007\u2168", "\u00e9\u0007\u2168", "a control character: as it is"],
    ["\ud83d\ude00\u2168", "\ud83d\ude00\u2168", "not in Unicode 3.2: as it is"],
    ["\u06271\u2168", "\u06271\u2168", "right to left, and does not end so: as it is"],
    ["\u0627\u06d4\u06271\u0628\u00a0\u0627", "\u0627\u06d4\u06271\u0628 \u0627", "right to left throughout"],
    ["\ue000\u2168", "\ue000\u2168", "private use: as it is"],
    ["\ufffd\u2168", "\ufffd\u2168", "a replacement character: as it is"],
    ["\u{e0001}\u2168", "\u{e0001}\u2168", "a tag: as it is"]
  ]
  for (const [given, prepared, why] of cases) {
    it(`${JSON.stringify(given)}: ${why}`, () => assert.strictEqual(saslprep(given), prepared))
  }
})

describeWith("postgresql")("what the real server takes", () => {
  it.live("a password in every spelling that is the same to the server", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ password: "x" })
      const base = { host: server.host, port: server.port, username: server.user, database: "postgres" }
      const pairs: ReadonlyArray<[set: string, typed: string]> = [
        ["I\u00adX", "IX"],
        ["\u2168 e\u0301", "IX \u00e9"],
        ["\u00e9", "e\u0301"],
        ["a\u3000b", "a b"],
        ["\ud83d\ude00\u2168", "\ud83d\ude00\u2168"],
        ["\u06271\u2168", "\u06271\u2168"],
        ["\u00ad", "\u00ad"],
        ["\u0627 \u00a0\u0628", "\u0627  \u0628"]
      ]
      for (const [set, typed] of pairs) {
        yield* server.query(`alter role ${server.user} password '${set}'`)
        const session = yield* connect({ ...base, password: Redacted.make(typed) })
        assert.strictEqual(yield* one(session, "select 1"), 1, JSON.stringify(set))
      }
    }))

  it.live("channelBinding and requireAuth, on a server that binds", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ password: "hush-hush", tls: true })
      const base: PostgresOptions = {
        host: server.host,
        port: server.port,
        username: server.user,
        database: "postgres",
        password
      }
      const full = { ...base, sslmode: "verify-full", sslrootcert: server.certificates!.ca } as const
      for (const channelBinding of ["disable", "prefer", "require"] as const) {
        yield* connect({ ...full, channelBinding, requireAuth: "scram-sha-256" })
      }
      yield* connect({ ...full, requireAuth: "!password,!md5" })
      yield* connect({ ...base, sslmode: "disable" })
      const url = `postgres://${server.user}:hush-hush@${server.host}:${server.port}/postgres`
      yield* connect({
        url: Redacted.make(`${url}?sslmode=require&channel_binding=require&require_auth=scram-sha-256`)
      })
      const wrong = yield* sqlFailure(connect({ ...full, channelBinding: "require", password: Redacted.make("no") }))
      assert.include(wrong.message, "28P01")
      const other = yield* sqlFailure(connect({ ...full, requireAuth: "md5" }))
      assert.strictEqual(other.reason._tag, "AuthenticationError")
      assert.isFalse(other.isRetryable)
      assert.include(other.message, "asks for SCRAM-SHA-256, and `requireAuth` allows md5 only")
    }))

  it.live("who is in between and encrypts anew is found out by the binding", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ password: "hush-hush", tls: true })
      const { clientCertificate, clientKey } = server.certificates!
      const port = yield* listen((socket) => {
        socket.once("data", () => {
          socket.write("S")
          const inside = new tls.TLSSocket(socket, {
            isServer: true,
            cert: fs.readFileSync(clientCertificate),
            key: fs.readFileSync(clientKey)
          })
          const outside = net.connect(server.port, server.host)
          outside.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
          outside.once("data", () => pipe(inside, tls.connect({ socket: outside, rejectUnauthorized: false })))
        })
      })
      const base: PostgresOptions = {
        host: "127.0.0.1",
        port,
        username: server.user,
        database: "postgres",
        password,
        sslmode: "require"
      }
      yield* connect({ ...base, channelBinding: "disable" })
      for (const channelBinding of ["prefer", "require"] as const) {
        const error = yield* sqlFailure(connect({ ...base, channelBinding }))
        assert.include(error.message, "channel binding check failed")
      }
    }))

  it.live("what asks for less than channelBinding or requireAuth demand gets nothing", () =>
    Effect.gen(function*() {
      for (const method of ["md5", "password"] as const) {
        const server = yield* PostgresServer.make({ password: "hush-hush", authentication: method, tls: true })
        const base = { host: server.host, port: server.port, username: server.user, database: "postgres", password }
        yield* connect({ ...base, requireAuth: method })
        for (const demand of [{ channelBinding: "require" }, { requireAuth: "scram-sha-256" }] as const) {
          const error = yield* sqlFailure(connect({ ...base, ...demand }))
          assert.strictEqual(error.reason._tag, "AuthenticationError")
          assert.isFalse(error.isRetryable)
        }
      }
      const trusting = yield* PostgresServer.make({})
      const base = { host: trusting.host, port: trusting.port, username: trusting.user, database: "postgres" }
      yield* connect({ ...base, requireAuth: "none" })
      const error = yield* sqlFailure(connect({ ...base, requireAuth: "!none" }))
      assert.include(error.message, "asks for no authentication, and `requireAuth` allows password, md5, scram-sha-256")
    }))

  it.live("sslnegotiation=direct, through one that ends TLS for the server", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ password: "hush-hush", tls: true })
      const { ca, serverCertificate, serverKey } = server.certificates!
      const terminator = (ALPNProtocols: Array<string> | undefined) =>
        listen((socket) => {
          const inside = new tls.TLSSocket(socket, {
            isServer: true,
            cert: fs.readFileSync(serverCertificate),
            key: fs.readFileSync(serverKey),
            ...(ALPNProtocols === undefined ? {} : { ALPNProtocols })
          })
          pipe(inside, net.connect(server.port, server.host))
        })
      const direct = (port: number): PostgresOptions => ({
        host: "127.0.0.1",
        port,
        username: server.user,
        database: "postgres",
        password,
        sslmode: "verify-full",
        sslrootcert: ca,
        sslnegotiation: "direct"
      })
      const session = yield* connect(direct(yield* terminator(["postgresql"])))
      assert.isTrue(session.encrypted)
      assert.strictEqual(yield* one(session, "select 1"), 1)
      const silent = yield* sqlFailure(connect(direct(yield* terminator(undefined))))
      assert.include(silent.message, "does not say that it speaks PostgreSQL")
      // PostgreSQL before 17 takes it for a packet that it does not know.
      const version = Number(yield* one(session, "select current_setting('server_version_num')"))
      if (version < 170_000) {
        const old = yield* sqlFailure(connect(direct(server.port)))
        assert.include(old.message, "needs PostgreSQL 17 or newer")
      }
    }))
})

describe("a server that does what no real one does gets no password", () => {
  const cleartext = authentication(3)
  const md5 = authentication(5, Buffer.from("salt"))
  const cases: ReadonlyArray<[name: string, answers: ReadonlyArray<(said: Buffer) => Buffer>, problem: string]> = [
    ["clear text before the proof", [() => sasl, () => cleartext], "once it has asked for SCRAM-SHA-256"],
    ["MD5 before the proof", [() => sasl, () => md5], "once it has asked for SCRAM-SHA-256"],
    ["clear text behind the proof", [() => sasl, challenge, () => cleartext], "once it has asked for SCRAM-SHA-256"],
    ["SCRAM twice", [() => sasl, () => sasl], "once it has asked for SCRAM-SHA-256"],
    ["OK in place of a challenge", [() => sasl, () => authentication(0)], "skipped the proof"],
    ["OK in place of a proof", [() => sasl, challenge, () => authentication(0)], "skipped the proof"],
    ["a challenge without SCRAM", [() => authentication(11, Buffer.from("r=x,s=eA==,i=1"))], "nobody asked for"],
    ["a proof without SCRAM", [() => authentication(12, Buffer.from("v=eA=="))], "nobody asked for"],
    [
      "a nonce of its own",
      [() => sasl, () => authentication(11, Buffer.from("r=mine,s=c2FsdA==,i=4096"))],
      "does not continue ours"
    ],
    [
      "iterations without end",
      [
        () => sasl,
        (said) => authentication(11, Buffer.from(`r=${/r=([^,]+)$/.exec(said.toString())![1]}x,s=c2FsdA==,i=9999999`))
      ],
      "9999999 iterations"
    ],
    [
      "a wrong proof",
      [() => sasl, challenge, () => authentication(12, Buffer.from(`v=${Buffer.alloc(32).toString("base64")}`))],
      "wrong signature"
    ],
    [
      "methods that nobody speaks",
      [() => authentication(10, Buffer.from("SCRAM-SHA-512\0\0"))],
      "offers SCRAM-SHA-512, and SCRAM-SHA-256 is what is spoken"
    ],
    ["Kerberos", [() => authentication(7)], "pg_hba.conf"]
  ]
  for (const [name, answers, problem] of cases) {
    it.live(name, () =>
      Effect.gen(function*() {
        const { options, said } = yield* scripted(answers)
        const error = yield* sqlFailure(connect({ ...options, password }))
        assert.strictEqual(error.reason._tag, "AuthenticationError")
        assert.isFalse(error.isRetryable)
        assert.include(error.message, problem)
        assert.notInclude(Buffer.concat(said).toString("latin1"), "hush-hush")
      }))
  }

  it.live("with requireAuth neither clear text nor an open door is taken", () =>
    Effect.gen(function*() {
      for (const answer of [cleartext, md5, Buffer.concat([authentication(0), ready])]) {
        const { options, said } = yield* scripted([() => answer])
        const error = yield* sqlFailure(connect({ ...options, password, requireAuth: "scram-sha-256" }))
        assert.strictEqual(error.reason._tag, "AuthenticationError")
        assert.include(error.message, "`requireAuth` allows scram-sha-256 only")
        assert.strictEqual(said.length, 1, "nothing but the startup packet")
      }
    }))

  it.live("channelBinding: \"require\" without TLS is refused before anything is proved", () =>
    Effect.gen(function*() {
      const port = yield* listen((socket) => {
        let count = 0
        socket.on("data", () => socket.write(count++ === 0 ? "N" : sasl))
      })
      const error = yield* sqlFailure(
        connect({ host: "127.0.0.1", port, username: "app", password, channelBinding: "require" })
      )
      assert.include(error.message, "not encrypted: set `sslmode`")
    }))
})

describe("a server that says more than can be true is not listened to", () => {
  const parameter = (name: string, value = "x") => message("S", Buffer.from(`${name}\0${value}\0`))
  const parameters = (count: number) => Buffer.concat(Array.from({ length: count }, (_, n) => parameter(`p${n}`)))
  const admitted = authentication(0)
  const report = (text: string) => Buffer.from(`SERROR\0C28000\0M${text}\0\0`)
  const cases: ReadonlyArray<[name: string, answer: Buffer, problem: string]> = [
    [
      "notices without an end, before it knows who asks",
      Buffer.concat(Array.from({ length: 1_000 }, () => message("N", report("x".repeat(50))))),
      "too much before it knows who asks"
    ],
    [
      "an error of megabytes, before it knows who asks",
      message("E", report("x".repeat(5_000_000))),
      "too much before it knows who asks"
    ],
    [
      "parameters without an end",
      Buffer.concat([admitted, parameters(600), ready]),
      "more parameters than can be true"
    ],
    [
      "a parameter that no setting is as long as",
      Buffer.concat([admitted, parameter("p", "x".repeat(20_000)), ready]),
      "more parameters than can be true"
    ]
  ]
  for (const [name, answer, problem] of cases) {
    it.live(`${name}: no session`, () =>
      Effect.gen(function*() {
        const { options } = yield* scripted([() => answer])
        assert.include((yield* sqlFailure(connect({ ...options, password }))).message, problem)
      }))
  }

  it.live("parameters without an end, to a session that has asked for nothing: it ends", () =>
    Effect.gen(function*() {
      let flood = () => {}
      const port = yield* listen((socket) => {
        flood = () => void socket.write(parameters(600))
        socket.once("data", () => socket.write(Buffer.concat([admitted, parameters(3), ready])))
      })
      const session = yield* connect({ host: "127.0.0.1", port, username: "app", sslmode: "disable" })
      const lost = yield* Deferred.make<string>()
      session.onLost((error) => Deferred.doneUnsafe(lost, Effect.succeed(error.message)))
      flood()
      assert.include(yield* Deferred.await(lost), "more parameters than can be true")
      assert.isTrue(session.isClosed)
    }))
})
