/**
 * The ledger: workers move money while the network and the server fail under them, and afterwards the books are
 * compared with what the workers were told.
 *
 * Each operation also writes its own id to a table without a unique key. The sum of all accounts would not notice an
 * operation that was done twice; the table does.
 */
import { Clock, Effect, Exit, Layer, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import type { Statement } from "effect/sql/Statement"
import { Batch, Outcome, type Pool, Retry, Transaction } from "watertight"
import { FaultProxy, PostgresServer, type Seed, seed as makeSeed, type ServerError } from "../../support/index.ts"
import { layerAt } from "../support.ts"

/** How an operation is run. It fails or succeeds, and its failure is judged by `Outcome`. */
export type Client = (
  operation: string,
  body: Effect.Effect<void, SqlError, SqlClient.SqlClient>,
  /** The same as statements that are known beforehand. */
  statements: (sql: SqlClient.SqlClient) => ReadonlyArray<Statement<any>>
) => Effect.Effect<void, unknown, SqlClient.SqlClient | Transaction.Manager>

/** Where the books are kept. */
export interface Place {
  /** A server, or several as one, without the tables of the ledger. */
  readonly server: Effect.Effect<Server, ServerError, Scope.Scope>
  readonly layer: (
    url: string,
    pool: Pool.Options
  ) => Layer.Layer<SqlClient.SqlClient | Transaction.Manager, unknown>
}

export interface Server {
  readonly url: string
  /** What clients that use `url` come through. Where there is nothing, a proxy is put before the server. */
  readonly proxies?: ReadonlyArray<FaultProxy.FaultProxy> | undefined
  /** Asks past the proxy, and sees everything that was committed before. */
  readonly query: (
    statement: string
  ) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, ServerError>
  /** One blow of fate. When it returns the books can be kept again. */
  readonly strike: (seed: Seed) => Effect.Effect<void, ServerError>
}

/** A server that can be killed. */
export const killable = (
  server: Pick<PostgresServer.PostgresServer, "kill" | "start"> & Pick<Server, "url" | "query">
): Server => ({
  url: server.url,
  query: (statement) => server.query(statement),
  strike: (seed) =>
    server.kill.pipe(
      Effect.andThen(Effect.suspend(() => Effect.sleep(seed.int(0, 200)))),
      Effect.andThen(server.start)
    )
})

export const postgres: Place = {
  // Nobody shall wait a second for each deadlock.
  server: Effect.map(PostgresServer.make({ settings: { deadlock_timeout: "20ms" } }), killable),
  layer: (url, pool) => layerAt(url, { pool })
}

export interface Options {
  readonly place: Place
  readonly client: Client
  readonly seconds: number
  readonly seed: number
  /** How balances are read for a transaction that is not serializable: `for update`. */
  readonly locking?: "for update" | undefined
  readonly workers?: number | undefined
  /** The chance that a chunk on the wire ends its connection. */
  readonly cuts?: number | undefined
  /** The chance that a COMMIT is cut off, and the same again that its answer is. */
  readonly commitCuts?: number | undefined
  /** How long the server is left alone between two blows, in seconds. */
  readonly killEvery?: number | undefined
}

export interface Report {
  readonly seed: number
  readonly operations: number
  readonly succeeded: number
  readonly failed: number
  readonly unknown: number
  /** How many of the unknown ones are in the books. */
  readonly unknownApplied: number
  readonly workers: number
  readonly cuts: number
  readonly kills: number
  /** Why operations failed or are unknown, and how often. */
  readonly reasons: Readonly<Record<string, number>>
  /** Operations that are in the books more than once. */
  readonly doubled: ReadonlyArray<string>
  /** Operations that succeeded and are not in the books. */
  readonly lost: ReadonlyArray<string>
  /** Operations that failed and are in the books. */
  readonly ghosts: ReadonlyArray<string>
  /** Failures that do not say what they mean. */
  readonly unjudged: ReadonlyArray<unknown>
  readonly sum: number
  readonly expectedSum: number
}

/** Whether the books are right. */
export const isRight = (report: Report): boolean =>
  report.doubled.length === 0 && report.lost.length === 0 && report.ghosts.length === 0 &&
  report.unjudged.length === 0 && report.sum === report.expectedSum

/** What to say when they are not. */
export const describe = (report: Report): string => JSON.stringify(report, null, 1)

const spec = (spec: Transaction.Spec): Client => (_, body) =>
  Transaction.run(body, { isolation: "serializable", ...spec })

/** Each way to deal with a COMMIT without answer. */
export const modes = {
  "COMMIT is never resolved": spec({ resolve: "never" }),
  "COMMIT is resolved where it is free": spec({ resolve: "free" }),
  "COMMIT is always resolved": spec({ resolve: "always" }),
  "each operation has an idempotency key": (operation, body) =>
    spec({ idempotencyKey: operation })(operation, body, () => [])
} satisfies Record<string, Client>

const batch = (spec: Transaction.Spec): Client => (_, __, statements) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Batch.run(statements(sql), spec))

/** The same where an operation is one batch, with COMMIT behind its statements. */
export const batches = {
  "COMMIT is not looked into": batch({ resolve: "never" }),
  "COMMIT travels with the statements": batch({}),
  "COMMIT travels with the statements of a serializable batch": batch({ isolation: "serializable" }),
  "COMMIT waits until it can be resolved": batch({ resolve: "always" }),
  "each batch has an idempotency key": (operation, body, statements) =>
    batch({ idempotencyKey: operation })(operation, body, statements)
} satisfies Record<string, Client>

/**
 * How many may stay unknown at most. A server that comes back knows every key; of what it committed just before it was
 * killed, at most one transaction of each worker, it cannot tell whose it was.
 */
export const mayStayUnknown = (mode: string, report: Report): number =>
  mode === "COMMIT is never resolved"
    ? Infinity
    : mode === "each operation has an idempotency key"
    ? 0
    : report.kills * report.workers

/** Repeats whatever lost its connection, as most programs do. */
export const naive: Client = (_, body) =>
  Effect.retry(Transaction.run(body, { isolation: "serializable", resolve: "never", retry: Retry.never }), {
    times: 20,
    while: (error) => Outcome.isUnknown(error) || error.isRetryable
  })

const accounts = 40

export const run = Effect.fnUntraced(function*(options: Options) {
  const { client, commitCuts = 0.03, cuts = 0.005, killEvery = 1.2, seconds, workers = 8 } = options
  const seed = makeSeed(options.seed)
  const server = yield* options.place.server
  yield* server.query("create table account (id int primary key, cents int not null)")
  yield* server.query(
    `insert into account values ${Array.from({ length: accounts }, (_, i) => `(${i + 1}, 1000)`).join()}`
  )
  yield* server.query("create table ledger (operation varchar(40) not null)")
  const own = server.proxies === undefined ? yield* FaultProxy.make(server.url) : undefined
  const proxies = server.proxies ?? [own!]
  const told = new Map<string, "succeeded" | "failed" | "unknown">()
  const unjudged: Array<unknown> = []
  const reasons: Record<string, number> = {}

  const transfer = Effect.fnUntraced(function*(operation: string, from: number, to: number, cents: number) {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<{ id: number; cents: number }>`select id, cents from account where id in (${from}, ${to}) ${
      sql.literal(options.locking ?? "")
    }`
    const balance = new Map(rows.map((row) => [row.id, row.cents]))
    yield* sql`insert into ledger (operation) values (${operation})`
    yield* sql`update account set cents = ${balance.get(from)! - cents} where id = ${from}`
    yield* sql`update account set cents = ${balance.get(to)! + cents} where id = ${to}`
  })

  const statements = (operation: string, from: number, to: number, cents: number) => (sql: SqlClient.SqlClient) => {
    const change = (id: number, by: number) => sql`update account set cents = cents + ${by} where id = ${id}`
    // In one order, because opposing transfers would deadlock in the same server process each time.
    const changes = from < to ? [change(from, -cents), change(to, cents)] : [change(to, cents), change(from, -cents)]
    return [sql`insert into ledger (operation) values (${operation})`, ...changes]
  }

  let stopped = false
  const worker = Effect.fnUntraced(function*(name: number) {
    const random = seed.fork()
    for (let n = 0; !stopped; n++) {
      const operation = `${name}/${n}`
      const from = random.int(1, accounts)
      const to = 1 + (from + random.int(0, accounts - 2)) % accounts
      const cents = random.int(1, 100)
      const exit = yield* Effect.exit(
        client(operation, transfer(operation, from, to, cents), statements(operation, from, to, cents))
      )
      if (Exit.isSuccess(exit)) {
        told.set(operation, "succeeded")
        continue
      }
      const error = exit.cause.reasons[0]?._tag === "Fail" ? exit.cause.reasons[0].error : exit.cause
      const verdict = Outcome.of(error)
      if (verdict === undefined) unjudged.push(error)
      const reason = `${verdict?.outcome} in ${verdict?.phase}: ${verdict?.about ?? "lost"}, ` +
        `${Retry.attempts(error).length} attempts`
      reasons[reason] = (reasons[reason] ?? 0) + 1
      told.set(
        operation,
        verdict?.outcome === "NotSent" || verdict?.outcome === "NotApplied"
          ? "failed"
          : verdict?.outcome === "Applied"
          ? "succeeded"
          : "unknown"
      )
    }
  })

  let kills = 0
  const isCut = cuts > 0 || commitCuts > 0
  const hasEnough = () =>
    [...told.values()].filter((said) => said === "succeeded").length > 25 && (!isCut || cutsSeen() > 8)
  const cutsSeen = () => proxies.flatMap((proxy) => proxy.events()).filter((event) => event.type === "fault").length
  const unrest = Effect.gen(function*() {
    const begin = yield* Clock.currentTimeMillis
    const end = begin + seconds * 1000
    // On a machine with much to do it takes longer until there is something to be wrong about.
    const isLongEnough = Effect.map(
      Clock.currentTimeMillis,
      (now) => now >= end && (hasEnough() || now >= begin + 10 * seconds * 1000)
    )
    while (!(yield* isLongEnough)) {
      const left = end - (yield* Clock.currentTimeMillis)
      yield* Effect.sleep(Math.min(killEvery * 1000, left > 0 ? left : 200))
      if (killEvery === Infinity || left <= 0) continue
      yield* server.strike(seed)
      kills++
    }
    stopped = true
    for (const proxy of proxies) yield* proxy.heal
  })

  const chance = seed.fork()
  for (const proxy of isCut ? proxies : []) {
    yield* proxy.randomCuts({ seed: seed.int(0, 1e9), probability: cuts })
    for (const fault of ["before", "after"] as const) {
      yield* proxy.when((chunk) => chunk.includes("COMMIT") && chance.chance(commitCuts), fault, { times: Infinity })
    }
  }
  yield* Effect.all([unrest, ...Array.from({ length: workers }, (_, name) => worker(name))], {
    concurrency: "unbounded",
    discard: true
  }).pipe(Effect.provide(Layer.fresh(options.place.layer(own?.url ?? server.url, { max: workers, startup: "lazy" }))))

  const booked = new Map<string, number>()
  for (const { operation } of yield* server.query("select operation from ledger")) {
    booked.set(operation as string, (booked.get(operation as string) ?? 0) + 1)
  }
  const sum = Number((yield* server.query("select sum(cents) as sum from account"))[0]!["sum"])
  const where = (what: string, count: (n: number) => boolean) =>
    [...told].filter(([operation, said]) => said === what && count(booked.get(operation) ?? 0)).map(([id]) => id)
  const report: Report = {
    seed: seed.value,
    operations: told.size,
    succeeded: where("succeeded", () => true).length,
    failed: where("failed", () => true).length,
    unknown: where("unknown", () => true).length,
    unknownApplied: where("unknown", (n) => n > 0).length,
    cuts: cutsSeen(),
    workers,
    kills,
    reasons,
    doubled: [...booked].filter(([, n]) => n > 1).map(([id]) => id),
    lost: where("succeeded", (n) => n === 0),
    ghosts: where("failed", (n) => n > 0),
    unjudged,
    sum,
    expectedSum: accounts * 1000
  }
  return report
})
