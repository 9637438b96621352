/**
 * Random histories of two processes on a real database: what one has committed, against what both read.
 *
 * A read is wrong if it returns less than what its own process had committed before the read began, or less than what
 * anybody had committed for longer than the bound. Connections are cut and swallowed meanwhile, answers to COMMIT are
 * lost, transactions fail, and the wall clock jumps by an hour.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Retry, Transaction } from "watertight"
import { Cached } from "watertight/cache"
import { Notifications } from "watertight/postgres"
import * as RedisServer from "../breaker/redis.ts"
import { describeWith, FaultProxy, freshDatabase, type Seed, seed } from "../support/index.ts"
import { layerAt } from "../transaction/support.ts"

/** `WATERTIGHT_CACHE_SECONDS=120` for a long look. */
const seconds = Number(process.env["WATERTIGHT_CACHE_SECONDS"] ?? 3)

const ttl = 1_000
const bound = 1_000

const row = Effect.map(
  Effect.flatMap(SqlClient, (sql) => sql<{ version: number }>`select version from item`),
  (rows) => rows[0]!.version
)
const cachedRow = Cached.read(row, { tags: ["item"], key: "row", ttl, schema: Schema.Number })
const bump = Effect.map(
  Effect.flatMap(SqlClient, (sql) => sql<{ version: number }>`update item set version = version + 1 returning version`),
  (rows) => rows[0]!.version
)

/** A wall clock that jumps; time that only goes forward stays as it is. */
const jumpy = (random: Seed) => {
  const real = Context.get(Context.empty(), Clock.Clock)
  let offset = 0
  const clock: Clock.Clock = Object.create(real, {
    currentTimeMillisUnsafe: { value: () => real.currentTimeMillisUnsafe() + offset },
    currentTimeMillis: { value: Effect.sync(() => real.currentTimeMillisUnsafe() + offset) }
  })
  return { clock, jump: () => offset += random.pick([3_600_000, -3_600_000]) }
}

interface Cuts {
  readonly database: FaultProxy.FaultProxy
  readonly store: FaultProxy.FaultProxy | undefined
}

/** One process: its own pool and its own cache. */
interface Process {
  readonly read: Effect.Effect<number, unknown>
  readonly write: Effect.Effect<number, unknown>
  readonly cuts: Cuts
}

type Services = Cached.Cached | SqlClient | Notifications.Notifications | Transaction.Manager

type Program = {
  readonly read: Effect.Effect<number, unknown, Services>
  readonly write: Effect.Effect<number, unknown, Services>
}

const program: Program = {
  read: cachedRow,
  write: Transaction.run(Cached.invalidates(bump, ["item"]), { resolve: "never", retry: Retry.never })
}

/** The cache tells the others by a notification alone. */
const notificationsOnly: Program = {
  read: cachedRow,
  write: Effect.tap(
    program.write,
    () => Effect.flatMap(SqlClient, (sql) => sql`select pg_notify('item', '')`)
  )
}

/** The store is told after COMMIT, and reads do not wait for that. */
const toldAfterwards: Program = {
  read: cachedRow,
  write: Transaction.run(bump, { resolve: "never", retry: Retry.never }).pipe(
    Effect.tap(() => Effect.forkDetach(Effect.ignore(Cached.invalidate(["item"]))))
  )
}

const play = Effect.fnUntraced(function*(
  random: Seed,
  processes: ReadonlyArray<Process>,
  writers: ReadonlyArray<Process>,
  jump: () => void
) {
  const acknowledged: Array<{ readonly version: number; readonly at: number; readonly by: Process }> = []
  const end = performance.now() + seconds * 1_000
  let reads = 0
  const stale: Array<string> = []
  const due = (reader: Process): number => {
    const now = performance.now()
    let version = 0
    for (const write of acknowledged) {
      if (write.by === reader || now - write.at > bound) version = Math.max(version, write.version)
    }
    return version
  }
  const loop = <E>(effect: Effect.Effect<unknown, E>) =>
    Effect.repeat(Effect.ignore(effect), { while: () => performance.now() < end })
  const pause = (most: number) => Effect.sleep(random.int(1, most))
  const reader = (process: Process) =>
    loop(Effect.gen(function*() {
      yield* pause(4)
      const expected = due(process)
      const seen = yield* Effect.timeout(process.read, "5 seconds")
      reads++
      if (seen < expected) stale.push(`${seen} instead of ${expected}`)
    }))
  const writer = (process: Process) =>
    loop(Effect.gen(function*() {
      yield* pause(60)
      const version = yield* Effect.timeout(process.write, "5 seconds")
      acknowledged.push({ version, at: performance.now(), by: process })
    }))
  const saboteur = loop(Effect.gen(function*() {
    yield* pause(400)
    const { database, store } = random.pick(processes as [Process, ...Array<Process>]).cuts
    switch (random.int(0, 4)) {
      case 0:
        return yield* database.when("Q\u0000\u0000\u0000\u000bCOMMIT\u0000", random.pick(["before", "after"]))
      case 1:
        return yield* database.cutAll
      case 2:
        yield* database.blackhole
        yield* pause(2 * bound)
        yield* database.cutAll
        return yield* database.heal
      case 3: {
        if (store === undefined) return
        yield* random.pick([store.blackhole, store.refuse])
        yield* store.cutAll
        yield* pause(800)
        yield* store.cutAll
        return yield* store.heal
      }
      default:
        return jump()
    }
  }))
  const readers = [...processes, ...processes].map(reader)
  yield* Effect.all([...readers, ...writers.map(writer), saboteur], { concurrency: "unbounded", discard: true })
  return { reads, writes: acknowledged.length, stale }
})

type CacheLayer = Layer.Layer<Cached.Cached, unknown, Layer.Success<ReturnType<typeof layerAt>>>

/** Plays a history with two processes, each behind proxies of its own. */
const history = Effect.fnUntraced(function*(
  random: Seed,
  program: Program,
  redisPort: number | undefined,
  cache: (storePort: number) => CacheLayer,
  background?: Effect.Effect<void, unknown, Services>
) {
  const url = yield* freshDatabase()
  const { clock, jump } = jumpy(random)
  yield* Effect.flatMap(SqlClient, (sql) =>
    Effect.andThen(
      sql`create table item (id int primary key, version int)`,
      sql`insert into item values (1, 1)`
    )).pipe(Effect.provide(layerAt(url)))
  const start = Effect.gen(function*() {
    const database = yield* FaultProxy.make(url)
    const store = redisPort === undefined ? undefined : yield* FaultProxy.make({ host: "127.0.0.1", port: redisPort })
    const context = yield* Layer.build(Layer.provideMerge(cache(store?.port ?? 0), layerAt(database.url)))
    const provided = <A, E>(effect: Effect.Effect<A, E, Services>) =>
      Effect.provideService(Effect.provide(effect, context), Clock.Clock, clock)
    if (background !== undefined) yield* Effect.forkScoped(provided(background))
    const process: Process = {
      read: provided(program.read),
      write: provided(program.write),
      cuts: { database, store }
    }
    return process
  }).pipe(Effect.provideService(Clock.Clock, clock))
  const processes = yield* Effect.all([start, start])
  // A process that writes reads anew often by itself. Without that, what it misses of others stays visible.
  return yield* play(random, processes, background === undefined ? processes : processes.slice(0, 1), jump)
})

/** Plays histories until one has a stale read, and fails after ten. */
const findsStale = <E, R>(play: (random: Seed) => Effect.Effect<{ readonly stale: ReadonlyArray<string> }, E, R>) =>
  Effect.gen(function*() {
    const random = seed(20_192)
    for (let round = 0; round < 10; round++) {
      const { stale } = yield* Effect.scoped(play(random.fork()))
      if (stale.length > 0) return
    }
    assert.fail(`no stale read (seed ${random.value})`)
  })

const limit = seconds * 1_000 + 60_000
const announced = Cached.layer({ announce: "table", interval: "50 millis", bound })

describe("two processes, announced in a table", () => {
  const random = seed(20_191)
  it.live(`no read is older than it may be (seed ${random.value})`, () =>
    Effect.gen(function*() {
      const { reads, stale, writes } = yield* history(random, program, undefined, () => announced)
      assert.deepStrictEqual(stale.slice(0, 5), [])
      assert.isAbove(reads, 100)
      assert.isAbove(writes, 10)
    }), limit)

  it.live("notifications alone → the checker finds stale reads", () =>
    Effect.gen(function*() {
      const listen = Stream.runForEach(Notifications.stream("item"), () => Cached.invalidate(["item"]))
      yield* findsStale((random) =>
        history(
          random,
          { ...notificationsOnly, read: Cached.read(row, { tags: ["item"], key: "row", ttl: "1 hour" }) },
          undefined,
          () => Cached.layer(),
          listen
        )
      )
    }), limit)
})

describeWith("redis")("two processes, a store in Redis", () => {
  const withRedis = (program: Program, random: Seed) =>
    Effect.gen(function*() {
      const redis = yield* RedisServer.make
      return yield* history(
        random,
        program,
        redis.port,
        (port) => Layer.provide(Cached.layerRedis({ storeTimeout: "50 millis" }), RedisServer.layer(port))
      )
    })
  const random = seed(20_193)
  it.live(`no read is older than it may be (seed ${random.value})`, () =>
    Effect.gen(function*() {
      const { reads, stale, writes } = yield* withRedis(program, random)
      assert.deepStrictEqual(stale.slice(0, 5), [])
      assert.isAbove(reads, 100)
      assert.isAbove(writes, 10)
    }), limit)

  it.live(
    "a store that is told after COMMIT → the checker finds stale reads",
    () => findsStale((random) => withRedis(toldAfterwards, random)),
    limit
  )
})
