import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { resolve } from "../../../src/mysql-family/adapter/Config.ts"
import type { MysqlOptions } from "../../../src/mysql-family/adapter/MysqlOptions.ts"
import { failure } from "../support.ts"

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
      assert.deepInclude(config.tls, { isRequired: true, verify: false, verifyName: false })
      assert.strictEqual(config.name, "mysql://db.example:3307/b nk")
    }))

  it.effect("have defaults", () =>
    Effect.gen(function*() {
      const config = yield* resolve("Mariadb", {})
      assert.strictEqual(config.name, "mariadb://localhost:3306/")
      assert.strictEqual(config.username, os.userInfo().username)
      assert.deepInclude(config.tls, { isRequired: false, verify: false, verifyName: false })
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

  it.effect("of the URLs that hosts show", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [text: string, expected: object]> = [
        // PlanetScale, for mysql2 and for Prisma.
        ["mysql://u:pscale_pw_x@aws.connect.psdb.cloud/db?ssl={\"rejectUnauthorized\":true}", { verifyName: true }],
        ["mysql://u:p@aws.connect.psdb.cloud/db?ssl=%7B%22rejectUnauthorized%22%3Atrue%7D", { verifyName: true }],
        ["mysql://u:p@aws.connect.psdb.cloud/db?sslaccept=strict", { verifyName: true }],
        ["mysql://u:p@db/db?ssl={\"rejectUnauthorized\":false}", { verify: false, isRequired: true }],
        ["mysql://u:p@db/db?sslaccept=accept_invalid_certs", { verify: false, isRequired: true }],
        // DigitalOcean, Aiven, Azure.
        ["mysql://u:p@db-mysql-fra1.b.db.ondigitalocean.com:25060/defaultdb?ssl-mode=REQUIRED", { isRequired: true }],
        ["mysql://u@server:p@server.mysql.database.azure.com/db?sslMode=VERIFY_IDENTITY", { verifyName: true }],
        ["mysql://u:p@db/db?ssl_mode=preferred", { isRequired: false }],
        ["mysql://u:p@db/db?ssl=true", { verifyName: true }]
      ]
      for (const [text, expected] of cases) {
        assert.deepInclude((yield* resolve("Mysql", url(text))).tls, expected, text)
      }
      // Cloud SQL.
      const cloud = yield* resolve("Mysql", url("mysql://u:p@localhost/db?socket=/cloudsql/a:b:c"))
      assert.deepStrictEqual([cloud.socketPath, cloud.tls], ["/cloudsql/a:b:c", undefined])
      const more = yield* resolve(
        "Mysql",
        url(
          "mysql://u:p@db/db?connect_timeout=7&application_name=shop&allowPublicKeyRetrieval=true&useCompression=true"
        )
      )
      assert.deepInclude(more, {
        connectTimeout: 7_000,
        applicationName: "shop",
        allowPublicKeyRetrieval: true,
        compress: true
      })
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
    [{ sslmode: "preferred" }, "sslmode", /did you mean "prefer"/],
    [{ sslmode: "prefer", sslrootcert: "/x" }, "sslrootcert", /of no use with `sslmode: "prefer"`/],
    [{ maxConnections: 5 }, "maxConnections", /option of `layer`/],
    [{ url: undefined }, "url", /is undefined: the variable/],
    [{ url: Redacted.make(undefined) }, "url", /is no text/],
    [url(""), "url", /is empty/],
    [url("mysql://db/bank\n"), "url", /white space at its end/],
    [url(" mysql://db/bank"), "url", /white space at its beginning/],
    [url("mysql://d b/bank"), "url", /written %20/],
    [url("mysql://db/ba%0ank"), "url", /control character in its database/],
    [url("jdbc:mysql://db/bank"), "url", /jdbc:.*leave that out/],
    [url("mysql+pymysql://db/bank"), "url", /driver of Python/],
    [url("mysql://db/bank?connectionLimit=5"), "url", /pool: \{ max/],
    [url("mysql://db/bank?connection_limit=5"), "url", /pool: \{ max/],
    [url("mysql://db/bank?pool_timeout=5"), "url", /acquireTimeout/],
    [url("mysql://db/bank?useSSL=true"), "url", /sslmode=verify-full/],
    [url("mysql://db/bank?ssl=Amazon%20RDS"), "url", /sslmode=verify-full/],
    [url("mysql://db/bank?ssl={\"ca\":\"x\"}"), "url", /sslmode=verify-full/],
    [url("mysql://db/bank?sslmodes=require"), "url", /did you mean sslmode/],
    [url("mysql://db/bank?connectTimeout=soon"), "url", /connectTimeout that is not a number/],
    [url("mysql://db/bank?compress=maybe"), "url", /neither true nor false/],
    [{ host: "db\n" }, "host", /white space around it/],
    [{ host: "d\u0007b" }, "host", /control characters/],
    [{ username: " ann" }, "username", /white space/],
    [{ password: Redacted.make("s3cr3t\n") }, "password", /ends in a line break/],
    [{ compress: "yes" }, "compress", /true or false/],
    [{ undefined: "nul" }, "undefined", /did you mean "null"/],
    [{ transformQueryNames: "snake" }, "transformQueryNames", /must be a function/],
    [{ sessionVariables: { a: NaN } }, "sessionVariables", /a text, a number/],
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
