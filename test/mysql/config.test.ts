import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { type MysqlOptions, resolve } from "../../src/mysql-family/adapter/Config.ts"
import { failure } from "./support.ts"

const url = (text: string): MysqlOptions => ({ url: Redacted.make(text) })

describe("options", () => {
  it.effect("of a URL", () =>
    Effect.gen(function*() {
      const config = yield* resolve("Mysql", url("mysql://an%40n:s%3Acret@db.example:3307/b%20nk?ssl-mode=REQUIRED"))
      assert.strictEqual(config.host, "db.example")
      assert.strictEqual(config.port, 3307)
      assert.strictEqual(config.username, "an@n")
      assert.strictEqual(Redacted.value(config.password as Redacted.Redacted), "s:cret")
      assert.strictEqual(config.database, "b nk")
      assert.deepStrictEqual(config.tls, { verify: false, verifyName: false, material: {} })
      assert.strictEqual(config.name, "mysql://db.example:3307/b nk")
    }))

  it.effect("have defaults", () =>
    Effect.gen(function*() {
      const config = yield* resolve("Mariadb", {})
      assert.strictEqual(config.name, "mariadb://localhost:3306/")
      assert.strictEqual(config.username, os.userInfo().username)
      assert.strictEqual(config.tls, undefined)
      assert.strictEqual(config.connectTimeout, 5_000)
      assert.strictEqual(config.controlTimeout, 5_000)
      assert.strictEqual(config.statementTimeout, Infinity)
    }))

  it.effect("win over the URL", () =>
    Effect.gen(function*() {
      const config = yield* resolve("Mysql", { ...url("mariadb://ann@db/bank"), host: "::1", port: 1, database: "x" })
      assert.strictEqual(config.name, "mysql://[::1]:1/x")
    }))

  it.effect("take a Unix socket", () =>
    Effect.gen(function*() {
      const config = yield* resolve("Mysql", url("mysql://ann@localhost/bank?socketPath=/run/mysqld.sock"))
      assert.strictEqual(config.socketPath, "/run/mysqld.sock")
    }))

  it.effect("verify certificates in full once TLS is asked for", () =>
    Effect.gen(function*() {
      for (const options of [{ ssl: true }, { ssl: {} }, { sslmode: "verify-full" }, url("mysql://db/?ssl=true")]) {
        const { tls } = yield* resolve("Mysql", options as MysqlOptions)
        assert.isTrue(tls?.verify)
        assert.isTrue(tls?.verifyName)
      }
    }))

  const wrong: ReadonlyArray<readonly [options: unknown, option: string, problem: RegExp]> = [
    [{ hosst: "db" }, "hosst", /did you mean `host`/],
    [{ user: "ann" }, "user", /did you mean `username`/],
    [{ poolConfig: {} }, "poolConfig", /did you mean `pool`/],
    [{ connectionLimit: 3 }, "connectionLimit", /did you mean `maxConnections`/],
    [{ zzz: 1 }, "zzz", /does not exist$/],
    [url("postgres://db/bank"), "url", /must begin with mysql:/],
    [url("mysql://ann:pa%zzss@db/bank"), "url", /percent sign in its password/],
    [url("mysql://ann:pa#ss@db/bank"), "url", /written %23/],
    [url("mysql://db:70000/bank"), "url", /port that is not between/],
    [url("mysql://db:x/bank"), "url", /no readable host and port/],
    [url("mysql://a,b/bank"), "url", /several hosts/],
    [url("mysql://db/bank?charset=latin1"), "url", /charset with a value that is not supported: use utf8mb4/],
    [url("mysql://db/bank?what=1"), "url", /unknown parameter what/],
    [url("mysql://db/bank?sslmode=maybe"), "url", /sslmode that is not one of/],
    [{ url: "mysql://db" }, "url", /Redacted/],
    [{ password: "secret" }, "password", /Redacted/],
    [{ port: 0 }, "port", /between 1 and 65535/],
    [{ port: 1.5 }, "port", /between 1 and 65535/],
    [{ host: "" }, "host", /not be empty/],
    [{ database: "a\u0000b" }, "database", /NUL/],
    [{ host: "db", socketPath: "/x" }, "socketPath", /together with `host`/],
    [{ connectTimeout: 0 }, "connectTimeout", /longer than zero/],
    [{ controlTimeout: "forever" }, "controlTimeout", /must be a duration/],
    [{ controlTimeout: Infinity }, "controlTimeout", /finite/],
    [{ sslmode: "prefer" }, "sslmode", /one of disable, require/],
    [{ ssl: true, sslmode: "require" }, "ssl", /together with `sslmode`/],
    [{ ssl: "Amazon RDS" }, "ssl", /true, false or options/],
    [{ sslmode: "verify-full", sslrootcert: "/nowhere/ca.pem" }, "sslrootcert", /cannot be read/],
    [{ sslmode: "require", sslcert: "/x" }, "sslkey", /is missing/],
    [{ ssl: { ca: "no certificate", cert: "x" } }, "ssl", /TLS cannot use/],
    [{ sessionVariables: { "a b": 1 } }, "sessionVariables", /letters, digits/],
    [{ sessionVariables: { time_zone: "SYSTEM" } }, "sessionVariables", /in UTC/],
    [{ sqlMode: "'; drop" }, "sqlMode", /list of modes/],
    [{ preparedStatementCacheSize: 0 }, "preparedStatementCacheSize", /whole number/]
  ]
  for (const [options, option, problem] of wrong) {
    it.effect(`that cannot work: ${option} ${problem.source}`, () =>
      Effect.gen(function*() {
        const error = yield* failure(resolve("Mysql", options as MysqlOptions))
        assert.strictEqual(error._tag, "InvalidOptions")
        assert.strictEqual(error.option, option)
        assert.match(error.problem, problem)
        assert.notMatch(error.message, /pa#?%?z*ss@|secret/)
      }))
  }

  it.effect("with files that TLS cannot use", () =>
    Effect.gen(function*() {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => fs.rmSync(folder, { recursive: true })))
      const file = path.join(folder, "key.pem")
      fs.writeFileSync(file, "-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n")
      const error = yield* failure(resolve("Mysql", { sslmode: "verify-full", sslcert: file, sslkey: file }))
      assert.strictEqual(error.option, "sslcert")
      assert.match(error.problem, /TLS cannot use/)
    }))
})
