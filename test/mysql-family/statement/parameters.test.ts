import { assert, describe, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { takesJson } from "../../../src/mysql-family/statement/jsonPlaces.ts"
import { check, isWide, JsonValue, type Parameter } from "../../../src/mysql-family/statement/parameters.ts"
import { Decimal } from "../../../src/values/Value.ts"

const context = { sql: "select ?", noBackslashEscapes: false, undefinedIsNull: false, renameKeys: undefined }
const checkOne = (value: unknown, more: Partial<typeof context> = {}) =>
  Result.map(check([value], { ...context, ...more }), ([parameter]) => parameter)

describe("a place for JSON", () => {
  const yes = [
    "insert into t (doc) values (?)",
    "INSERT INTO t(id, doc) VALUES (1, ?), (2, ?)",
    "replace into t values (?)",
    "insert into t value (?)",
    "values row(?)",
    "insert into t set doc = ?",
    "insert into t (doc) values (?) on duplicate key update doc = ?",
    "insert into t (doc) values (?) as new on duplicate key update doc = ?, n = n + 1",
    "update t set doc = ?",
    "update t set n = 1, `d``oc` = ? where id = 1",
    "update a join b on a.id = b.id set a.doc = ?, b.doc = ?",
    "update t set s.t.doc = ? limit 1",
    "select json_contains(doc, ?)",
    "select * from json_table(?, '$[*]' columns (id int path '$'))",
    "select 5 member of (?)",
    "select cast(? as json)",
    "select convert(?, json)",
    "select st_geomfromgeojson(?)",
    "update t set doc = json_set(doc, '$.a', ?)",
    "/* ? */ insert -- ?\n into t # ?\n values (?)",
    "insert into t values ('?', \"?\", `?`, ?)",
    "select 1; insert into t values (?)"
  ]
  const no = [
    "select ?",
    "select ? as v",
    "delete from t where id in (?)",
    "delete from t where id = ?",
    "select * from t where (a, b) in ((?, 1))",
    "select * from t where a in (1, ?)",
    "select * from t where doc = ?",
    "update t set a = 1 where id = ?",
    "update t set a = 1 where id in (?)",
    "update t set a = b = ?",
    "update t set a = case when b = ? then 1 else 2 end",
    "update t set a = ? + 1",
    "update t set a = coalesce(?, 1)",
    "insert into t values (1 + ?)",
    "insert into t values (abs(?))",
    "insert into t values (? + 1)",
    "insert into t select * from u where id in (?)",
    "insert into t (a) values (1) on duplicate key update a = ? + 1",
    "select f(?)",
    "call p(?)",
    "select * from t limit ?",
    "select concat(?, 'x')",
    "insert into t values (1); delete from t where id in (?)",
    "update t set a = 1; select b = ?"
  ]
  const places = (sql: string) => {
    const all: Array<boolean> = []
    for (let index = 0; index < 2; index++) all.push(takesJson(sql, index, false))
    return all
  }
  for (const sql of yes) it(`yes: ${JSON.stringify(sql)}`, () => assert.isTrue(places(sql)[0]))
  for (const sql of no) it(`no: ${JSON.stringify(sql)}`, () => assert.isFalse(places(sql)[0]))

  it("each placeholder has its own answer", () => {
    assert.deepStrictEqual(places("insert into t values (?, 1) on duplicate key update a = ? + 1"), [true, false])
    assert.deepStrictEqual(places("update t set doc = ? where id in (?)"), [true, false])
    assert.isTrue(takesJson("insert into t values ('\\'?', ?)", 0, false))
    assert.isTrue(takesJson("insert into t values ('\\', ?)", 0, true))
  })
})

describe("a parameter", () => {
  const sent: ReadonlyArray<readonly [given: unknown, sent: Parameter]> = [
    [null, null],
    ["", ""],
    ["a\u0000b\\'", "a\u0000b\\'"],
    ["😀", "😀"],
    [0, 0],
    [1.5, 1.5],
    [-5, -5],
    [true, true],
    [2n ** 64n - 1n, 2n ** 64n - 1n],
    [new Date(0), new Date(0)],
    [new Date("0000-01-01T00:00:00Z"), new Date("0000-01-01T00:00:00Z")],
    [new Date("9999-12-31T23:59:59.999Z"), new Date("9999-12-31T23:59:59.999Z")],
    [new Uint8Array([1, 2]), Buffer.from([1, 2])],
    [new Uint8Array([0, 1, 2, 3]).subarray(1, 3), Buffer.from([1, 2])],
    [new Float32Array([1]), Buffer.from([0, 0, 128, 63])],
    [new Uint8Array([7]).buffer, Buffer.from([7])],
    [new URL("https://a.example/x?y"), "https://a.example/x?y"],
    [DateTime.makeUnsafe(0), new Date(0)],
    [BigDecimal.fromStringUnsafe("-12345678901234567890.0123"), new Decimal("-12345678901234567890.0123")],
    [new JsonValue(null), "null"],
    [new JsonValue([5]), "[5]"],
    [new JsonValue("x"), "\"x\""]
  ]
  it("what is a value: sent as what it is", () => {
    for (const [given, expected] of sent) {
      assert.deepStrictEqual(Result.getOrThrow(checkOne(given)), expected, String(given))
    }
  })

  const refused: ReadonlyArray<readonly [name: string, value: unknown, sentence: RegExp]> = [
    ["undefined", undefined, /pass null/],
    ["NaN", NaN, /NaN/],
    ["Infinity", -Infinity, /infinite/],
    ["an invalid Date", new Date(NaN), /invalid/],
    ["a Date before year 0", new Date(Date.UTC(-1, 0, 1)), /year/],
    ["a Date after 9999", new Date(Date.UTC(10_000, 0, 1)), /year/],
    ["half a character", "a\ud800", /half/],
    ["half a character in a URL's place", "\udc00b", /half/],
    ["a symbol", Symbol("s3cret"), /symbol/],
    ["a function", () => "s3cret", /function/],
    ["a Set", new Set(["s3cret"]), /Set/],
    ["a Map", new Map([["s3cret", 1]]), /Map/],
    ["a RegExp", /s3cret/, /RegExp/],
    ["a Promise", Promise.resolve("s3cret"), /await/],
    ["an Effect", Effect.sync(() => "s3cret"), /Effect/],
    ["an Effect that is there", Effect.succeed("s3cret"), /Effect/],
    ["an Option", Option.some("s3cret"), /Option\.getOrNull/],
    ["a Redacted", Redacted.make("s3cret"), /Redacted\.value/],
    ["an Error", new Error("s3cret"), /Error/],
    ["a boxed number", Object(5), /boxed/],
    [
      "an instance of a class",
      new (class Money {
        readonly amount = "s3cret"
      })(),
      /Money/
    ],
    ["an array outside of a place for JSON", [5], /sql\.in/],
    ["an empty array", [], /sql\.in/],
    ["a typed array outside of a place to be stored", new Int32Array([5]), /sql\.in/],
    ["another one", new BigInt64Array([5n]), /Uint8Array/],
    ["an object outside of a place for JSON", { a: "s3cret" }, /sql\.json/],
    ["a JSON value without JSON", new JsonValue(undefined), /JSON/],
    ["a bigint in JSON", new JsonValue({ a: 1n }), /bigint/],
    ["NaN in JSON", new JsonValue([NaN]), /NaN/],
    [
      "a getter that throws",
      new JsonValue({
        get a() {
          throw new Error("s3cret")
        }
      }),
      /cannot be read|no JSON/
    ]
  ]
  for (const [name, value, sentence] of refused) {
    it(`${name}: refused, and never shown`, () => {
      const result = check(["first", value], { ...context, sql: "select ?, ?" })
      assert.isTrue(Result.isFailure(result))
      const { position, problem } = (result as Result.Failure<unknown, any>).failure
      assert.strictEqual(position, 2)
      assert.match(problem, sentence)
      assert.notInclude(problem, "s3cret")
    })
  }

  it("undefined, where the option says so: null", () => {
    assert.strictEqual(Result.getOrThrow(checkOne(undefined, { undefinedIsNull: true })), null)
  })

  it("an object or an array at a place for JSON: its JSON, and of a typed array its bytes", () => {
    const sql = "insert into t (doc) values (?)"
    assert.deepStrictEqual(Result.getOrThrow(checkOne(new Uint16Array([258]), { sql })), Buffer.from([2, 1]))
    assert.strictEqual(
      Result.getOrThrow(checkOne({ type: "Point", toSqlString: 1 }, { sql })),
      "{\"type\":\"Point\",\"toSqlString\":1}"
    )
    assert.strictEqual(
      Result.getOrThrow(checkOne([1, { at: new Date(0) }], { sql })),
      "[1,{\"at\":\"1970-01-01T00:00:00.000Z\"}]"
    )
  })

  it("plain parameters: the array that was given, and not a copy", () => {
    const params = [1, "a", null, true, 5n, new Date(0), Buffer.from([1])]
    assert.strictEqual(Result.getOrThrow(check(params, context)), params as never)
  })

  it("numbers beyond the protocol's integers: known as such", () => {
    assert.isFalse(isWide([2n ** 63n - 1n, -(2n ** 63n), 1.5, "x"]))
    assert.isTrue(isWide([1, 2n ** 63n]))
    assert.isTrue(isWide([-(2n ** 63n) - 1n]))
    assert.isTrue(isWide([new Decimal("1.5")]))
  })
})
