/**
 * The ledger of `test/transactions`, on MariaDB: workers move money while the network and the server fail under them,
 * and afterwards the books are compared with what the workers were told.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Outcome } from "watertight"
import { FaultProxy, MariadbServer, seed as makeSeed } from "../support/index.ts"
import * as Ledger from "../transactions/ledger.ts"
import { type Subject, subjects } from "./support.ts"

const accounts = 40
const workers = 8

const run = Effect.fnUntraced(function*(subject: Subject, client: Ledger.Client, seconds: number, seedOf: number) {
  const seed = makeSeed(seedOf)
  const server = yield* MariadbServer.make()
  yield* server.query("create table account (id int primary key, cents int not null) engine = innodb", [], "test")
  yield* server.query(`insert into account select seq, 1000 from seq_1_to_${accounts}`, [], "test")
  yield* server.query("create table ledger (operation varchar(40) not null) engine = innodb", [], "test")
  const proxy = yield* FaultProxy.make(server.url)
  const told = new Map<string, "succeeded" | "failed" | "unknown">()
  const unjudged: Array<unknown> = []

  const transfer = Effect.fnUntraced(function*(operation: string, from: number, to: number, cents: number) {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<{ id: number; cents: number }>`select id, cents from account where id in (${from}, ${to})`
    const balance = new Map(rows.map((row) => [row.id, row.cents]))
    yield* sql`insert into ledger (operation) values (${operation})`
    yield* sql`update account set cents = ${balance.get(from)! - cents} where id = ${from}`
    yield* sql`update account set cents = ${balance.get(to)! + cents} where id = ${to}`
  })

  let stopped = false
  const worker = Effect.fnUntraced(function*(name: number) {
    const random = seed.fork()
    for (let n = 0; !stopped; n++) {
      const operation = `${name}/${n}`
      const from = random.int(1, accounts)
      const to = 1 + (from + random.int(0, accounts - 2)) % accounts
      const exit = yield* Effect.exit(client(operation, transfer(operation, from, to, random.int(1, 100))))
      if (Exit.isSuccess(exit)) {
        told.set(operation, "succeeded")
        continue
      }
      const error = exit.cause.reasons[0]?._tag === "Fail" ? exit.cause.reasons[0].error : exit.cause
      const verdict = Outcome.of(error)
      if (verdict === undefined) unjudged.push(error)
      told.set(operation, verdict?.outcome === "NotSent" || verdict?.outcome === "NotApplied" ? "failed" : "unknown")
    }
  })

  const unrest = Effect.gen(function*() {
    const end = (yield* Clock.currentTimeMillis) + seconds * 1000
    while ((yield* Clock.currentTimeMillis) < end) {
      yield* Effect.sleep(1_500)
      yield* server.kill
      yield* Effect.sleep(seed.int(0, 200))
      yield* server.start
    }
    stopped = true
    yield* proxy.heal
  })

  yield* proxy.randomCuts({ seed: seed.int(0, 1e9), probability: 0.005 })
  const chance = seed.fork()
  for (const fault of ["before", "after"] as const) {
    yield* proxy.when((chunk) => chunk.includes("COMMIT") && chance.chance(0.03), fault, { times: Infinity })
  }
  yield* Effect.all([unrest, ...Array.from({ length: workers }, (_, name) => worker(name))], {
    concurrency: "unbounded",
    discard: true
  }).pipe(Effect.provide(subject.module.layer({
    url: Redacted.make(proxy.url),
    controlTimeout: "2 seconds",
    connectTimeout: "2 seconds",
    pool: { max: workers, startup: "lazy" }
  })))

  const booked = new Map<string, number>()
  for (const { operation } of yield* server.query("select operation from ledger", [], "test")) {
    booked.set(operation as string, (booked.get(operation as string) ?? 0) + 1)
  }
  const sum = Number((yield* server.query("select sum(cents) as sum from account", [], "test"))[0]!["sum"])
  const where = (what: string, count: (n: number) => boolean) =>
    [...told].filter(([operation, said]) => said === what && count(booked.get(operation) ?? 0)).map(([id]) => id)
  return {
    operations: told.size,
    succeeded: where("succeeded", () => true).length,
    unknown: where("unknown", () => true).length,
    unknownApplied: where("unknown", (n) => n > 0).length,
    cuts: proxy.events().filter((event) => event.type === "fault").length,
    doubled: [...booked].filter(([, n]) => n > 1).map(([id]) => id),
    lost: where("succeeded", (n) => n === 0),
    ghosts: where("failed", (n) => n > 0),
    unjudged,
    sum
  }
})

describe.each(subjects)("the ledger over $name", (subject) => {
  for (const mode of ["COMMIT is never resolved", "each operation has an idempotency key"] as const) {
    it.live(`is right when ${mode}`, () =>
      Effect.gen(function*() {
        const report = yield* run(subject, Ledger.modes[mode], 5, 42)
        const text = JSON.stringify(report, null, 1)
        assert.isAbove(report.succeeded, 20, text)
        assert.isAbove(report.cuts, 5, text)
        assert.deepStrictEqual(report.doubled, [], text)
        assert.deepStrictEqual(report.lost, [], text)
        assert.deepStrictEqual(report.ghosts, [], text)
        assert.deepStrictEqual(report.unjudged, [], text)
        assert.strictEqual(report.sum, accounts * 1000, text)
        if (mode !== "COMMIT is never resolved") assert.strictEqual(report.unknown, 0, text)
      }), 120_000)
  }

  it.live("catches a client that repeats what is unknown", () =>
    Effect.gen(function*() {
      const report = yield* run(subject, Ledger.naive, 5, 43)
      assert.isAbove(report.doubled.length, 0, JSON.stringify(report))
    }), 120_000)
})
