/** Three nodes of a Galera cluster behind a balancer that knows nothing of them. */
import { assert, describe, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Outcome, Pool, Retry, Transaction } from "watertight"
import { GaleraCluster } from "../../support/index.ts"
import * as Ledger from "../../transaction/ledger/ledger.ts"
import { connector, one, onMariadb, run, serverError, sqlFailure } from "../support.ts"
import { cutOff, kill, place } from "./galera.ts"

class Cluster extends Context.Service<Cluster, GaleraCluster.GaleraCluster>()("Cluster") {
  static readonly layer = Layer.effect(Cluster, GaleraCluster.make())
}

/** Waits until all nodes have what was written before. */
const arrival = (nodes: ReadonlyArray<GaleraCluster.Node>, table: string) =>
  Effect.forEach(
    nodes,
    (node) => node.query(`set statement wsrep_sync_wait = 1 for select * from ${table}`, [], "test")
  )

layer(Cluster.layer, { excludeTestServices: true, timeout: 240_000 })((it) => {
  describe.each(onMariadb)("a Galera cluster over $name", (subject) => {
    it.effect("repeats the whole transaction where another node was ahead of its COMMIT", () =>
      Effect.gen(function*() {
        const { nodes } = yield* Cluster
        const name = `conflict_${subject.key}`
        yield* nodes[0]!.query(`create table ${name} (id int primary key, n int)`, [], "test")
        yield* nodes[0]!.query(`insert into ${name} values (1, 0)`, [], "test")
        yield* arrival(nodes, name)
        const there = yield* connector(subject, { url: Redacted.make(nodes[1]!.url) })

        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          let attempts = 0
          const add = Effect.gen(function*() {
            const [row] = yield* sql<{ n: number }>`select n from ${sql(name)} where id = 1`
            yield* sql`update ${sql(name)} set n = ${row!.n + 1} where id = 1`
            // Another node commits first, and here nobody hears of it before COMMIT.
            if (attempts++ === 0) {
              yield* Effect.scoped(Effect.flatMap(there, (session) => run(session, `update ${name} set n = n + 10`)))
            }
          })
          const alone = yield* sqlFailure(Transaction.run(add, { retry: Retry.never }))
          assert.strictEqual(serverError(alone).errno, 1213)
          assert.deepInclude(Outcome.of(alone), { outcome: "NotApplied", scope: "Transaction" })

          attempts = 0
          yield* Transaction.run(add, {})
          assert.strictEqual(attempts, 2)
          assert.deepStrictEqual(yield* sql`select n from ${sql(name)}`, [{ n: 21 }])
        }).pipe(Effect.provide(subject.module.layer({ url: Redacted.make(nodes[0]!.url) })))
      }), 120_000)
  })

  describe("a node that was cut off", () => {
    it.effect("is left for another one", () =>
      Effect.gen(function*() {
        const { nodes, url } = yield* Cluster
        const [first, , third] = nodes as [GaleraCluster.Node, GaleraCluster.Node, GaleraCluster.Node]
        yield* first.query("create table entry (n int primary key, name varchar(10))", [], "test")
        yield* arrival(nodes, "entry")
        const sessions = yield* Effect.forEach(onMariadb, (subject) =>
          Effect.gen(function*() {
            const connect = yield* connector(subject, { url: Redacted.make(third.url) })
            const session = yield* connect
            const { ruleOf } = yield* subject.module.makeAdapter({ url: Redacted.make(third.url) })
            yield* session.begin({})
            yield* run(session, "insert into entry values (?, 'ghost')", [onMariadb.indexOf(subject)])
            return { connect, session, idle: yield* connect, ruleOf }
          }))
        const clients = yield* Effect.forEach(onMariadb, (subject) =>
          Effect.map(
            Layer.build(subject.module.layer({ url: Redacted.make(url), pool: { max: 6, validateAfter: "1 minute" } })),
            (context) => ({ sql: Context.get(context, SqlClient.SqlClient), pool: Context.get(context, Pool.Pool) })
          ))
        const all = (sql: SqlClient.SqlClient, from: number, count: number) =>
          Effect.all(
            Array.from({ length: count }, (_, n) =>
              sql.withTransaction(
                Effect.andThen(sql`do sleep(0.05)`, sql`insert into entry values (${from + n}, 'new')`)
              )),
            { concurrency: "unbounded" }
          )
        // Connections to all three.
        for (const [index, { sql }] of clients.entries()) yield* all(sql, 100 * (index + 1), 6)

        yield* third.cutOff
        for (const { connect, idle, ruleOf, session } of sessions) {
          // It lets everybody in and answers, but it does nothing: what was begun comes to nothing.
          assert.strictEqual(yield* one(session, "select 1"), 1)
          const error = yield* sqlFailure(session.commit)
          assert.strictEqual(serverError(error).errno, 1047)
          Outcome.attach(error, "Commit", ruleOf)
          assert.deepInclude(Outcome.of(error), { outcome: "NotApplied", scope: "TransactionOnNewConnection" })
          yield* idle.ping
          yield* sqlFailure(idle.verify)
          // A reset that is refused is no reset, whatever a driver makes of it.
          yield* run(idle, "set @a = 1")
          yield* sqlFailure(idle.reset)
          assert.isTrue(idle.isClosed)
          const refused = yield* sqlFailure(Effect.scoped(connect))
          assert.isTrue(refused.reason.isRetryable)
          assert.strictEqual(serverError(refused).errno, 1047)
        }
        for (const [index, { pool, sql }] of clients.entries()) {
          const insert = (n: number) => sql`insert into entry values (${1_000 * (index + 1) + n}, 'moved')`
          yield* Effect.all(Array.from({ length: 24 }, (_, n) => insert(n)), { concurrency: "unbounded" })
          assert.isAbove((yield* pool.stats).closed.Retired, 0)
        }
        yield* third.rejoin
        const counted = yield* first.query(
          "set statement wsrep_sync_wait = 1 for select name, count(*) as n from entry group by name order by name",
          [],
          "test"
        )
        assert.deepStrictEqual(counted.map(({ n, name }) => [name, Number(n)]), [["moved", 48], ["new", 12]])
      }), 120_000)
  })

  // The last one of the file: a node is missing after it.
  describe("the ledger of a Galera cluster", () => {
    const subject = onMariadb[1]!

    it.effect("is wrong when a client repeats what is unknown", () =>
      Effect.gen(function*() {
        const report = yield* Ledger.run({
          place: place(yield* Cluster, subject, []),
          client: Ledger.naive,
          seconds: 2,
          seed: 44,
          commitCuts: 0.2
        })
        assert.isNotEmpty(report.doubled, Ledger.describe(report))
      }), 120_000)

    it.effect("is right while one node is cut off and another one killed", () =>
      Effect.gen(function*() {
        const report = yield* Ledger.run({
          place: place(yield* Cluster, subject, [cutOff, kill]),
          client: Ledger.modes["each operation has an idempotency key"],
          seconds: 6,
          seed: 45,
          killEvery: 0.5
        })
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        assert.isAbove(report.succeeded, 20, Ledger.describe(report))
        assert.isAtLeast(report.kills, 2)
        assert.strictEqual(report.unknown, 0, Ledger.describe(report))
      }), 120_000)
  })
})
