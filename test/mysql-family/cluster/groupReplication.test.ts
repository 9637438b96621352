/** Three members of a group of MySQL servers behind a balancer that knows nothing of them. */
import { assert, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Outcome, Retry, Transaction } from "watertight"
import { describeWith, GroupReplication } from "../../support/index.ts"
import * as Ledger from "../../transaction/ledger/ledger.ts"
import {
  connector,
  eventually,
  layerOfLedger,
  run,
  serverError,
  sqlFailure,
  type Subject,
  subjects
} from "../support.ts"

class Group extends Context.Service<Group, GroupReplication.GroupReplication>()("Group") {}

const onMysql = subjects.filter(({ server }) => server.name === "MySQL")

/** A group as a place for the ledger. It is asked at a member that takes writes and has seen all. */
const place = (
  group: GroupReplication.GroupReplication,
  subject: Subject,
  strike: Ledger.Server["strike"]
): Ledger.Place => {
  const query = (statement: string) => Effect.flatMap(group.primary, (member) => member.query(statement, [], "test"))
  return {
    server: Effect.as(Effect.andThen(query("drop table if exists account"), query("drop table if exists ledger")), {
      url: group.url,
      query,
      strike
    }),
    layer: layerOfLedger(subject)
  }
}

/** Waits until a member has what was written elsewhere. */
const arrived = (member: GroupReplication.Member, table: string, n: number) =>
  eventually(
    Effect.map(
      Effect.orElseSucceed(member.query(`select n from ${table}`, [], "test"), () => []),
      ([row]) => row !== undefined && Number(row["n"]) === n
    )
  )

/** What conflicts with another member is found at COMMIT; a group with several primaries has no `serializable`. */
const client: Ledger.Client = (operation, body) => Transaction.run(body, { idempotencyKey: operation })

describeWith("group-replication")("a group with several primaries, on MySQL", () => {
  layer(Layer.effect(Group, GroupReplication.make({ multiPrimary: true })), {
    excludeTestServices: true,
    timeout: 180_000
  })((it) => {
    for (const subject of onMysql) {
      it.effect(
        `over ${subject.name}: a conflict is found at COMMIT, and the whole transaction is repeated`,
        () =>
          Effect.gen(function*() {
            const { members } = yield* Group
            const name = `conflict_${subject.key}`
            yield* members[0]!.query(`create table ${name} (id int primary key, n int)`, [], "test")
            yield* members[0]!.query(`insert into ${name} values (1, 0)`, [], "test")
            yield* arrived(members[1]!, name, 0)
            const there = yield* connector(subject, { url: Redacted.make(members[1]!.url) })
            yield* Effect.gen(function*() {
              const sql = yield* SqlClient.SqlClient
              let attempts = 0
              const add = Effect.gen(function*() {
                if (attempts > 0) yield* arrived(members[0]!, name, 20)
                const [row] = yield* sql<{ n: number }>`select n from ${sql(name)} where id = 1`
                yield* sql`update ${sql(name)} set n = ${row!.n + 1} where id = 1`
                // Another member commits first, and here nobody hears of it before COMMIT.
                if (attempts++ > 0) return
                yield* Effect.scoped(Effect.flatMap(there, (session) => run(session, `update ${name} set n = n + 10`)))
              })
              const alone = yield* sqlFailure(Transaction.run(add, { retry: Retry.never }))
              // By the group, or by the engine, which has made room for what came from the other member.
              assert.include([3101, 1180], serverError(alone).errno)
              assert.strictEqual(alone.reason._tag, "SerializationError")
              assert.deepInclude(Outcome.of(alone), { outcome: "NotApplied", scope: "Transaction" })
              yield* arrived(members[0]!, name, 10)

              attempts = 0
              yield* Transaction.run(add, {})
              assert.strictEqual(attempts, 2)
            }).pipe(Effect.provide(subject.module.layer({ url: Redacted.make(members[0]!.url) })))
            for (const member of members) yield* arrived(member, name, 21)
          }),
        60_000
      )
    }

    it.effect("the ledger is right while a member is expelled and comes back", () =>
      Effect.gen(function*() {
        const group = yield* Group
        // Who asks there sees what was committed before anywhere.
        for (const member of group.members) yield* member.query("set global group_replication_consistency = 'BEFORE'")
        const last = group.members[2]!
        const report = yield* Ledger.run({
          place: place(group, onMysql[0]!, () => Effect.andThen(last.expel, last.rejoin)),
          client,
          locking: "for update",
          seconds: 8,
          seed: 46,
          killEvery: 2
        })
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        assert.isAbove(report.succeeded, 20, Ledger.describe(report))
        assert.isAtLeast(report.kills, 1)
        assert.strictEqual(report.unknown, 0, Ledger.describe(report))
      }), 180_000)
  })
})

describeWith("group-replication")("a group with one primary, on MySQL", () => {
  it.live(
    "the ledger is right while the primary is killed and another member takes its place",
    () =>
      Effect.gen(function*() {
        const group = yield* GroupReplication.make()
        const report = yield* Ledger.run({
          place: place(group, onMysql[1]!, () =>
            Effect.gen(function*() {
              const primary = yield* group.primary
              yield* primary.kill
              yield* group.primary
              yield* primary.rejoin
            })),
          client: Ledger.modes["each operation has an idempotency key"],
          seconds: 8,
          seed: 47,
          killEvery: 2
        })
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        assert.isAbove(report.succeeded, 20, Ledger.describe(report))
        assert.isAtLeast(report.kills, 1)
        assert.strictEqual(report.unknown, 0, Ledger.describe(report))
      }).pipe(Effect.scoped),
    240_000
  )
})
