import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import { connect, describeEach, liveWith, one, run, table } from "../support.ts"

// Neither the server's time zone nor UTC.
let zone: string | undefined
beforeAll(() => {
  zone = process.env["TZ"]
  process.env["TZ"] = "America/New_York"
})
afterAll(() => {
  if (zone === undefined) delete process.env["TZ"]
  else process.env["TZ"] = zone
})

const bytes = (...values: ReadonlyArray<number>) => new Uint8Array(values)

/** What is written into a column, and what is read from it: the same, unless there is a third value. */
type Case = readonly [type: string, written: unknown, read?: unknown]

const date = new Date(Date.UTC(2024, 1, 29, 12, 34, 56, 789))

const cases: ReadonlyArray<Case> = [
  ["tinyint", -128],
  ["tinyint(1)", true, 1],
  ["boolean", false, 0],
  ["tinyint unsigned", 255],
  ["smallint", -32768],
  ["mediumint", -8388608],
  ["mediumint unsigned", 16777215],
  ["int", -2147483648],
  ["int unsigned", 4294967295],
  ["bigint", -9007199254740991],
  ["bigint", 9007199254740993n],
  ["bigint", -9223372036854775808n],
  ["bigint unsigned", 18446744073709551615n],
  ["bigint", 5n, 5],
  ["decimal(65,30)", "12345678901234567890123456789012345.123456789012345678901234567890"],
  ["decimal(10,2)", "-0.10"],
  ["decimal(20,0)", "12345678901234567890"],
  ["float", 1.5],
  ["double", 0.1],
  ["double", 1.7976931348623157e308],
  ["double", -0, 0],
  ["year", 2024],
  ["date", "2024-02-29"],
  ["date", "0001-01-01"],
  ["datetime(3)", date],
  ["datetime", "2024-02-29 12:34:56", new Date(Date.UTC(2024, 1, 29, 12, 34, 56))],
  ["datetime(6)", "2024-02-29 12:34:56.789123", date],
  ["datetime", "0050-01-01 00:00:00", new Date(Date.parse("0050-01-01T00:00:00Z"))],
  ["timestamp(3) null", date],
  // The hour that does not exist in New York, and the one that exists twice.
  ["datetime", new Date(Date.UTC(2024, 2, 10, 2, 30))],
  ["timestamp null", new Date(Date.UTC(2024, 10, 3, 5, 30))],
  ["time", "838:59:59"],
  ["time", "-838:59:59"],
  ["time(6)", "-00:00:00.000001"],
  ["time(3)", "12:00:00.500"],
  ["time(1)", "12:00:00.0"],
  ["char(3)", "abc"],
  ["varchar(20)", "é 漢字 😀 𠮷"],
  ["text", "line\n\\'\"\u0000end"],
  ["longtext", "x".repeat(200_000)],
  ["varchar(20) character set latin1", "éß"],
  ["binary(4)", bytes(1, 2), bytes(1, 2, 0, 0)],
  ["varbinary(10)", bytes(0, 39, 92, 255)],
  ["blob", Buffer.from([0, 1, 2]), bytes(0, 1, 2)],
  ["tinyblob", bytes()],
  ["longblob", new Uint8Array(100_000).fill(7)],
  ["blob", new Uint16Array([1, 258]), bytes(1, 0, 2, 1)],
  ["bit(1)", 1, bytes(1)],
  ["bit(10)", 513, bytes(2, 1)],
  ["bit(64)", 18446744073709551615n, bytes(255, 255, 255, 255, 255, 255, 255, 255)],
  ["enum('a','b''c','é')", "b'c"],
  ["set('a','b','c')", "a,c"],
  ["set('a','b','c')", ""],
  ["json", { a: [1, "x", null, { b: true }] }],
  ["json", [1, 2]],
  ["json", "\"text\"", "text"],
  ["json", "null", null],
  ["json", { type: "Point", coordinates: [1, 2] }],
  ["json", { toSqlString: "no" }],
  [
    "decimal(40,10)",
    BigDecimal.fromStringUnsafe("-123456789012345678901234567890.0123456789"),
    "-123456789012345678901234567890.0123456789"
  ],
  ["decimal(30,0)", 2n ** 70n, "1180591620717411303424"],
  ["bigint unsigned", 2n ** 63n],
  ["datetime(3)", DateTime.makeUnsafe(date), date],
  ["varchar(40)", new URL("https://a.example/x"), "https://a.example/x"],
  ["blob", new Float32Array([1, -2.5]), bytes(0, 0, 128, 63, 0, 0, 32, 192)],
  ["int", null],
  ["json", null],
  ["blob", null],
  ["datetime", null],
  ["bigint", null]
]

const addresses: ReadonlyArray<Case> = [
  ["uuid", "123e4567-e89b-12d3-a456-426614174000"],
  ["inet6", "2001:db8::1"],
  ["inet4", "192.0.2.1"]
]

const same = (actual: unknown, expected: unknown, message: string): void => {
  assert.deepStrictEqual(actual, expected, message)
  // `deepStrictEqual` of the assertion library takes a Buffer for any other array of bytes.
  if (expected instanceof Uint8Array) assert.strictEqual((actual as object).constructor, Uint8Array, message)
}

/** Every way to read one value. */
const readings = (session: Session, sql: string, params: ReadonlyArray<unknown>) =>
  Effect.gen(function*() {
    const found: Array<readonly [way: string, value: unknown]> = []
    for (let round = 0; round < 3; round++) {
      found.push([`prepared ${round}`, ((yield* run(session, sql, params)) as any)[0].v])
      found.push([`values ${round}`, (yield* session.executeValues(sql, params))[0]![0]])
    }
    found.push(["unprepared", ((yield* session.executeUnprepared(sql, params, undefined)) as any)[0].v])
    found.push(["unprepared values", (yield* session.executeValuesUnprepared(sql, params))[0]![0]])
    found.push(["stream", ((yield* Stream.runCollect(session.executeStream(sql, params, undefined))) as any)[0].v])
    return found
  })

describeEach("types over $name", (subject) => {
  const roundTrips = (cases: ReadonlyArray<Case>) =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      for (const [type, written, read = written] of cases) {
        const name = yield* table(session, `id int primary key, v ${type}`)
        yield* run(session, `insert into ${name} values (1, ?)`, [written])
        yield* session.executeUnprepared(`insert into ${name} values (2, ?)`, [written], undefined)
        for (let id = 3; id < 6; id++) yield* run(session, `insert into ${name} values (?, ?)`, [id, written])
        const expected = read === undefined ? null : read
        for (let id = 1; id < 6; id++) {
          for (const [way, value] of yield* readings(session, `select v from ${name} where id = ?`, [id])) {
            same(value, expected, `${type}, row ${id}, ${way}`)
          }
        }
        yield* run(session, `drop table ${name}`)
      }
    })

  it.live("are read as they were written, in every way", () => roundTrips(cases), 60_000)

  liveWith(subject, "uuid and inet6")("uuid and inet6 are read as they were written", () => roundTrips(addresses))

  it.live("have dates that mean nothing as invalid dates, and as the server writes them where strings are wanted", () =>
    Effect.gen(function*() {
      const values = [
        ["datetime", "0000-00-00 00:00:00"],
        ["datetime(3)", "2024-00-00 01:02:03.040"],
        ["datetime(6)", "2024-02-29 12:34:56.000000"],
        ["timestamp(2) null", "2024-02-29 12:34:56.10"],
        ["date", "0000-00-00"],
        ["date", "2024-02-00"]
      ] as const
      for (const dateStrings of [false, true]) {
        const session = yield* connect(subject, { sqlMode: "", dateStrings })
        for (const [type, text] of values) {
          const name = yield* table(session, `v ${type}`)
          yield* run(session, `insert into ${name} values (?)`, [text])
          for (const [way, value] of yield* readings(session, `select v from ${name}`, [])) {
            if (dateStrings || type === "date") assert.strictEqual(value, text, way)
            else if (/-00/.test(text)) assert.isTrue(Number.isNaN((value as Date).getTime()), `${text} ${way}`)
            else {assert.strictEqual(
                (value as Date).toISOString(),
                `${text.slice(0, 22).replace(" ", "T").padEnd(23, "0")}Z`,
                way
              )}
          }
        }
      }
    }))

  it.live("do not depend on the time zone of the server, the session or the process", () =>
    Effect.gen(function*() {
      const server = yield* subject.server.make({ settings: { default_time_zone: "+09:00" } })
      assert.strictEqual(new Date(0).getTimezoneOffset(), 300)
      const session = yield* connect(subject, { url: Redacted.make(server.url) })
      assert.strictEqual(yield* one(session, "select @@global.time_zone"), "+09:00")
      const name = yield* table(session, "d datetime(3), t timestamp(3) null, e bigint")
      yield* run(session, `insert into ${name} values (?, ?, unix_timestamp(?) * 1000)`, [date, date, date])
      yield* session.executeUnprepared(`insert into ${name} values (?, ?, unix_timestamp(?) * 1000)`, [
        date,
        date,
        date
      ], undefined)
      for (let round = 0; round < 3; round++) {
        for (const row of (yield* run(session, `select * from ${name}`)) as ReadonlyArray<any>) {
          assert.deepStrictEqual(row, { d: date, t: date, e: date.getTime() })
        }
        assert.strictEqual(yield* one(session, `select count(*) from ${name} where t = ? and d <= ?`, [date, date]), 2)
        const now = yield* one(session, "select now(3)")
        assert.isBelow(Math.abs((now as Date).getTime() - new Date().getTime()), 5_000)
      }
      // What everybody else sees.
      assert.deepStrictEqual(yield* server.query("set time_zone = '+00:00'"), [])
      const [stored] = yield* server.query(`select cast(d as char) d, unix_timestamp(t) t from test.${name}`)
      assert.strictEqual(stored!["d"], "2024-02-29 12:34:56.789")
      assert.strictEqual(Number(stored!["t"]) * 1000, date.getTime())
    }), 60_000)

  it.live("of parameters decide what the server computes", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      for (const execute of [session.executeValues, session.executeValuesUnprepared]) {
        const read = (sql: string, params: ReadonlyArray<unknown>) =>
          Effect.map(execute.call(session, sql, params), (rows) => rows[0])
        for (let round = 0; round < 3; round++) {
          assert.deepStrictEqual(
            yield* read("select ? + 1, ? = 1, ? is null, concat(?, 'x'), length(?)", [
              2,
              true,
              null,
              "é",
              bytes(1, 2, 3)
            ]),
            [3, 1, 1, "éx", 3]
          )
          assert.deepStrictEqual(yield* read("select date_add(cast(? as datetime(3)), interval 1 day)", [date]), [
            new Date(Date.UTC(2024, 2, 1, 12, 34, 56, 789))
          ])
        }
      }
    }))

  it.live("keep identifiers of every script", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "`名前 ``x``` int, `é.ñ` int")
      yield* run(session, `insert into ${name} values (?, ?)`, [1, 2])
      for (let round = 0; round < 3; round++) {
        assert.deepStrictEqual(yield* run(session, `select * from ${name}`), [{ "名前 `x`": 1, "é.ñ": 2 }])
      }
    }))

  it.live("give the last of several columns with one name, as JSON too", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "a json, b json")
      yield* run(session, `insert into ${name} values (?, ?)`, [{ x: 1 }, "\"text\""])
      for (let round = 0; round < 3; round++) {
        assert.deepStrictEqual(yield* run(session, `select a as v, b as v from ${name}`), [{ v: "text" }])
        assert.deepStrictEqual(yield* session.executeValues(`select a as v, b as v from ${name}`, []), [[
          { x: 1 },
          "text"
        ]])
      }
    }))
})
