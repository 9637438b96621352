import * as PgConnection from "@effect/sql-pg/PgConnection"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as mariadb from "mariadb"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import {
  describeWith,
  explain,
  FaultProxy,
  freshDatabase,
  MariadbServer,
  MysqlServer,
  PostgresServer,
  postgresUrl
} from "./support/index.ts"
import { whatToDo } from "./support/servers/binaries.ts"
import { alive } from "./support/servers/processes.ts"

const connectPostgres = (options: PgConnection.Config) => PgConnection.make({ connectTimeout: "3 seconds", ...options })

const connectMariadb = (options: mariadb.ConnectionConfig) =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: () => mariadb.createConnection({ connectTimeout: 3000, ...options }),
      catch: (cause) => cause as mariadb.SqlError
    }),
    (connection) => Effect.sync(() => connection.destroy())
  )

const refuses = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = net.connect(port, "127.0.0.1")
    socket.once("connect", () => resume(Effect.succeed(false)))
    socket.once("error", () => resume(Effect.succeed(true)))
    return Effect.sync(() => socket.destroy())
  })

// -----------------------------------------------------------------------------
// What the tests share
// -----------------------------------------------------------------------------

describe("freshDatabase", () => {
  for (const server of ["postgresql", "mysql", "mariadb"] as const) {
    it.effect(`gives each caller an empty database on ${server} and drops it with the scope`, () =>
      Effect.gen(function*() {
        const names = yield* Effect.scoped(Effect.gen(function*() {
          const one = yield* freshDatabase(server)
          const two = yield* freshDatabase(server)
          assert.notStrictEqual(one, two)
          return [one, two].map((url) => new URL(url).pathname.slice(1))
        }))
        if (server === "postgresql") {
          const connection = yield* connectPostgres({ url: Redacted.make(postgresUrl()) })
          const left = yield* connection.query("select datname from pg_database where datname = any($1::text[])", [
            names
          ])
          assert.deepStrictEqual(left.rows, [])
        }
      }))
  }
})

// -----------------------------------------------------------------------------
// PostgreSQL
// -----------------------------------------------------------------------------

describeWith("postgresql")("PostgresServer", () => {
  it.live("it takes settings, and answers questions through its own door", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ settings: { work_mem: "5MB", lock_timeout: "7s" } })
      const rows = yield* server.query("select current_setting('work_mem') as mem, $1::int as n", [3])
      assert.deepStrictEqual(rows, [{ mem: "5MB", n: 3 }])
      yield* connectPostgres({ url: Redacted.make(server.url) })
      assert.include(yield* server.log, "ready to accept connections")
    }))

  it.live("stop, start and restart keep the port and the data, in every mode", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      yield* server.query("create table t as select 1 as x")
      for (const mode of ["smart", "fast", "immediate"] as const) {
        yield* server.stop(mode)
        assert.isTrue(yield* refuses(server.port))
        assert.strictEqual(yield* server.pid, undefined)
        yield* server.start
        assert.deepStrictEqual(yield* server.query("select x from t"), [{ x: 1 }])
      }
      yield* server.restart()
      yield* connectPostgres({ url: Redacted.make(server.url) })
    }))

  it.live("a smart stop waits for the last client", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      const stopping = yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* connectPostgres({ url: Redacted.make(server.url) })
        const stopping = yield* Effect.forkDetach(server.stop("smart"))
        yield* Effect.sleep("100 millis")
        yield* client.query("select 1")
        assert.isTrue((yield* server.pid) !== undefined)
        return stopping
      }))
      yield* Fiber.join(stopping)
      assert.strictEqual(yield* server.pid, undefined)
    }))

  it.live("kill ends the postmaster and every backend at once; what was committed is there after a start", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      const client = yield* connectPostgres({ url: Redacted.make(server.url) })
      yield* client.query("create table t as select 1 as x")
      const busy = yield* Effect.forkChild(Effect.flip(client.query("select pg_sleep(60)")))
      const backends = [client.processId, (yield* server.pid)!]
      assert.strictEqual(alive(backends).length, 2)
      yield* server.kill
      assert.deepStrictEqual(alive(backends), [])
      yield* Fiber.join(busy)
      assert.isTrue(yield* refuses(server.port))
      yield* server.start
      assert.deepStrictEqual(yield* server.query("select x from t"), [{ x: 1 }])
    }))

  it.live("pause leaves connections open and unanswered until resume", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      const client = yield* connectPostgres({ url: Redacted.make(server.url) })
      yield* server.pause
      const answer = yield* Effect.forkChild(client.query("select 1 as x"))
      yield* Effect.sleep("100 millis")
      assert.strictEqual(answer.pollUnsafe(), undefined)
      yield* server.resume
      assert.deepStrictEqual((yield* Fiber.join(answer)).rows, [{ x: 1 }])
    }))

  it.live("a paused server can be stopped, and goes with its scope", () =>
    Effect.gen(function*() {
      const [pid, folder] = yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* PostgresServer.make()
        yield* server.pause
        yield* server.stop("immediate")
        yield* server.start
        yield* server.pause
        return [(yield* server.pid)!, server.dataFolder] as const
      }))
      assert.deepStrictEqual(alive([pid]), [])
      assert.isFalse(fs.existsSync(path.dirname(folder)))
    }))

  it.live("with a password it wants SCRAM, and a wrong password is refused", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ password: "it's secret" })
      const stored = yield* server.query("select rolpassword from pg_authid where rolname = 'postgres'")
      assert.match(String(stored[0]?.["rolpassword"]), /^SCRAM-SHA-256/)
      yield* connectPostgres({ url: Redacted.make(server.url) })
      const error = yield* Effect.flip(
        connectPostgres({ url: Redacted.make(server.url.replace("secret", "guess")) })
      )
      assert.include(explain(error), "password authentication failed")
    }))

  it.live("with TLS the client can check the server, by authority and by name", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ tls: { required: true, names: ["DNS:db.example"] } })
      const pem = (file: "ca" | "otherCa") => fs.readFileSync(server.certificates![file], "utf8")
      const url = Redacted.make(server.url)
      yield* connectPostgres({ url, ssl: { ca: pem("ca"), servername: "db.example" } })
      for (
        const [ssl, reason] of [
          [{ ca: pem("otherCa"), servername: "db.example" }, "self-signed certificate"],
          [{ ca: pem("ca"), servername: "localhost" }, "does not match"],
          [false, "pg_hba.conf"]
        ] as const
      ) {
        assert.include(explain(yield* Effect.flip(connectPostgres({ url, ssl }))), reason)
      }
    }))

  it.live("it can demand a client certificate", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ tls: { clientCertificate: true } })
      const { ca, clientCertificate, clientKey } = server.certificates!
      const read = (file: string) => fs.readFileSync(file, "utf8")
      const url = Redacted.make(server.url)
      yield* connectPostgres({
        url,
        ssl: { ca: read(ca), cert: read(clientCertificate), key: read(clientKey), servername: "localhost" }
      })
      const error = yield* Effect.flip(connectPostgres({ url, ssl: { ca: read(ca), servername: "localhost" } }))
      assert.include(explain(error), "certificate")
    }))

  it.live("a server that cannot start fails at once and says why", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(PostgresServer.make({ settings: { work_mem: "plenty" } }))
      assert.include(error.message, "work_mem")
      assert.include(error.message, "plenty")
    }))

  it.live("the proxy stands before it, and cuts a COMMIT", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      yield* server.query("create table t (x int)")
      const proxy = yield* FaultProxy.make(server.url)
      for (const [fault, rows] of [["before", 0], ["after", 1]] as const) {
        const client = yield* connectPostgres({ url: Redacted.make(proxy.url) })
        yield* client.query("begin")
        yield* client.query("insert into t values (1)")
        const rule = yield* proxy.when("commit", fault)
        yield* Effect.flip(client.query("commit"))
        yield* rule.fired
        assert.strictEqual((yield* server.query("select x from t")).length, rows)
      }
    }))
})

describeWith("standby")("PostgresServer", () => {
  it.live("a standby follows, takes no writes, and takes them once it is promoted", () =>
    Effect.gen(function*() {
      const primary = yield* PostgresServer.make()
      yield* primary.query("create table t (x int)")
      const standby = yield* primary.standby()
      yield* primary.query("insert into t values (1)")
      yield* standby.query("select count(*) from t").pipe(
        Effect.repeat({ until: ([row]) => Number(row?.["count"]) === 1 }),
        Effect.timeout("5 seconds")
      )
      const error = yield* Effect.flip(standby.query("insert into t values (2)"))
      assert.include(explain(error), "read-only")
      yield* primary.kill
      yield* standby.promote
      yield* standby.query("insert into t values (2)")
      assert.strictEqual((yield* standby.query("select x from t")).length, 2)
    }))
})

// -----------------------------------------------------------------------------
// MySQL and MariaDB
// -----------------------------------------------------------------------------

for (
  const [need, name, { make }] of [
    ["mysql", "MysqlServer", MysqlServer],
    ["mariadb", "MariadbServer", MariadbServer]
  ] as const
) {
  describeWith(need)(name, () => {
    it.live("it takes settings, and answers questions through its own door", () =>
      Effect.gen(function*() {
        const server = yield* make({ settings: { innodb_lock_wait_timeout: 7 } })
        const rows = yield* server.query("select @@innodb_lock_wait_timeout + ? as w", [3])
        assert.deepStrictEqual(rows.map((row) => Number(row["w"])), [10])
      }))

    it.live("stop, kill and restart keep the port and the data", () =>
      Effect.gen(function*() {
        const server = yield* make()
        yield* server.query("create table t (x int)", [], "test")
        yield* server.query("insert into t values (1)", [], "test")
        for (const end of [server.stop, server.kill]) {
          yield* end
          assert.isTrue(yield* refuses(server.port))
          assert.strictEqual(yield* server.pid, undefined)
          yield* server.start
          assert.strictEqual((yield* server.query("select x from t", [], "test")).length, 1)
        }
        yield* server.restart
        const { password, port, user } = server
        yield* connectMariadb({ host: "127.0.0.1", port, user, password, database: "test" })
      }), 60_000)

    it.live("pause leaves connections open and unanswered until resume", () =>
      Effect.gen(function*() {
        const server = yield* make()
        const { password, port, user } = server
        const client = yield* connectMariadb({ host: "127.0.0.1", port, user, password })
        yield* server.pause
        const answer = yield* Effect.forkChild(Effect.promise(() => client.query("select 1 as x")))
        yield* Effect.sleep("100 millis")
        assert.strictEqual(answer.pollUnsafe(), undefined)
        yield* server.resume
        yield* Fiber.join(answer)
      }))

    it.live("with TLS the client can check the server, and the server can demand it", () =>
      Effect.gen(function*() {
        const server = yield* make({ tls: { required: true } })
        const { password, port, user } = server
        const pem = (file: "ca" | "otherCa") => fs.readFileSync(server.certificates![file], "utf8")
        const options = { host: "localhost", port, user, password }
        yield* connectMariadb({ ...options, ssl: { ca: pem("ca") } })
        yield* Effect.flip(connectMariadb({ ...options, ssl: { ca: pem("otherCa") } }))
        const error = yield* Effect.flip(connectMariadb(options))
        assert.include(error.message, "Access denied")
      }))

    it.live("the proxy stands before it, where the server speaks first", () =>
      Effect.gen(function*() {
        const server = yield* make()
        yield* server.query("create table t (x int)", [], "test")
        const proxy = yield* FaultProxy.make(server.url)
        const { password, user } = server
        for (const [fault, rows] of [["before", 0], ["after", 1]] as const) {
          const client = yield* connectMariadb({
            host: "127.0.0.1",
            port: proxy.port,
            user,
            password,
            database: "test"
          })
          yield* Effect.promise(() => client.query("begin"))
          yield* Effect.promise(() => client.query("insert into t values (1)"))
          yield* proxy.when("commit", fault)
          yield* Effect.flip(Effect.tryPromise(() => client.query("commit")))
          assert.strictEqual((yield* server.query("select x from t", [], "test")).length, rows)
        }
      }))
  })
}

// -----------------------------------------------------------------------------
// Missing binaries
// -----------------------------------------------------------------------------

it("a missing server is reported with what to install and what to set instead", () => {
  for (
    const [{ requirement }, ...parts] of [
      [PostgresServer, "apt-get install postgresql", "WATERTIGHT_TEST_POSTGRES_URL=postgres://"],
      [MariadbServer, "apt-get install mariadb-server", "WATERTIGHT_TEST_MARIADB_URL=mysql://"],
      [MysqlServer, "https://dev.mysql.com", "WATERTIGHT_TEST_MYSQL_URL=mysql://"]
    ] as const
  ) {
    for (const part of parts) {
      assert.include(whatToDo(requirement), part)
    }
  }
})

// -----------------------------------------------------------------------------
// Crashes
// -----------------------------------------------------------------------------

describeWith("postgresql", "mariadb")("a test process that is killed", () => {
  it.live("takes its servers and their folders with it, paused ones too", () =>
    Effect.gen(function*() {
      const front = fileURLToPath(new URL("./support/servers/index.ts", import.meta.url))
      const program = `
        import { Effect } from "effect"
        import { MariadbServer, PostgresServer } from ${JSON.stringify(front)}
        Effect.runPromise(Effect.scoped(Effect.gen(function*() {
          const postgres = yield* PostgresServer.make()
          const mariadb = yield* MariadbServer.make()
          const paused = yield* PostgresServer.make()
          yield* paused.pause
          for (const server of [postgres, mariadb, paused]) {
            console.log(JSON.stringify({ pid: yield* server.pid, folder: server.dataFolder }))
          }
          process.kill(process.pid, "SIGKILL")
        })))`
      const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", program], {
        cwd: fileURLToPath(new URL("..", import.meta.url)),
        stdio: ["ignore", "pipe", "inherit"]
      })
      let output = ""
      child.stdout.on("data", (chunk) => (output += chunk))
      yield* Effect.promise(() => once(child, "close"))
      const servers = output.trim().split("\n").map((line) => JSON.parse(line) as { pid: number; folder: string })
      assert.strictEqual(servers.length, 3)
      yield* Effect.sync(() =>
        alive(servers.map(({ pid }) => pid)).length + servers.filter(({ folder }) => fs.existsSync(folder)).length
      ).pipe(
        Effect.delay("20 millis"),
        Effect.repeat({ until: (left) => left === 0 }),
        Effect.timeout("8 seconds")
      )
    }))
})
