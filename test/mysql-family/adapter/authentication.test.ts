import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { AuthenticationError } from "effect/sql/SqlError"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import { readGreeting } from "../../../src/mysql-family/adapter/greeting.ts"
import type { MysqlOptions, SslMode } from "../../../src/mysql-family/adapter/MysqlOptions.ts"
import { MysqlServer } from "../../support/index.ts"
import { connect, connector, one, sqlFailure, subjects } from "../support.ts"

class Server extends Context.Service<Server, MysqlServer.MysqlServer>()("test/Server") {}

const user = "cached"

/** A server that offers TLS and has a user of `caching_sha2_password`. */
const server = Layer.effect(
  Server,
  Effect.tap(MysqlServer.make(), (server) =>
    Effect.andThen(
      server.query(`create user ${user} identified with caching_sha2_password by 'pass'`),
      server.query(`grant all on *.* to ${user}`)
    ))
)

interface Cell {
  readonly sslmode: SslMode | undefined
  readonly transport: "tcp" | "socket"
  readonly isCached: boolean
  readonly allowsKey: boolean
}

const cells: ReadonlyArray<Cell> = ([undefined, "disable", "prefer", "require"] as const).flatMap((sslmode) =>
  (["tcp", "socket"] as const).flatMap((transport) =>
    [true, false].flatMap((isCached) => [true, false].map((allowsKey) => ({ sslmode, transport, isCached, allowsKey })))
  )
)

/** Whether the password, or enough to check it, can go to the server without trusting what it sends. */
const connects = ({ allowsKey, isCached, sslmode, transport }: Cell): boolean =>
  transport === "socket" || sslmode !== "disable" || isCached || allowsKey

describe.each(subjects)("authentication over $name", (subject) => {
  layer(server, { excludeTestServices: true, timeout: 120_000 })("caching_sha2_password", (it) => {
    const optionsOf = (server: MysqlServer.MysqlServer, cell: Cell): MysqlOptions => ({
      username: user,
      password: Redacted.make("pass"),
      ...cell.transport === "tcp"
        ? { host: server.host, port: server.port }
        : { socketPath: path.join(path.dirname(server.dataFolder), "server.sock") },
      ...cell.sslmode === undefined ? {} : { sslmode: cell.sslmode },
      ...cell.allowsKey ? { allowPublicKeyRetrieval: true } : {}
    })
    const cipher = (options: MysqlOptions) =>
      Effect.scoped(
        Effect.flatMap(connect(subject, options), (session) =>
          one(
            session,
            "select variable_value from performance_schema.session_status where variable_name = 'Ssl_cipher'"
          ))
      )

    it.effect(
      "each TLS mode, transport and state of the cache → connects, or names the options",
      () =>
        Effect.gen(function*() {
          const server = yield* Server
          for (const cell of cells) {
            const name = JSON.stringify(cell)
            yield* server.query("flush privileges")
            if (cell.isCached) yield* cipher(optionsOf(server, { ...cell, sslmode: "require" }))
            const options = optionsOf(server, cell)
            if (connects(cell)) {
              const isEncrypted = cell.transport === "tcp" ? cell.sslmode !== "disable" : cell.sslmode === "require"
              assert.strictEqual((yield* cipher(options)) !== "", isEncrypted, name)
            } else {
              const error = yield* sqlFailure(cipher(options))
              assert.match(error.message, /`sslmode`.*`allowPublicKeyRetrieval: true`/, name)
              assert.isFalse(error.isRetryable, name)
            }
          }
        }),
      120_000
    )

    it.effect("a wrong password → AuthenticationError, in each mode", () =>
      Effect.gen(function*() {
        const server = yield* Server
        for (const cell of cells.filter(connects)) {
          const error = yield* sqlFailure(
            cipher({ ...optionsOf(server, { ...cell, allowsKey: true }), password: Redacted.make("wrong") })
          )
          assert.instanceOf(error.reason, AuthenticationError, JSON.stringify(cell))
        }
      }), 120_000)

    it.effect("a server that wants TLS → the message names the option", () =>
      Effect.gen(function*() {
        const server = yield* Server
        const cell: Cell = { sslmode: "disable", transport: "tcp", isCached: false, allowsKey: true }
        yield* Effect.ensuring(
          Effect.gen(function*() {
            assert.notStrictEqual(yield* cipher(optionsOf(server, { ...cell, sslmode: undefined })), "")
            yield* server.query("set global require_secure_transport = on")
            const error = yield* sqlFailure(cipher(optionsOf(server, cell)))
            assert.match(error.message, /`sslmode`.*3159/)
          }),
          Effect.ignore(server.query("set global require_secure_transport = off"))
        )
      }))

    it.effect("verify-ca with the server's own authority → connects; verify-full, for no host is in it → fails", () =>
      Effect.gen(function*() {
        const server = yield* Server
        const sslrootcert = path.join(server.dataFolder, "ca.pem")
        const base = optionsOf(server, { sslmode: undefined, transport: "tcp", isCached: false, allowsKey: false })
        assert.notStrictEqual(yield* cipher({ ...base, sslmode: "verify-ca", sslrootcert }), "")
        for (const options of [{ sslmode: "verify-full", sslrootcert }, { sslmode: "verify-ca" }, { ssl: true }]) {
          const error = yield* sqlFailure(cipher({ ...base, ...options } as MysqlOptions))
          assert.match(error.message, /certificate|altname/i)
          assert.isFalse(error.isRetryable)
        }
      }))

    it.effect("certificates: a file that was replaced → used by the next connection", () =>
      Effect.gen(function*() {
        const server = yield* Server
        const ca = path.join(server.dataFolder, "ca.pem")
        const other = path.join(path.dirname(server.dataFolder), `renewed-${subject.key}.pem`)
        fs.copyFileSync(ca, other)
        const base = optionsOf(server, { sslmode: undefined, transport: "tcp", isCached: false, allowsKey: false })

        const next = yield* connector(subject, { ...base, sslmode: "verify-ca", sslrootcert: other })
        yield* Effect.scoped(next)
        fs.rmSync(other)
        const error = yield* sqlFailure(Effect.scoped(next))
        assert.match(error.message, /`sslrootcert` names a file that cannot be read/)
        assert.isTrue(error.isRetryable)
        fs.copyFileSync(ca, other)
        yield* Effect.scoped(next)
      }))

    it.effect("a password from an effect: it fails, dies, or ends in a line break → a failed attempt, that tells nothing", () =>
      Effect.gen(function*() {
        const server = yield* Server
        const base = optionsOf(server, { sslmode: undefined, transport: "tcp", isCached: false, allowsKey: false })
        for (
          const password of [
            Effect.fail(new Error("s3cret")),
            Effect.die("s3cret"),
            Effect.succeed(Redacted.make("s3cret\n")),
            Effect.succeed(undefined as never)
          ]
        ) {
          const error = yield* sqlFailure(cipher({ ...base, password }))
          assert.isTrue(error.isRetryable)
          assert.include(error.message, "`password`")
          assert.notInclude(error.message, "s3cret")
        }
        assert.notStrictEqual(yield* cipher({ ...base, password: Effect.succeed(Redacted.make("pass")) }), "")
      }))
  })
})

describe("the greeting", () => {
  const greet = (...parts: ReadonlyArray<Buffer>) =>
    Effect.callback<{ readonly problem: string | undefined; readonly offersTls: boolean; readonly left: string }>(
      (resume) => {
        const server = net.createServer((peer) => {
          peer.on("error", () => {})
          const write = (index: number): void => {
            if (index === parts.length) return void peer.end()
            peer.write(parts[index]!, () => setImmediate(() => write(index + 1)))
          }
          write(0)
        })
        server.listen(0, "127.0.0.1", () => {
          const socket = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1")
          readGreeting(socket, (error, { offersTls }) => {
            if (error !== undefined) {
              socket.destroy()
              server.close()
              return resume(Effect.succeed({ problem: error.message, offersTls, left: "" }))
            }
            let left = ""
            socket.on("data", (bytes) => left += bytes.toString("latin1"))
            socket.on("close", () => {
              server.close()
              resume(Effect.succeed({ problem: undefined, offersTls, left }))
            })
            socket.resume()
          })
        })
      }
    )
  const packet = (payload: Buffer) => Buffer.concat([Buffer.from([payload.length, 0, 0, 0]), payload])
  const hello = (flags: number) =>
    packet(Buffer.concat([
      Buffer.from("\u000a9.7.4\u0000", "latin1"),
      Buffer.alloc(4 + 8 + 1),
      Buffer.from([flags & 255, flags >> 8]),
      Buffer.alloc(20)
    ]))

  it.live("with and without TLS, in any pieces → read, and given back whole", () =>
    Effect.gen(function*() {
      for (const flags of [0x0800, 0x0000, 0xf7ff, 0xffff]) {
        const bytes = hello(flags)
        for (const at of [1, 4, 5, 20, bytes.length]) {
          const { left, offersTls, problem } = yield* greet(bytes.subarray(0, at), bytes.subarray(at))
          assert.deepStrictEqual([problem, offersTls], [undefined, (flags & 0x0800) !== 0])
          assert.strictEqual(left, bytes.toString("latin1"))
        }
      }
    }))

  it.live("an error instead, another protocol, nothing → told apart", () =>
    Effect.gen(function*() {
      const refusal = packet(Buffer.from("\u00ff\u0010\u0004Too many connections", "latin1"))
      assert.deepInclude(yield* greet(refusal), { problem: undefined, offersTls: false })
      assert.match((yield* greet(Buffer.from("SSH-2.0-OpenSSH_9\r\n"))).problem!, /no server of MySQL/)
      assert.match((yield* greet(Buffer.from("HTTP/1.1 400 Bad Request\r\n"))).problem!, /no server of MySQL/)
      assert.match((yield* greet()).problem!, /without a word/)
    }))
})
