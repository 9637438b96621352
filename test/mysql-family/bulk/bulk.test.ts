import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import mysql2 from "mysql2/promise"
import * as net from "node:net"
import { Readable } from "node:stream"
import { Bulk, Evidence, Outcome, Pool, Transaction } from "watertight"
import { type BulkMethod, CurrentBulkMethod } from "../../../src/mysql-family/bulk/BulkMethod.ts"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import { describeWith, FaultProxy, freshDatabase } from "../../support/index.ts"
import { exactSeed, type Seed, seed } from "../../support/seed.ts"
import {
  connect,
  describeEach,
  eventually,
  failure,
  liveWith,
  liveWithout,
  lost,
  one,
  onFresh,
  run,
  serverError,
  sqlFailure,
  type Subject
} from "../support.ts"

/** Where the tables are. */
class Url extends Context.Service<Url, string>()("test/bulk/Url") {}

/** What driver and server have, if the server is set up for it. */
const methodsOf = ({ bulkMethods, server }: Subject): ReadonlyArray<BulkMethod> =>
  bulkMethods.filter((method) => server.bulk[method] !== undefined)

/** An empty database on a server that lets each of the methods pass. */
const whereOf = (subject: Subject) => {
  const settings = Object.assign({}, ...methodsOf(subject).map((method) => subject.server.bulk[method]))
  return Layer.effect(
    Url,
    Object.keys(settings).length === 0
      ? subject.server.fresh
      : Effect.map(subject.server.make({ settings }), ({ url }) => url)
  )
}

/** A proxy cannot look for words in what it cannot read. */
const plain = { sslmode: "disable", allowPublicKeyRetrieval: true } as const

const by = (method: BulkMethod | undefined) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provideService(effect, CurrentBulkMethod, method)

const database = (subject: Subject, url: Effect.Effect<string, never, Url> = Url) =>
  Layer.unwrap(
    Effect.map(url, (url) => subject.module.layer({ url: Redacted.make(url), maxConnections: 3, ...plain }))
  )

const count = (table: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const [row] = yield* sql<{ n: number }>`select count(*) as n from ${sql(table)}`
    return row!.n
  })

const bulkFailure = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(failure(effect), (error) => {
    assert.instanceOf(error, Bulk.BulkError, String(error))
    return error as unknown as Bulk.BulkError
  })

const bytes = (random: Seed, max: number): Uint8Array =>
  Uint8Array.from({ length: random.int(0, max) }, () => random.pick([0, 9, 10, 39, 92, 128, 255]))

const text = (random: Seed, max: number): string =>
  Array.from(
    { length: random.int(0, max) },
    () => random.pick(["a", " b", "é", "漢", "😀", "\\", "\t", "\n", "\r", "\0", "'", "\"", "\\N", "\u001a"])
  ).join("")

const instant = (random: Seed): Date => new Date(random.int(0, 2 ** 31) * 1000 + random.int(0, 999))

/** A column type and values for it. */
const makers: Readonly<Record<string, (random: Seed) => unknown>> = {
  "tinyint": (random) => random.pick<unknown>([-128, 127, true, false, "5"]),
  "smallint unsigned": (random) => random.int(0, 65535),
  "mediumint": (random) => random.int(-8388608, 8388607),
  "int": (random) => random.int(-2147483648, 2147483647),
  "bigint": (random) => random.pick([2n ** 63n - 1n, -(2n ** 63n), 5, -9007199254740991, "9007199254740993"]),
  "bigint unsigned": (random) => random.pick([2n ** 64n - 1n, 0n, 5]),
  "decimal(30,6)": (random) => `${random.int(-99999, 99999)}.${random.int(0, 999999)}`,
  "decimal(5,2)": (random) =>
    random.pick<unknown>(["1.005", "-1.005", "999.994", 0.125, "1e-3", "12.5e1", 7n, "-.5", "5."]),
  "float": (random) => random.next() * 1e10,
  "double": (random) => (random.next() - 0.5) * 10 ** random.int(-300, 300),
  "double unsigned": (random) => random.next(),
  "year": (random) => random.int(1901, 2155),
  "date": (random) => instant(random).toISOString().slice(0, 10),
  "datetime": instant,
  "datetime(6)": (random) =>
    `${instant(random).toISOString().slice(0, 19).replace("T", " ")}.${random.int(100000, 999999)}`,
  "timestamp(3) null": (random) => new Date(random.int(1, 2 ** 31 - 2) * 1000 + 123),
  "time(3)": (random) => `${random.pick(["", "-"])}${random.int(10, 838)}:00:${random.int(10, 59)}.5`,
  "char(5)": (random) => random.pick(["", "abc", "漢字", "a  "]),
  "varchar(60)": (random) => text(random, 30),
  "varchar(20) character set latin1": (random) => random.pick(["é", "\\", "ß\t"]),
  "text": (random) => text(random, 30),
  "enum('a','b''c','É')": (random) => random.pick(["a", "b'c", "É", "A"]),
  "set('a','b','c')": (random) => random.pick(["", "a", "c,a"]),
  "json": (random) =>
    random.pick<unknown>([{ a: [1, text(random, 10), null] }, [], "\"text\"", "5", { type: "Point" }]),
  "binary(4)": (random) => bytes(random, 4),
  "varbinary(20)": (random) => bytes(random, 20),
  "blob": (random) => random.pick<unknown>([bytes(random, 50), new Uint16Array([1, 258]), new Uint8Array([92]).buffer]),
  "bit(1)": (random) => random.pick<unknown>([0, 1, true, new Uint8Array([1])]),
  "bit(64)": (random) => random.pick<unknown>([2n ** 64n - 1n, 513, new Uint8Array([0, 1])]),
  "point": () => Buffer.from("000000000101000000000000000000f03f0000000000000040", "hex")
}

/** The types that only one kind of server has. */
const only: { readonly [name in Subject["server"]["name"]]: typeof makers } = {
  MariaDB: { "uuid": () => "123e4567-e89b-12d3-a456-426614174000", "inet6": () => "2001:db8::1" },
  MySQL: { "vector(3)": (random) => Float32Array.from([random.next(), -random.next(), 0]) }
}

const AnySeed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x7fffffff }))

describeEach("Bulk over $name", (subject) => {
  it.layer(whereOf(subject), { excludeTestServices: true, timeout: 120_000 })((it) => {
    it.layer(database(subject))((it) => {
      it.effect.prop(
        "stores what single inserts store, whatever the type and the method",
        [AnySeed],
        ([seed]) =>
          Effect.gen(function*() {
            const sql = yield* SqlClient
            const random = exactSeed(seed)
            const types = Object.entries({ ...makers, ...only[subject.server.name] })
            const columns = types.map(([type], index) => `c${index} ${type}`).join(", ")
            const rows = Array.from({ length: 12 }, (_, id) =>
              Object.fromEntries([
                ["id", id],
                ...types.map(([, make], index) => [`c${index}`, random.chance(0.1) ? null : make(random)])
              ]))
            yield* sql`drop table if exists one`
            yield* sql.unsafe(`create table one (id int primary key, ${columns}) character set utf8mb4`)
            yield* Effect.forEach(rows, (row) => sql`insert into one ${sql.insert(row)}`)
            const names = types.map((_, index) => `hex(c${index}) as c${index}`).join(", ")
            const expected = yield* sql.unsafe(`select ${names} from one order by id`)
            for (const method of methodsOf(subject)) {
              yield* sql`drop table if exists many`
              yield* sql`create table many like one`
              const { rows: loaded } = yield* Bulk.insert("many", rows).pipe(by(method))
              assert.strictEqual(loaded, rows.length)
              const there = yield* sql.unsafe(`select ${names} from many order by id`)
              for (const [id, row] of there.entries()) {
                for (const [index, [type]] of types.entries()) {
                  const at = `${type}, ${method}, seed ${seed}`
                  assert.strictEqual((row as any)[`c${index}`], (expected[id] as any)[`c${index}`], at)
                }
              }
            }
          }),
        { arbitrary: { runs: 3 } }
      )

      it.effect("a bad row is named, and nothing of it shown", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table strict (id int unsigned not null, name varchar(5), at datetime, doc json, price decimal(5,2),
          day date, mood enum('sad','glad'), raw varbinary(2), flags bit(2), small tinytext) character set utf8mb4`
          const good = { id: 1, name: "ok", at: new Date(0), doc: {}, price: "1.5", day: "2024-02-29", mood: "sad" }
          const cases: ReadonlyArray<[row: object, column: string | undefined, actual: string]> = [
            [{ ...good, id: "s3cret" }, "id", "string"],
            [{ ...good, id: -1 }, "id", "number"],
            [{ ...good, id: 1.5 }, "id", "number"],
            [{ ...good, id: 2 ** 32 }, "id", "number"],
            [{ ...good, id: true }, "id", "boolean"],
            [{ ...good, id: null }, "id", "null"],
            [{ ...good, id: undefined }, "id", "undefined"],
            [{ ...good, name: "s3cret" }, "name", "string"],
            [{ ...good, name: "\ud800" }, "name", "string"],
            [{ ...good, name: 7 }, "name", "number"],
            [{ ...good, at: new Date(NaN) }, "at", "Date"],
            [{ ...good, at: new Date(8.64e15) }, "at", "Date"],
            [{ ...good, at: "s3cret" }, "at", "string"],
            [{ ...good, at: "2024-02-29 25:00:00" }, "at", "string"],
            [{ ...good, doc: { n: 1n } }, "doc", "object"],
            [{ ...good, doc: 5 }, "doc", "number"],
            [{ ...good, price: 1000 }, "price", "number"],
            [{ ...good, price: "999.995" }, "price", "string"],
            [{ ...good, price: "." }, "price", "string"],
            [{ ...good, price: NaN }, "price", "number"],
            [{ ...good, day: "2023-02-29" }, "day", "string"],
            [{ ...good, mood: "s3cret" }, "mood", "string"],
            [{ ...good, mood: 1 }, "mood", "number"],
            [{ ...good, s3cret: 1 }, "s3cret", "object"],
            [null as never, undefined, "null"]
          ]
          for (const [row, column, actual] of cases) {
            const error = yield* bulkFailure(Bulk.insert("strict", [good, good, row, good]))
            assert.strictEqual(error.reason._tag, "RowUnfit")
            const reason = error.reason as Bulk.RowUnfit
            assert.deepStrictEqual([reason.row, reason.column, reason.actual], [3, column, actual], error.message)
            if (column !== "s3cret") assert.notInclude(error.message + JSON.stringify(error), "s3cret")
          }
          const raw: ReadonlyArray<object> = [{ raw: "ab" }, { raw: new Uint8Array(3) }, { flags: 4 }, {
            small: "漢".repeat(86)
          }]
          for (const row of raw) {
            const error = yield* bulkFailure(Bulk.insert("strict", [{ id: 1, ...row }]))
            assert.strictEqual((error.reason as Bulk.RowUnfit).column, Object.keys(row)[0])
          }
          assert.strictEqual(yield* count("strict"), 0)
          const rows = cases.flatMap(([row]) => [good, row])
          for (const method of methodsOf(subject)) {
            const collected = yield* Bulk.insert("strict", rows, { onBadRow: "collect" }).pipe(by(method))
            assert.strictEqual(collected.rows, cases.length)
            assert.deepStrictEqual(collected.bad.map(({ row }) => row), cases.map((_, index) => index * 2 + 2))
          }
          const loaded = methodsOf(subject).length * cases.length
          assert.strictEqual(yield* count("strict"), loaded)
          const tooMany = yield* bulkFailure(Bulk.insert("strict", rows, { onBadRow: "collect", maxBadRows: 3 }))
          assert.strictEqual((tooMany.reason as Bulk.RowUnfit).row, 8)
          assert.strictEqual(yield* count("strict"), loaded)
        }))

      it.effect("what only the server knows of a row fails all of them, whatever the method", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table parent (id int primary key)`
          yield* sql`create table picky (id int primary key, other int unique, n int check (n < 100), parent int references parent(id),
          l varchar(10) character set latin1) character set utf8mb4`
          const good = { id: 1, other: 1, n: 1, parent: null, l: "a" }
          const cases: ReadonlyArray<[row: object, reason: string, errno: number]> = [
            [{ ...good, other: 2 }, "UniqueViolation", 1062],
            [{ ...good, id: 2 }, "UniqueViolation", 1062],
            [{ ...good, id: 2, other: 2, n: 100 }, "ConstraintError", subject.server.errnos.check],
            [{ ...good, id: 2, other: 2, parent: 7 }, "ConstraintError", 1452],
            [{ ...good, id: 2, other: 2, l: "漢" }, "UnknownError", 1366]
          ]
          for (const method of methodsOf(subject)) {
            for (const [row, reason, errno] of cases) {
              const error = yield* sqlFailure(
                Bulk.insert("picky", [good, { id: "bad" as never }, row], { onBadRow: "collect" }).pipe(by(method))
              )
              assert.strictEqual(error.reason._tag, reason, `${method}: ${error.message}`)
              assert.strictEqual(serverError(error).errno, errno)
              assert.include(error.message, "none of the rows was applied")
              assert.strictEqual(Outcome.of(error)?.outcome, "NotApplied")
              // The bad row counts.
              if (errno === 1366) assert.include(error.message, "row 3 ")
              assert.strictEqual(yield* count("picky"), 0)
            }
            // In a transaction, what was there before stays, and it goes on.
            yield* Effect.gen(function*() {
              yield* sql`insert into picky (id) values (1)`
              yield* sqlFailure(Bulk.insert("picky", [{ id: 3 }, { id: 1 }]).pipe(by(method)))
              yield* Bulk.insert("picky", [{ id: 2 }]).pipe(by(method))
            }).pipe(Transaction.run())
            assert.deepStrictEqual(yield* sql`select id from picky order by id`, [{ id: 1 }, { id: 2 }])
            yield* sql`delete from picky`
          }
        }))

      it.effect("wrong tables, columns and methods", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table shape (a int auto_increment primary key, b int as (c * 2) virtual, c int default 5)`
          const reason = (rows: ReadonlyArray<object>, table = "shape", options = {}) =>
            Effect.map(bulkFailure(Bulk.insert(table, rows, options)), (error) => error.reason._tag)
          assert.strictEqual(yield* reason([{ a: 1 }], "nobody"), "TableMissing")
          assert.strictEqual(yield* reason([], "nobody"), "TableMissing")
          assert.strictEqual(yield* reason([{ a: 1 }], "nowhere.nobody"), "TableMissing")
          assert.strictEqual(yield* reason([{ z: 1 }]), "ColumnsWrong")
          assert.strictEqual(yield* reason([{ a: 1, b: 1 }]), "ColumnsWrong")
          assert.strictEqual(yield* reason([{}]), "ColumnsWrong")
          assert.strictEqual(yield* reason([{ a: 1 }], "shape", { columns: ["a", "a"] }), "ColumnsWrong")
          assert.strictEqual(yield* reason([{ a: 1 }], "shape`; drop table shape; --"), "TableMissing")
          assert.deepStrictEqual(yield* Bulk.insert("shape", []), { rows: 0, bytes: 0, bad: [] })
          for (const method of methodsOf(subject)) {
            yield* Bulk.insert("shape", [{ a: null }, { a: undefined }], { columns: ["a"] }).pipe(by(method))
          }
          assert.deepStrictEqual(yield* sql`select c, count(*) as n from shape group by c`, [{
            c: 5,
            n: 2 * methodsOf(subject).length
          }])
          for (const other of (["batch", "load"] as const).filter((method) => !methodsOf(subject).includes(method))) {
            const error = yield* sqlFailure(Bulk.insert("shape", [{ a: 9 }]).pipe(by(other)))
            assert.include(error.message, "watertight/")
          }
        }))

      it.effect("a trigger may fill in what the rows leave open", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table filled (id int not null, n int not null)`
          assert.strictEqual((yield* bulkFailure(Bulk.insert("filled", [{ id: 1, n: null }]))).reason._tag, "RowUnfit")
          yield* sql`create trigger fill before insert on filled for each row set new.n = coalesce(new.n, 7)`
          yield* Bulk.insert("filled", [{ id: 1, n: null }])
          assert.deepStrictEqual(yield* sql`select n from filled`, [{ n: 7 }])
        }))

      it.effect("a schema encodes the rows first", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table by_schema (id int, at datetime(3))`
          const Row = Schema.Struct({ id: Schema.Int, at: Schema.DateFromString })
          const { bad } = yield* Bulk.insert("by_schema", [
            { id: 1, at: new Date(0) },
            { id: 1.5, at: new Date(0) },
            { id: 3, at: new Date(1) }
          ], { schema: Row, onBadRow: "collect" })
          assert.deepStrictEqual(bad.map(({ column, row }) => [row, column]), [[2, undefined]])
          assert.deepStrictEqual(yield* sql`select * from by_schema order by id`, [
            { id: 1, at: new Date(0) },
            { id: 3, at: new Date(1) }
          ])
        }))

      it.effect("a stream belongs to the transaction, with progress", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table city (id int primary key, name varchar(60))`
          const cities = Stream.range(1, 12_000).pipe(Stream.map((id) => ({ id, name: `city ${id}`.padEnd(60) })))
          for (const method of methodsOf(subject)) {
            const undone = yield* Bulk.insert("city", cities).pipe(
              by(method),
              Effect.andThen(count("city")),
              Effect.flatMap((n) => Effect.fail(n)),
              Transaction.run(),
              Effect.flip
            )
            assert.strictEqual(undone as unknown, 12_000)
            assert.strictEqual(yield* count("city"), 0)
          }
          const heard: Array<Bulk.Progress> = []
          const { bytes, rows } = yield* Bulk.insert("city", cities, {
            onProgress: (progress) => Effect.sync(() => heard.push(progress))
          })
          assert.strictEqual(rows, 12_000)
          assert.strictEqual(yield* count("city"), 12_000)
          assert.isAbove(heard.length, 1)
          assert.deepStrictEqual(heard.at(-1), { rows, bytes, bad: 0 })
        }))

      it.effect("the rows of a stream may come from the same database, and the same transaction", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table numbers (n int)`
          const rows = Stream.range(1, 5).pipe(
            Stream.mapEffect((n) => sql<{ n: number }>`select ${n} as n`),
            Stream.flattenIterable
          )
          yield* Bulk.insert("numbers", rows)
          const inside = Effect.andThen(
            sql`insert into numbers values (6)`,
            Bulk.insert("numbers", Stream.fromIterableEffect(sql<{ n: number }>`select n + 10 as n from numbers`), {
              onProgress: () => Effect.ignore(sql`select 1`)
            })
          )
          assert.strictEqual((yield* Transaction.run(inside)).rows, 6)
          assert.strictEqual(yield* count("numbers"), 12)
        }))

      it.effect("interruption at any row and failing sources leave nothing, and a clean connection", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          const pool = yield* Pool.Pool
          const random = seed(11)
          yield* sql`create table nothing (id int)`
          for (const method of methodsOf(subject)) {
            const at = random.int(0, 20_000)
            const rows = Stream.range(1, at).pipe(Stream.map((id) => ({ id })))
            const boom = yield* Bulk.insert("nothing", Stream.concat(rows, Stream.fail("boom"))).pipe(
              by(method),
              Effect.flip
            )
            assert.strictEqual(boom as unknown, "boom")
            const reached = yield* Deferred.make<void>()
            const stuck = Stream.unwrap(Effect.as(Deferred.succeed(reached, undefined), Stream.never))
            const fiber = yield* Bulk.insert("nothing", Stream.concat(rows, stuck)).pipe(by(method), Effect.forkChild)
            yield* Deferred.await(reached)
            yield* Fiber.interrupt(fiber)
            assert.strictEqual(yield* count("nothing"), 0, `${method}, ${at} rows`)
            assert.strictEqual((yield* pool.stats).used, 0)
          }
          let closed = 0
          const generated = function*() {
            try {
              for (let id = 0;; id++) yield { id: id < 5 ? id : "no" }
            } finally {
              closed++
            }
          }
          yield* bulkFailure(Bulk.insert("nothing", generated()))
          assert.strictEqual(closed, 1)
        }))

      it.effect("a server that is held up holds back the source", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table held (id int primary key, filler varchar(1000))`
          const filler = "x".repeat(1000)
          const total = 18_000
          let made = 0
          const rows = Stream.range(1, total).pipe(Stream.map((id) => {
            made++
            return { id, filler }
          }))
          const locked = yield* Deferred.make<void>()
          const release = yield* Deferred.make<void>()
          // It waits for whoever has inserted the same key to end its transaction.
          const blocker = yield* sql`insert into held values (1, 'mine')`.pipe(
            Effect.andThen(Deferred.succeed(locked, undefined)),
            Effect.andThen(Deferred.await(release)),
            Effect.andThen(Effect.fail("undo")),
            sql.withTransaction,
            Effect.forkChild
          )
          yield* Deferred.await(locked)
          const loading = yield* Bulk.insert("held", rows).pipe(Effect.forkChild)
          let before = -1
          let still = 0
          yield* eventually(Effect.sync(() => {
            still = made === before && made > 0 ? still + 1 : 0
            before = made
            return still === 20
          }))
          assert.isBelow(made, total * 0.8)
          yield* Deferred.succeed(release, undefined)
          yield* Fiber.await(blocker)
          assert.strictEqual((yield* Fiber.join(loading)).rows, total)
          assert.strictEqual(yield* count("held"), total)
        }))

      it.effect("upsert counts what it inserted and updated", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table stock (shop varchar(5), item int, n int, note varchar(20) default 'new', primary key (shop, item))`
          const rows = (n: number, from: number, to: number) =>
            Array.from({ length: to - from }, (_, index) => ({ shop: "a", item: from + index, n }))
          const sum = Effect.map(
            sql<{ n: string }>`select sum(n) as n from stock where item < 10 and shop = 'a'`,
            ([row]) => Number(row!.n)
          )
          for (const method of [undefined, "statements"] as const) {
            yield* Effect.gen(function*() {
              assert.deepStrictEqual(yield* Bulk.upsert("stock", rows(1, 0, 3_000)), {
                inserted: 3_000,
                updated: 0,
                bad: []
              })
              assert.deepStrictEqual(yield* Bulk.upsert("stock", rows(2, 2_000, 4_000)), {
                inserted: 1_000,
                updated: 1_000,
                bad: []
              })
              // What has the new values already is updated, too.
              assert.deepStrictEqual(yield* Bulk.upsert("stock", rows(2, 3_999, 4_001)), {
                inserted: 1,
                updated: 1,
                bad: []
              })
              assert.deepStrictEqual(yield* sql`select sum(n) as n, min(note) as note from stock`, [{
                n: "6002",
                note: "new"
              }])
              const twice = [{ shop: "b", item: 1, n: 1 }, { shop: "b", item: 1, n: 2 }]
              const n = Effect.map(sql<{ n: number }>`select n from stock where shop = 'b'`, ([row]) => row!.n)
              assert.deepStrictEqual(yield* Bulk.upsert("stock", twice), { inserted: 1, updated: 0, bad: [] })
              assert.strictEqual(yield* n, 2)
              yield* Bulk.upsert("stock", twice, { duplicates: "first" })
              assert.strictEqual(yield* n, 1)
              assert.deepStrictEqual(yield* Bulk.upsert("stock", twice, { update: [] }), {
                inserted: 0,
                updated: 1,
                bad: []
              })
              assert.strictEqual(yield* n, 1)
              // In a transaction, twice, and undone with it.
              yield* Effect.gen(function*() {
                yield* Bulk.upsert("stock", rows(3, 0, 10))
                yield* Bulk.upsert("stock", rows(4, 0, 10))
                assert.strictEqual(yield* sum, 40)
                return yield* Effect.fail("undo")
              }).pipe(Transaction.run(), Effect.flip)
              assert.strictEqual(yield* sum, 10)
              yield* sql`delete from stock`
            }).pipe(by(method))
          }
          yield* sql`create table keyless (a int, b int unique)`
          assert.include((yield* bulkFailure(Bulk.upsert("keyless", [{ a: 1 }]))).message, "primary key")
          assert.include(
            (yield* bulkFailure(Bulk.upsert("keyless", [{ a: 1 }], { key: ["a"] }))).message,
            "unique index"
          )
          assert.include((yield* bulkFailure(Bulk.upsert("stock", [{ shop: "a", n: 1 }]))).message, "item")
          const byOther = { key: ["b"], update: ["a"] }
          assert.deepStrictEqual(yield* Bulk.upsert("keyless", [{ a: 1, b: 1 }], byOther), {
            inserted: 1,
            updated: 0,
            bad: []
          })
          assert.deepStrictEqual(yield* Bulk.upsert("keyless", [{ a: 2, b: 1 }, { a: 3, b: 2 }], byOther), {
            inserted: 1,
            updated: 1,
            bad: []
          })
        }))
    })

    it.effect("a cut connection leaves all rows or none, and says how far it got", () =>
      Effect.gen(function*() {
        const proxy = yield* FaultProxy.make(yield* Url)
        const random = seed(7)
        const rows = Array.from({ length: 6_000 }, (_, id) => ({ id, name: `name ${id}`, note: "x".repeat(100) }))
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table cut (id int primary key, name varchar(20), note text)`
          // Whoever inserts them by hand, without a transaction, has some of them.
          yield* proxy.when(afterBytes(200_000), "before")
          const byHand = Effect.forEach(
            Array.from({ length: 6 }, (_, index) => rows.slice(index * 1_000, (index + 1) * 1_000)),
            (some) => sql`insert into cut ${sql.insert(some as never)}`.unprepared
          )
          yield* sqlFailure(byHand)
          const some = yield* count("cut")
          assert.isTrue(some > 0 && some < rows.length)
          yield* sql`delete from cut`
          for (const method of methodsOf(subject)) {
            for (const where of [random.int(1, 600_000), random.int(1, 600_000), "COMMIT"] as const) {
              const rule = yield* proxy.when(
                where === "COMMIT" ? where : afterBytes(where),
                random.pick(["before", "after"])
              )
              const error = yield* sqlFailure(Bulk.insert("cut", rows).pipe(by(method)))
              yield* rule.remove
              const at = `${method}, cut at ${where}: ${error.message}`
              assert.isFalse(error.isRetryable, at)
              if (where === "COMMIT") assert.isTrue(Outcome.isUnknown(error), at)
              else {
                lost(error)
                assert.strictEqual(Outcome.of(error)?.outcome, "NotApplied", at)
                assert.match(error.message, /Bulk: \d+ rows, \d+ bytes sent; none of the rows was applied/)
              }
              // The server may still be at it: a share of the rows is to be had when it is not.
              const [row] = yield* sql<{ n: number }>`select count(*) as n from cut lock in share mode`
              const n = row!.n
              assert.include(where === "COMMIT" ? [0, rows.length] : [0], n, at)
              yield* sql`delete from cut`
            }
          }
        }).pipe(Effect.provide(database(subject, Effect.succeed(proxy.url))))
      }), 20_000)

    if (subject.bulkMethods.includes("load")) {
      it.effect("a source that pauses for longer than the server waits: the failure says so", () =>
        Effect.gen(function*() {
          const url = yield* Url
          const observer = yield* connect(subject, { url: Redacted.make(url), ...plain })
          const isLoading = Effect.map(
            one(observer, `select count(*) from ${subject.server.processlist} where info like 'LOAD DATA%'`),
            (count) => Number(count) > 0
          )
          yield* Effect.gen(function*() {
            const sql = yield* SqlClient
            yield* sql`create table paused (id int)`
            const source = Stream.make({ id: 1 }, { id: 2 }).pipe(
              Stream.rechunk(1),
              Stream.tap(({ id }) =>
                id === 1
                  ? Effect.void
                  : Effect.andThen(eventually(isLoading), eventually(Effect.map(isLoading, (is) => !is)))
              )
            )
            const error = yield* sqlFailure(Bulk.insert("paused", source).pipe(by("load")))
            assert.match(error.message, /no rows came for \d+ s, and the server waits for `net_read_timeout`/)
            assert.strictEqual(Evidence.of(error).endedBy, "Reader")
          }).pipe(
            Effect.provide(
              subject.module.layer({ url: Redacted.make(url), sessionVariables: { net_read_timeout: 1 }, ...plain })
            )
          )
        }))
    }

    it.effect("a server that asks for a file gets nothing, and the session ends", () =>
      Effect.gen(function*() {
        const wanted = "/etc/passwd"
        const hostile = yield* hostileServer(yield* Url, ["needle", "LOAD DATA LOCAL"], wanted)
        const options = { url: Redacted.make(hostile.url), ...plain }
        const statements = [
          (session: Session) => session.executeUnprepared("select 'needle'", [], undefined),
          // Whatever pipelines sends a prepared statement together with its preparation.
          ...subject.pipelines ? [] : [(session: Session) => run(session, "select ?", ["needle"])]
        ]
        for (const statement of statements) {
          const session = yield* connect(subject, options)
          const error = yield* sqlFailure(statement(session))
          assert.strictEqual(error.reason._tag, "ConnectionError", error.message)
          assert.isTrue(session.isClosed)
        }
        for (const method of methodsOf(subject).filter((method) => method === "load")) {
          yield* Effect.gen(function*() {
            const sql = yield* SqlClient
            yield* sql`create table asked (id int)`
            const error = yield* sqlFailure(Bulk.insert("asked", [{ id: 1 }]).pipe(by(method)))
            assert.include(error.message, "asked for a file")
            yield* sql`drop table asked`
          }).pipe(Effect.provide(subject.module.layer(options)))
        }
        assert.isAbove(hostile.asked(), 0)
        // At most the empty packet that says that the file is empty.
        assert.isTrue(hostile.answers().every((answer) => answer.length <= 4))
      }))
  })

  liveWithout(subject, "LOAD DATA by default")(
    "a server without local_infile: other methods, and a reason",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table t (id int)`
        yield* Bulk.insert("t", [{ id: 1 }])
        assert.strictEqual(yield* count("t"), 1)
        const error = yield* sqlFailure(Bulk.insert("t", [{ id: 1 }]).pipe(by("load")))
        assert.match(error.message, /no LOAD DATA/)
      }).pipe(Effect.provide(onFresh(subject)))
  )

  liveWith(subject, "tables that must have a key")(
    "upsert where tables must have a primary key",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table numbered (id int auto_increment primary key, n int, code varchar(5) unique)`
        const rows = [{ id: 1, n: 1, code: "a" }, { id: null, n: 2, code: null }, { id: null, n: 3, code: null }]
        assert.deepStrictEqual(yield* Bulk.upsert("numbered", rows), { inserted: 3, updated: 0, bad: [] })
        const byCode = [{ n: 7, code: "a" }, { n: 8, code: null }]
        assert.deepStrictEqual(yield* Bulk.upsert("numbered", byCode, { key: ["code"], update: ["n"] }), {
          inserted: 1,
          updated: 1,
          bad: []
        })
        assert.deepStrictEqual(yield* sql`select n from numbered order by id`.values, [[7], [2], [3], [8]])
      }).pipe(Effect.provide(onFresh(subject, { sessionVariables: { sql_require_primary_key: true } })))
  )

  it.live("upsert by the beginning of a text, or by an expression: refused", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table t (a varchar(20), n int, unique key (a(3)))`
      for (const statement of subject.server.uniqueExpression("t", "lower(a)")) yield* sql.unsafe(statement)
      for (const key of [["a"], ["null"]]) {
        const error = yield* bulkFailure(Bulk.upsert("t", [{ a: "abcd", n: 1 }], { key }))
        assert.include(error.message, "no unique index")
      }
    }).pipe(Effect.provide(onFresh(subject))))
})

describeWith("url-mariadb")("LOAD DATA LOCAL by itself", () => {
  it.live("loses rows and values without a word, which is what the tests above would find", () =>
    Effect.gen(function*() {
      const url = new URL(yield* freshDatabase("mariadb"))
      const left = yield* Effect.promise(async () => {
        const connection = await mysql2.createConnection({
          uri: url.href.replace("mariadb:", "mysql:"),
          flags: ["LOCAL_FILES"]
        })
        await connection.query("set sql_mode = 'STRICT_ALL_TABLES'")
        await connection.query("create table naive (id int primary key, n tinyint)")
        await connection.query({
          sql: "load data local infile 'rows' into table naive",
          infileStreamFactory: () => Readable.from([Buffer.from("1\t1\n1\t2\n2\t300\n")])
        })
        const [rows] = await connection.query("select * from naive")
        await connection.end()
        return rows
      })
      assert.deepStrictEqual(left, [{ id: 1, n: 1 }, { id: 2, n: 127 }] as never)
    }))
})

/** Whether this many bytes have been sent. */
const afterBytes = (limit: number) => {
  let seen = 0
  return (chunk: Buffer) => {
    seen += chunk.length
    return seen > limit
  }
}

/** A server that answers any statement with one of these words in it by asking for a file. */
const hostileServer = (url: string, words: ReadonlyArray<string>, file: string) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<{
        readonly url: string
        readonly asked: () => number
        readonly answers: () => ReadonlyArray<Buffer>
        readonly close: () => void
      }>((resolve) => {
        const target = new URL(url)
        const answers: Array<Buffer> = []
        let asked = 0
        const server = net.createServer((client) => {
          const upstream = net.connect(Number(target.port), target.hostname)
          let isAsking = false
          upstream.on("data", (chunk) => isAsking || client.write(chunk))
          client.on("data", (chunk) => {
            if (isAsking) {
              answers.push(chunk)
              // As if it had got it.
              return chunk.length === 4 && client.write(Buffer.from([7, 0, 0, chunk[3]! + 1, 0, 0, 0, 2, 0, 0, 0]))
            }
            const isPreparing = chunk[4] === 0x16
            if (isPreparing || !words.some((word) => chunk.includes(word))) {
              return upstream.write(chunk)
            }
            isAsking = true
            asked++
            client.write(Buffer.from([file.length + 1, 0, 0, 1, 0xfb, ...Buffer.from(file)]))
          })
          for (const socket of [client, upstream]) {
            socket.on("error", () => {})
            socket.on("close", () => {
              client.destroy()
              upstream.destroy()
            })
          }
        })
        server.listen(0, "127.0.0.1", () => {
          const fake = new URL(url)
          fake.port = String((server.address() as net.AddressInfo).port)
          fake.hostname = "127.0.0.1"
          resolve({ url: fake.href, asked: () => asked, answers: () => answers, close: () => server.close() })
        })
      })
    ),
    (server) => Effect.sync(() => server.close())
  )
