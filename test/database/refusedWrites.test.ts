/**
 * A session that ends while a statement is being written: the kernel refuses the write, and the last word of the server
 * may lie unread in its buffer. What the kernel has not taken was not sent, whatever ended the session; what it has taken
 * is judged by what the server has said.
 *
 * Everything happens between two turns of the event loop, so nothing is left to chance: the server's side of the
 * connection speaks and closes, and the statements are written before anything can be read.
 */
import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { SqlClient, type SqlConnection } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import * as net from "node:net"
import { Outcome, Retry, Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import { describeWith, freshDatabase, type SharedServer } from "../support/index.ts"

type Services = SqlClient.SqlClient | Transaction.Manager

/** A proxy whose side of the client's connection can be spoken through and closed at once. */
interface Line {
  readonly url: string
  /** The server says `word`, and closes. Nothing that comes afterwards is read. */
  readonly end: (word: Buffer | undefined, closing: Closing) => void
}

const closings = ["closes", "resets"] as const
type Closing = typeof closings[number]

const line = (target: string): Effect.Effect<Line, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Line & { readonly stop: () => void }>((resume) => {
        const to = new URL(target)
        const clients = new Set<net.Socket>()
        const upstreams = new Set<net.Socket>()
        const server = net.createServer((client) => {
          const upstream = net.connect(Number(to.port), to.hostname)
          clients.add(client)
          upstreams.add(upstream)
          client.on("error", () => {}).on("close", () => clients.delete(client))
          upstream.on("error", () => {}).on("close", () => upstreams.delete(upstream))
          client.pipe(upstream)
          upstream.pipe(client)
        })
        server.listen(0, "127.0.0.1", () => {
          const url = new URL(target)
          url.port = String((server.address() as net.AddressInfo).port)
          resume(Effect.succeed({
            url: url.href,
            end: (word, closing) => {
              for (const upstream of upstreams) upstream.unpipe()
              for (const client of clients) {
                client.unpipe()
                if (word !== undefined) client.write(word)
                if (closing === "closes") client.destroy()
                else client.resetAndDestroy()
              }
            },
            stop: () => {
              server.close()
              for (const socket of [...clients, ...upstreams]) socket.destroy()
            }
          }))
        })
      }),
      ({ stop }) => Effect.sync(stop)
    ),
    ({ end, url }): Line => ({ end, url })
  )

const postgresGoodbye = (() => {
  const fields = Buffer.from(
    "SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0RProcessInterrupts\0\0"
  )
  const head = Buffer.alloc(5)
  head.write("E")
  head.writeInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
})()

const mysqlGoodbye = (() => {
  const body = Buffer.concat([Buffer.from([0xff, 0xbf, 0x0f]), Buffer.from("#HY000disconnected because of inactivity")])
  return Buffer.concat([Buffer.from([body.length, 0, 0, 0]), body])
})()

interface Database {
  readonly server: SharedServer
  readonly layer: (url: string) => Layer.Layer<Services, unknown>
  /** Nobody can put in a word where the connection is encrypted. */
  readonly goodbye: Buffer | undefined
}

const options = { retry: Retry.never, breaker: false, pool: { max: 1 } } as const

const plain = { ...options, sslmode: "disable", allowPublicKeyRetrieval: true } as const
const encrypted = { ...options, sslmode: "require" } as const

const databases: { readonly [name: string]: Database } = {
  PostgreSQL: {
    server: "postgresql",
    layer: (url) => Postgres.layer({ url: Redacted.make(url), ...options }),
    goodbye: postgresGoodbye
  },
  "mariadb on MariaDB": {
    server: "mariadb",
    layer: (url) => Mariadb.layer({ url: Redacted.make(url), ...plain }),
    goodbye: mysqlGoodbye
  },
  "mysql2 on MariaDB": {
    server: "mariadb",
    layer: (url) => Mysql.layer({ url: Redacted.make(url), ...plain }),
    goodbye: mysqlGoodbye
  },
  "mysql2 on MySQL": {
    server: "mysql",
    layer: (url) => Mysql.layer({ url: Redacted.make(url), ...plain }),
    goodbye: mysqlGoodbye
  },
  "mysql2 on MySQL, encrypted": {
    server: "mysql",
    layer: (url) => Mysql.layer({ url: Redacted.make(url), ...encrypted }),
    goodbye: undefined
  },
  "mariadb on MySQL, encrypted": {
    server: "mysql",
    layer: (url) => Mariadb.layer({ url: Redacted.make(url), ...encrypted }),
    goodbye: undefined
  }
}

const statements: { readonly [kind: string]: (connection: SqlConnection.Connection) => Statement } = {
  "prepared statements": (connection) => connection.execute("select 1", [], undefined),
  "texts": (connection) => connection.executeUnprepared("select 2", [], undefined)
}
type Statement = Effect.Effect<unknown, SqlError>

/** The kernel needs a moment to hear of it; the event loop must not come by. */
const moment = Effect.map(Clock.currentTimeMillis, () => {
  const until = performance.now() + 10
  while (performance.now() < until);
})

/** What becomes of statements whose callers go on in the same turn of the event loop. */
const inOneTurn = (statement: Statement) =>
  Effect.gen(function*() {
    const caller = Effect.match(statement, {
      onSuccess: () => "done",
      onFailure: (error) => Outcome.of(error)?.outcome ?? `no outcome: ${error.message}`
    })
    const fibers: Array<Fiber.Fiber<string>> = []
    // One alone, two that are written together, and one that joins while the failure is being looked into.
    for (const together of [1, 2, 1]) {
      for (let index = 0; index < together; index++) {
        fibers.push(yield* Effect.forkChild(caller, { startImmediately: true }))
      }
      yield* Effect.promise(() => Promise.resolve())
      yield* moment
    }
    return yield* Effect.forEach(fibers, Fiber.join)
  })

const opened = (database: Database) =>
  Effect.gen(function*() {
    const between = yield* line(yield* freshDatabase(database.server))
    const services = yield* Layer.build(Layer.fresh(Layer.provideMerge(database.layer(between.url), Logger.layer([]))))
    return { between, services }
  })

/** A session on which everything has been described and prepared. */
const session = (services: Context.Context<Services>) =>
  Effect.tap(
    Context.get(services, SqlClient.SqlClient).reserve,
    (connection) =>
      Effect.forEach(Object.values(statements), (statement) => Effect.replicateEffect(statement(connection), 3))
  )

for (const [name, database] of Object.entries(databases)) {
  describeWith(`url-${database.server}`)(`${name} ends a session in the middle of writes`, () => {
    for (const closing of closings) {
      for (const saysGoodbye of database.goodbye === undefined ? [false] : [true, false]) {
        const title = `${saysGoodbye ? "says why, and " : ""}${closing}`
        const end = ({ between }: { readonly between: Line }) =>
          Effect.sync(() => between.end(saysGoodbye ? database.goodbye : undefined, closing))

        for (const [kind, statement] of Object.entries(statements)) {
          it.live(`${title}: ${kind} that were not taken were not sent`, () =>
            Effect.gen(function*() {
              const setting = yield* opened(database)
              const connection = yield* session(setting.services)
              yield* end(setting)
              const [first, ...others] = yield* inOneTurn(statement(connection))
              // A closed connection still takes one write, before it hears that nobody reads any more.
              assert.strictEqual(first, closing === "resets" || saysGoodbye ? "NotSent" : "Unknown")
              assert.deepStrictEqual(others, ["NotSent", "NotSent", "NotSent"])
            }))
        }

        it.live(`${title}: COMMIT that was not taken has not been applied`, () =>
          Effect.gen(function*() {
            const setting = yield* opened(database)
            const body = Effect.gen(function*() {
              const sql = yield* SqlClient.SqlClient
              yield* sql`select 1`
              yield* end(setting)
              if (closing === "resets") return
              // It is taken, and makes the kernel refuse the next one.
              yield* Effect.forkChild(Effect.ignore(sql`select 2`.unprepared), { startImmediately: true })
              yield* Effect.promise(() => Promise.resolve())
              yield* moment
            })
            const error = yield* Effect.flip(Transaction.run(body, { resolve: "never" })).pipe(
              Effect.provideContext(setting.services)
            )
            assert.strictEqual(Outcome.of(error)?.outcome, "NotApplied", error.message)
          }))
      }
    }
  })
}
