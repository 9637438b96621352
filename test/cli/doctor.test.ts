/** What the doctor says of databases that are well and of those that are not. Each screen is written down here. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { layerAt } from "../migrations/support.ts"
import { describeWith, freshDatabase, PgBouncer, PostgresServer, Replication, sharedUrl } from "../support/index.ts"
import { cli } from "./support.ts"

interface Answered {
  readonly problems: number
  readonly warnings: number
  readonly checks: ReadonlyArray<{ check: string; status: string; found: string; remedy?: string }>
}

const doctor = (url: string, ...args: ReadonlyArray<string>) =>
  Effect.map(cli(".", ["doctor", url, "--json", ...args]), (ended) => ({
    ...ended,
    ...JSON.parse(ended.stdout) as Answered
  }))

const of = (answered: Answered, check: string) => answered.checks.find((line) => line.check === check)

const run = (url: string, statements: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* Effect.forEach(statements, (statement) => sql.unsafe(statement).unprepared, { discard: true })
  }).pipe(Effect.provide(layerAt(url)))

/** A screen without what is another one each time. */
const masked = (screen: string, url: string): string =>
  screen
    .replaceAll(/\w+:\/\/[\d.]+:\d+\/\w+/g, "<url>")
    .replaceAll(/: remaining .* \(53300\)/g, ": <the server's words> (53300)")
    .replaceAll(new URL(url).hostname, "<host>")
    .replaceAll(new URL(url).port, "<port>")
    .replaceAll(new URL(url).pathname.slice(1), "<database>")
    .replaceAll(/\d+ of \d+ in use/g, "<n> of <n> in use")
    .replaceAll(/(less than 1|\d+) ms for a round trip/g, "<n> ms for a round trip")
    .replaceAll(/versions {10}.*/g, "versions          <versions>")
    .replaceAll(/server {12}(PostgreSQL|MySQL|MariaDB) .*/g, "server            $1 <version>")

describeWith("url-postgresql")("doctor: PostgreSQL", () => {
  it.live("a server that is well: its screen", () =>
    Effect.scoped(Effect.gen(function*() {
      const url = yield* freshDatabase("postgresql")
      const name = new URL(url).pathname.slice(1)
      yield* run(url, [
        `alter database ${name} set statement_timeout = '30s'`,
        `alter database ${name} set lock_timeout = '5s'`,
        `alter database ${name} set idle_in_transaction_session_timeout = '60s'`,
        // All that is looked at is read: this would refuse a write.
        `alter database ${name} set default_transaction_read_only = on`
      ])
      const ended = yield* cli(".", ["doctor", url])
      assert.strictEqual(
        masked(ended.stdout, url).replace(
          /! transactions.*\n.*\n/,
          "✓ transactions      none is old, and none waits\n"
        ),
        `✓ name              <host> is an address
✓ tcp               port <port> answers
! tls               the server offers none, and \`sslmode=prefer\` goes on without
                    → switch TLS on at the server, and say \`sslmode=verify-full\`
✓ login             the server lets this user in
✓ server            PostgreSQL <version>
✓ pooler            none: the server's own process answers
✓ latency           <n> ms for a round trip
✓ connections       <n> of <n> in use; 1 process with \`pool.max\` 10 may open 10
✓ statements        statement_timeout is 30s
✓ locks             lock_timeout is 5s
✓ idle transactions idle_in_transaction_session_timeout is 1min
✓ clock             the clocks are less than a second apart
✗ isolation         read committed, synchronous_commit on, fsync off
                    → switch fsync on: a crash of the machine loses the database
! role              transactions are read only
                    → \`default_transaction_read_only\` is on for this user or database
✓ keys              watertight_transaction is made when a transaction first has a key
✓ transactions      none is old, and none waits
✓ versions          <versions>

1 problem, 2 warnings
`
      )
      // The servers of tests do not wait for their disks.
      assert.strictEqual(ended.code, 1)
    })), 120_000)

  it.live(
    "each thing that is wrong → its line, with a remedy, and the exit code",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const url = yield* freshDatabase("postgresql")
        const name = new URL(url).pathname.slice(1)
        const role = `poor_${name}`
        yield* run(url, [
          `create role ${role} login connection limit 3`,
          `create table t (a int)`,
          `create index broken on t (a)`,
          `update pg_index set indisvalid = false where indexrelid = 'broken'::regclass`,
          `revoke create on schema public from public`
        ])
        yield* Effect.addFinalizer(() => Effect.orDie(run(url, [`drop role ${role}`])))
        const poor = new URL(url)
        poor.username = role
        const found = yield* doctor(poor.href, "--processes", "2")
        assert.strictEqual(found.code, 1)
        assert.include(of(found, "connections")!.found, "of 3 in use; 2 processes with `pool.max` 10 may open 20")
        assert.strictEqual(of(found, "connections")!.status, "problem")
        assert.include(of(found, "keys")!.found, "may not make watertight_transaction")
        assert.include(of(found, "indexes")!.found, "broken")
        assert.include(of(found, "statements")!.remedy, "statementTimeout")
        for (const line of found.checks) {
          assert.strictEqual(line.remedy === undefined, line.status === "ok" || line.status === "skipped", line.check)
        }
      })),
    120_000
  )

  it.live("several servers: the way to each, and what each of them is", () =>
    Effect.scoped(Effect.gen(function*() {
      const primary = yield* PostgresServer.make()
      const standby = yield* primary.standby()
      const at = [primary.port, standby.port, 1].map((port) => `127.0.0.1:${port}`)
      const found = yield* doctor(`postgres://postgres@${at.join()}/postgres`)
      assert.strictEqual(of(found, `tcp ${at[1]}`)!.status, "ok")
      assert.strictEqual(of(found, `tcp ${at[2]}`)!.status, "problem")
      assert.strictEqual(of(found, `node ${at[0]}`)!.found, "the primary")
      assert.match(of(found, `node ${at[1]}`)!.found, /^a replica, at most \d+ ms behind$/)
      assert.strictEqual(of(found, `node ${at[2]}`)!.status, "problem")
      assert.strictEqual(of(found, "login")!.status, "ok")
      assert.include(of(found, "role")!.found, "the primary, with 1 replica")
    })), 120_000)

  it.live("through a pooler, and with TLS of each kind", () =>
    Effect.scoped(Effect.gen(function*() {
      const server = yield* PostgresServer.make({ tls: true, settings: { max_connections: 8 } })
      const plain = yield* doctor(server.url)
      assert.strictEqual(of(plain, "tls")!.status, "warning")
      assert.match(of(plain, "tls")!.found, /^TLSv1\.3, not verified: `sslmode=prefer`, certificate good for \d+ days$/)
      assert.include(of(plain, "tls")!.remedy, "sslmode=verify-full")
      const verified = yield* doctor(`${server.url}?sslmode=verify-full&sslrootcert=${server.certificates!.ca}`)
      assert.strictEqual(of(verified, "tls")!.status, "ok", of(verified, "tls")!.found)
      const unknown = yield* doctor(`${server.url}?sslmode=verify-full`)
      assert.strictEqual(unknown.code, 9)
      assert.include(of(unknown, "tls")!.remedy, "sslrootcert")
      const full = yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.forEach(Array.from({ length: 8 }), () => hold(server.url), { concurrency: 8 })
        return yield* doctor(server.url)
      }))
      assert.strictEqual(full.code, 9)
      assert.include(of(full, "login")!.remedy, "lower `pool.max`")
    })), 180_000)
})

/** What people see of a server that is not well. */
const screens: ReadonlyArray<{
  readonly name: string
  readonly make: (server: PostgresServer.PostgresServer) => Effect.Effect<string, unknown, Scope.Scope>
  readonly code: number
  readonly screen: string
}> = [
  {
    name: "full",
    make: (server) =>
      Effect.gen(function*() {
        yield* run(server.url, ["create role app login"])
        const url = new URL(server.url)
        url.username = "app"
        yield* Effect.forEach(Array.from({ length: 9 }), () => hold(url.href))
        return url.href
      }),
    code: 9,
    screen: `✓ name              <host> is an address
✓ tcp               port <port> answers
! tls               the server offers none, and \`sslmode=prefer\` goes on without
                    → switch TLS on at the server, and say \`sslmode=verify-full\`
✗ login             <url>: the server refused the connection: <the server's words> (53300)
                    → somebody has all connections: lower \`pool.max\` of the programs, put a pooler in between, or raise \`max_connections\`
✓ versions          <versions>

1 problem, 1 warning
`
  },
  {
    name: "nearly full",
    make: (server) =>
      Effect.gen(function*() {
        yield* Effect.forEach(Array.from({ length: 10 }), () => hold(server.url))
        return server.url
      }),
    code: 1,
    screen: `✓ name              <host> is an address
✓ tcp               port <port> answers
! tls               the server offers none, and \`sslmode=prefer\` goes on without
                    → switch TLS on at the server, and say \`sslmode=verify-full\`
✓ login             the server lets this user in
✓ server            PostgreSQL <version>
✓ pooler            none: the server's own process answers
✓ latency           <n> ms for a round trip
✗ connections       <n> of <n> in use; 1 process with \`pool.max\` 10 may open 10
                    → nearly all are taken: look who has them, before the next program gets none
! statements        statement_timeout is off
                    → set \`statementTimeout\` of the layer, so that no statement runs for ever
! locks             lock_timeout is off
                    → set \`lockTimeout\` of the layer, so that nobody waits for ever
! idle transactions idle_in_transaction_session_timeout is off
                    → set \`idleInTransactionTimeout\` of the layer: a transaction that was forgotten keeps its locks
✓ clock             the clocks are less than a second apart
✗ isolation         read committed, synchronous_commit on, fsync off
                    → switch fsync on: a crash of the machine loses the database
✓ role              the primary, with 0 replicas
✓ keys              watertight_transaction is made when a transaction first has a key
✓ transactions      none is old, and none waits
✓ versions          <versions>

2 problems, 4 warnings
`
  },
  {
    name: "misconfigured",
    make: (server) =>
      Effect.gen(function*() {
        yield* run(server.url, [
          "create role app login connection limit 5",
          "create table t (a int)",
          "create index broken on t (a)",
          "update pg_index set indisvalid = false where indexrelid = 'broken'::regclass",
          "revoke create on schema public from public",
          "alter role app set default_transaction_isolation = 'serializable'",
          "alter role app set synchronous_commit = off"
        ])
        const url = new URL(server.url)
        url.username = "app"
        return url.href
      }),
    code: 1,
    screen: `✓ name              <host> is an address
✓ tcp               port <port> answers
! tls               the server offers none, and \`sslmode=prefer\` goes on without
                    → switch TLS on at the server, and say \`sslmode=verify-full\`
✓ login             the server lets this user in
✓ server            PostgreSQL <version>
✓ pooler            none: the server's own process answers
✓ latency           <n> ms for a round trip
✗ connections       <n> of <n> in use; 1 process with \`pool.max\` 10 may open 10
                    → lower \`pool.max\` to 5, put a pooler in between, or raise \`max_connections\`
! statements        statement_timeout is off
                    → set \`statementTimeout\` of the layer, so that no statement runs for ever
! locks             lock_timeout is off
                    → set \`lockTimeout\` of the layer, so that nobody waits for ever
! idle transactions idle_in_transaction_session_timeout is off
                    → set \`idleInTransactionTimeout\` of the layer: a transaction that was forgotten keeps its locks
✓ clock             the clocks are less than a second apart
✗ isolation         serializable, synchronous_commit off, fsync off
                    → switch fsync on: a crash of the machine loses the database
✓ role              the primary, with 0 replicas
! keys              the user may not make watertight_transaction in public
                    → let somebody who may run one transaction with a key, then grant select, insert, delete
✓ transactions      none is old, and none waits
✗ indexes           the server does not use broken
                    → a CREATE INDEX CONCURRENTLY has failed: drop it and build it again
✓ versions          <versions>

3 problems, 5 warnings
`
  },
  {
    name: "dead",
    make: (server) => Effect.as(server.kill, server.url),
    code: 9,
    screen: `✓ name              <host> is an address
✗ tcp               port <port> does not answer: <host>: refused
                    → nobody listens there: start the server, correct the port, or look at \`listen_addresses\` or \`bind-address\`
· tls               there is no way there
· login             there is no way there
✓ versions          <versions>

1 problem, 0 warnings
`
  }
]

describeWith("url-postgresql")("doctor: screens", () => {
  for (const { code, make, name, screen } of screens) {
    it.live(name, () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* PostgresServer.make({
          settings: { max_connections: 12, superuser_reserved_connections: 3 }
        })
        const url = yield* make(server)
        const ended = yield* cli(".", ["doctor", url])
        assert.strictEqual(masked(ended.stdout, url), screen)
        assert.strictEqual(ended.code, code)
      })), 180_000)
  }
})

/** A connection that stays open. */
const hold = (url: string) =>
  Effect.gen(function*() {
    const { Adapter } = yield* Effect.promise(() => import("watertight"))
    const { Postgres } = yield* Effect.promise(() => import("watertight/postgres"))
    const { Redacted } = yield* Effect.promise(() => import("effect"))
    const adapter: typeof Adapter.Adapter.Service = yield* Postgres.makeAdapter({ url: Redacted.make(url) })
    yield* Effect.acquireRelease(adapter.connect, (connection) => connection.close).pipe(Effect.ignore)
  })

describeWith("url-postgresql", "pgbouncer")("doctor: PgBouncer", () => {
  it.live("is seen", () =>
    Effect.scoped(Effect.gen(function*() {
      const url = yield* PgBouncer.make(sharedUrl("postgresql"), "transaction")
      const found = yield* doctor(url)
      assert.strictEqual(of(found, "pooler")!.status, "warning", JSON.stringify(found))
    })), 120_000)
})

for (const server of ["mariadb", "mysql"] as const) {
  describeWith(`url-${server}`)(`doctor: ${server}`, () => {
    it.live("a server that is well, and one that lets nobody in", () =>
      Effect.scoped(Effect.gen(function*() {
        const url = (yield* freshDatabase(server)).replace(/^\w+:/, `${server}:`)
        const name = new URL(url).pathname.slice(1)
        const well = yield* doctor(url)
        assert.strictEqual(well.problems, 0, well.stdout)
        assert.strictEqual(well.code, 0, well.stdout)
        assert.deepStrictEqual(well.checks.filter(({ status }) => status === "skipped"), [], well.stdout)
        assert.strictEqual(of(well, "pooler")!.status, "ok", well.stdout)
        assert.include(of(well, "keys")!.found, "is made when a transaction first has a key")
        const user = `poor_${name.slice(-6)}`
        yield* run(url, [
          `create user ${user} identified by 'secret' with max_user_connections 1`,
          `grant select on ${name}.* to ${user}`
        ])
        yield* Effect.addFinalizer(() => Effect.orDie(run(url, [`drop user ${user}`])))
        const poor = new URL(url)
        poor.username = user
        poor.password = "secret"
        const found = yield* doctor(poor.href)
        if (found.code !== 9) {
          assert.include(of(found, "connections")!.found, "of 1 in use")
          assert.strictEqual(of(found, "keys")!.status, "warning")
        }
        poor.password = "wrong"
        const wrong = yield* doctor(poor.href)
        assert.strictEqual(wrong.code, 9)
        assert.include(of(wrong, "login")!.remedy, "password is wrong")
        const nowhere = new URL(url)
        nowhere.pathname = "/nowhere"
        assert.include(of(yield* doctor(nowhere.href), "login")!.remedy, "there is no such database")
      })), 120_000)
  })
}

describe("doctor", () => {
  it.live("the way there is closed → where, and what to do; a password is never shown", () =>
    Effect.gen(function*() {
      const cases = [
        ["postgres://u:hunter2@nowhere.invalid/x", "name", "look for a typing error in the URL"],
        ["postgres://u:hunter2@127.0.0.1:1/x", "tcp", "nobody listens there"],
        ["mysql://u:hunter2@127.0.0.1:1/x", "tcp", "nobody listens there"],
        ["mariadb://u:hunter2@nowhere.invalid/x", "name", "look for a typing error in the URL"]
      ] as const
      for (const [url, check, remedy] of cases) {
        const found = yield* doctor(url)
        assert.strictEqual(found.code, 9)
        assert.strictEqual(of(found, check)!.status, "problem", url)
        assert.include(of(found, check)!.remedy, remedy)
        assert.strictEqual(of(found, "login")!.status, "skipped")
        assert.notInclude(found.stdout + found.stderr, "hunter2")
      }
      const wrong = yield* cli(".", ["doctor", "oracle://x"])
      assert.strictEqual(wrong.code, 2)
    }), 60_000)

  it.live("a wrong password, and a database that is not there", () =>
    Effect.scoped(Effect.gen(function*() {
      const server = yield* PostgresServer.make({ password: "right" })
      const url = new URL(server.url)
      url.password = "wrong"
      const wrong = yield* cli(".", ["doctor", url.href])
      assert.strictEqual(wrong.code, 9)
      assert.match(wrong.stdout, /✗ login {13}.*28P01.*\n {20}→ the password is wrong, or the user is unknown\n/)
      url.password = "right"
      url.pathname = "/nowhere"
      assert.include(of(yield* doctor(url.href), "login")!.remedy, "there is no such database")
    })), 120_000)
})

describeWith("mariadb")("doctor: replicas of MariaDB", () => {
  it.live("one that applies with a single thread is named", () =>
    Effect.scoped(Effect.gen(function*() {
      const threads = (count: number) =>
        Effect.gen(function*() {
          const { nodes } = yield* Replication.make("mariadb", { settings: { slave_parallel_threads: count } })
          const { password, user } = nodes[0]!
          const [, replica] = nodes.map(({ host, port }) => `${host}:${port}`)
          const url = `mariadb://${user}:${password}@${nodes.map(({ host, port }) => `${host}:${port}`).join()}/test`
          return [
            of(yield* doctor(url), `replication ${replica}`),
            of(yield* doctor(`mariadb://${user}:${password}@${replica}/test`), "replication")
          ]
        })
      for (const line of yield* threads(0)) {
        assert.strictEqual(line?.status, "warning")
        assert.include(line!.remedy, "slave_parallel_threads")
      }
      for (const line of yield* threads(4)) assert.strictEqual(line?.status, "ok")
    })), 120_000)
})
