import * as PgTypes from "@effect/sql-pg/PgTypes"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Session } from "../../../src/postgres/session/Session.ts"
import { connect, connector, failure, fields, one, run, sqlFailure } from "../support.ts"

const date = new Date("2026-02-03T04:05:06.789Z")

describe("parameters", () => {
  const cases: ReadonlyArray<[name: string, value: unknown, sql: string, type: string, result: unknown]> = [
    ["a small integer", 7, "$1", "integer", 7],
    ["the smallest int4", -2147483648, "$1", "integer", -2147483648],
    ["an integer beyond int4", 2147483648, "$1", "bigint", 2147483648n],
    ["the largest safe integer", Number.MAX_SAFE_INTEGER, "$1", "bigint", 9007199254740991n],
    ["an integer beyond the safe ones", 2 ** 60, "$1", "double precision", 2 ** 60],
    ["a fraction", 1.5, "$1", "double precision", 1.5],
    ["NaN", NaN, "$1", "double precision", NaN],
    ["infinity", -Infinity, "$1", "double precision", -Infinity],
    ["a bigint", 2n ** 62n, "$1", "bigint", 2n ** 62n],
    ["true", true, "$1", "boolean", true],
    ["a string", "añ💧", "$1::text", "text", "añ💧"],
    ["an empty string", "", "$1::text", "text", ""],
    ["a string where a number is wanted", "12", "$1::int", "integer", 12],
    ["a string where a date is wanted", "2026-02-03", "$1::date", "date", "2026-02-03"],
    ["null", null, "$1::int", "integer", null],
    ["a date", date, "$1", "timestamp with time zone", date],
    ["bytes", new Uint8Array([0, 1, 255]), "$1", "bytea", new Uint8Array([0, 1, 255])],
    ["signed bytes", new Int8Array([-1, 2]), "$1", "bytea", new Uint8Array([255, 2])],
    ["integers", [1, null, 3], "$1", "integer[]", [1, null, 3]],
    ["strings", ["a", "b,\"c\""], "$1", "text[]", ["a", "b,\"c\""]],
    ["booleans", [true, false], "$1", "boolean[]", [true, false]],
    ["an empty array", [], "$1::int[]", "integer[]", []],
    ["an array of arrays", [[1, 2], [3, null]], "$1", "integer[]", [[1, 2], [3, null]]],
    ["a typed parameter", PgTypes.numeric("1.50"), "$1", "numeric", "1.50"],
    ["json", PgTypes.jsonb({ a: [1, { b: null }] }), "$1", "jsonb", { a: [1, { b: null }] }],
    ["uuid", PgTypes.uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), "$1", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]
  ]
  for (const [name, value, sql, type, result] of cases) {
    it.effect(`${name} is sent as ${type}`, () =>
      Effect.gen(function*() {
        const session = yield* connect()
        const [row] = yield* run(session, `select ${sql} as value, pg_typeof(${sql})::text as type`, [value])
        assert.deepStrictEqual({
          ...row,
          value: row.value instanceof Uint8Array ? Uint8Array.from(row.value) : row.value
        }, {
          value: result,
          type
        })
      }))
  }

  const refused: ReadonlyArray<[name: string, value: unknown, message: string]> = [
    ["an object", { a: 1 }, "parameter $2: an object has no PostgreSQL type of its own: pass sql.json(value)"],
    ["undefined", undefined, "parameter $2: undefined is no value: pass null"],
    ["undefined in an array", [1, undefined], "parameter $2: undefined is no value"],
    ["a function", () => 1, "parameter $2: a function is no value"],
    ["a symbol", Symbol.iterator, "parameter $2: a symbol is no value"],
    ["uneven arrays in an array", [[1], [2, 3]], "the arrays inside an array must all have the same length"],
    ["a mixed array", [1, "a"], "parameter $2: the elements of an array must all be of one type"],
    ["an array of nulls", [null], "parameter $2: the type of an array that contains only nulls is not known"],
    ["a bad value of a typed parameter", PgTypes.int4(1.5), "int4"]
  ]
  for (const [name, value, message] of refused) {
    it.effect(`${name} is refused before anything is written, and the session goes on`, () =>
      Effect.gen(function*() {
        const session = yield* connect()
        yield* session.begin({})
        const error = yield* sqlFailure(run(session, "select $1, $2", [1, value]))
        assert.strictEqual(error.reason._tag, "UnknownError")
        assert.isFalse(error.isRetryable)
        assert.include(error.message, message)
        // Had the server seen it, the transaction would be aborted.
        assert.strictEqual(yield* one(session, "select $1::int", [1]), 1)
        yield* session.commit
      }))
  }

  it.effect("a statement with a NUL is refused", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      assert.include((yield* sqlFailure(run(session, "select 1 -- \u0000"))).message, "NUL")
      assert.include((yield* sqlFailure(session.script("select 1 -- \u0000"))).message, "NUL")
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.effect("as many parameters as the protocol can count: arrive; one more: refused", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const many = Array.from({ length: 65_535 }, (_, index) => index)
      const sql = `select cardinality(array[${many.map((_, index) => `$${index + 1}::int`).join(",")}])`
      assert.strictEqual(yield* one(session, sql, many), 65_535)
      const error = yield* sqlFailure(run(session, sql, [...many, 1]))
      assert.include(error.message, "at most 65535 parameters, not 65536: use Bulk.insert, or Arrays.unnest")
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }), 60_000)

  it.effect("ten thousand parameters and a megabyte of text arrive", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const many = Array.from({ length: 10_000 }, (_, index) => index)
      const sql = `select count(*)::int from (values ${many.map((_, index) => `($${index + 1}::int)`).join(",")}) as v`
      assert.strictEqual(yield* one(session, sql, many), 10_000)
      assert.strictEqual(yield* one(session, "select length($1)", ["é".repeat(1_000_000)]), 1_000_000)
    }))
})

describe("results", () => {
  const known: ReadonlyArray<[sql: string, value: unknown]> = [
    ["1::int2", 1],
    ["1::int8", 1n],
    ["1.5::float4", 1.5],
    ["1.50::numeric", "1.50"],
    ["'NaN'::numeric", "NaN"],
    ["'a'::varchar", "a"],
    ["'ab'::char(3)", "ab "],
    ["'a'::name", "a"],
    ["'2026-02-03'::date", "2026-02-03"],
    ["'infinity'::date", "infinity"],
    ["'12:00'::time", 43_200_000_000n],
    ["'1 day 2 seconds'::interval", { months: 0, days: 1, microseconds: 2_000_000n }],
    ["'2026-02-03 04:05:06.789+00'::timestamptz", date],
    ["'10.0.0.1/8'::inet", "10.0.0.1/8"],
    ["'{\"a\":1}'::json", { a: 1 }],
    ["array['a',null]::text[]", ["a", null]],
    ["null::int4range", null]
  ]
  const unknown: ReadonlyArray<[sql: string, value: unknown]> = [
    ["'[1,5)'::int4range", { lower: 1, upper: 5, bounds: "[)" }],
    ["'{[1,3),(,0)}'::int4multirange", [{ lower: null, upper: 0, bounds: "()" }, { lower: 1, upper: 3, bounds: "[)" }]],
    ["array[int4range(1,2)]", [{ lower: 1, upper: 2, bounds: "[)" }]],
    ["row(1,'a')", [1, "a"]],
    ["'(1,2)'::point", { x: 1, y: 2 }],
    ["'((0,0),(1,1))'::box", [{ x: 1, y: 1 }, { x: 0, y: 0 }]],
    ["B'101'", "101"],
    ["'101'::varbit", "101"],
    ["'12.34'::money", "$12.34"],
    ["'08:00:2b:01:02:03'::macaddr", "08:00:2b:01:02:03"],
    ["'a b'::tsvector", "'a' 'b'"],
    ["'a & b'::tsquery", "'a' & 'b'"],
    ["'0/16B3748'::pg_lsn", "0/16B3748"],
    ["'<a/>'::xml", "<a/>"],
    ["'$.a'::jsonpath", "$.\"a\""],
    ["'=r/postgres'::aclitem", "=r/postgres"],
    ["'int4'::regtype", "integer"],
    ["'1'::xid", 1],
    ["'a'::\"char\"", "a"]
  ]
  it.effect("types with a codec come as values, all of them also as rows of values", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sql = `select ${known.map(([sql], index) => `${sql} as c${index}`).join(", ")}`
      const expected = known.map(([, value]) => value)
      for (const _ of [1, 2]) {
        assert.deepStrictEqual(Object.values((yield* run(session, sql))[0]), expected)
        assert.deepStrictEqual((yield* session.executeValues(sql, []))[0], expected)
      }
    }))

  it.effect("types that the driver does not know come as values or as PostgreSQL's text, also the first time and beside known ones", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sql = `select 7 as seven, ${unknown.map(([sql], index) => `${sql} as c${index}`).join(", ")}, now() as now`
      const expected = unknown.map(([, value]) => value)
      for (const _ of [1, 2, 3]) {
        const [row] = yield* run(session, sql)
        assert.deepStrictEqual(Object.values(row).slice(1, -1), expected)
        assert.strictEqual(row.seven, 7)
        assert.instanceOf(row.now, Date)
      }
      assert.deepStrictEqual(
        Object.values((yield* session.executeUnprepared(sql, [], undefined))[0]).slice(1, -1),
        expected
      )
    }))

  it.effect("enums, domains, composites and their arrays come as values", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.begin({})
      yield* run(session, "create type pg_temp.mood as enum ('sad', 'happy')")
      yield* run(session, "create domain pg_temp.small as int check (value < 10)")
      yield* run(session, "create type pg_temp.pair as (a int, b text)")
      const [row] = yield* run(
        session,
        `select 'sad'::pg_temp.mood m, array['sad','happy']::pg_temp.mood[] ms, 7::pg_temp.small s,
          row(1,'x y')::pg_temp.pair p, array[row(1,'x')::pg_temp.pair] ps`
      )
      assert.deepStrictEqual(row, {
        m: "sad",
        ms: ["sad", "happy"],
        s: 7,
        p: { a: 1, b: "x y" },
        ps: [{ a: 1, b: "x" }]
      })
      yield* session.rollback
    }))

  it.effect("a write that returns a type without a codec is run once", () =>
    Effect.gen(function*() {
      const open = yield* connector()
      const session = yield* open
      yield* run(session, "create temp table place (id serial, spot tsvector, area int4range)")
      const insert = "insert into place (spot, area) values ($1, $2) returning id, spot, area"
      for (const id of [1, 2, 3]) {
        assert.deepStrictEqual(yield* run(session, insert, ["a b", "[1,9)"]), [
          { id, spot: "'a' 'b'", area: { lower: 1, upper: 9, bounds: "[)" } }
        ])
      }
      assert.strictEqual(yield* one(session, "select count(*)::int from place"), 3)
    }))

  it.effect("a second session needs one round trip for what a first one has described", () =>
    Effect.gen(function*() {
      let trips = 0
      const open = yield* connector()
      const first = yield* open
      const second = yield* open
      const sql = "select $1::int + 1 as next, 'a'::tsvector as spot"
      yield* run(first, sql, [1])
      const spy = (second as unknown as { reader: { onReady: (...args: ReadonlyArray<unknown>) => void } }).reader
      const onReady = spy.onReady
      spy.onReady = function(...args) {
        trips++
        onReady.apply(spy, args as never)
      }
      assert.deepStrictEqual(yield* run(second, sql, [1]), [{ next: 2, spot: "'a'" }])
      assert.strictEqual(trips, 1)
      assert.deepStrictEqual(yield* run(second, sql, [2]), [{ next: 3, spot: "'a'" }])
      assert.strictEqual(trips, 2)
    }))

  const changes: ReadonlyArray<[from: string, to: string, value: string, expected: unknown]> = [
    ["int", "text", "7", "7"],
    ["text", "int", "7", 7],
    ["point", "text", "(1,2)", "(1,2)"],
    ["int", "numeric", "7", "7"]
  ]
  for (const [from, to, value, expected] of changes) {
    it.effect(`a column that turns from ${from} to ${to} reads right in a new session with an old description`, () =>
      Effect.gen(function*() {
        const open = yield* connector()
        const [first, second] = [yield* open, yield* open]
        const other = yield* connect()
        const table = `changing_${from}_${to}`
        yield* run(other, `drop table if exists ${table}`)
        yield* run(other, `create table ${table} (a ${from})`)
        yield* run(other, `insert into ${table} values ('${value}')`)
        const sql = `select a from ${table} where a is distinct from null`
        yield* run(first, sql)
        const using = from === "point" ? "a::text" : `a::text::${to}`
        yield* run(other, `alter table ${table} alter a type ${to} using ${using}`)
        assert.deepStrictEqual(yield* run(second, sql), [{ a: expected }])
        assert.deepStrictEqual(yield* run(first, sql), [{ a: expected }])
        yield* run(other, `drop table ${table}`)
      }))
  }

  it.effect("a column whose new type cannot be read any more fails the statement, once", () =>
    Effect.gen(function*() {
      const open = yield* connector()
      const [first, second] = [yield* open, yield* open]
      const other = yield* connect()
      yield* run(other, "drop table if exists changing")
      yield* run(other, "create table changing (a int)")
      yield* run(other, "insert into changing values (1)")
      yield* run(first, "select a from changing")
      yield* run(other, "alter table changing alter a type tsvector using a::text::tsvector")
      const error = yield* sqlFailure(run(second, "select a from changing"))
      assert.include(error.message, "column \"a\"")
      assert.isFalse(error.isRetryable)
      assert.deepStrictEqual(yield* run(second, "select a from changing"), [{ a: "'1'" }])
      assert.deepStrictEqual(yield* run(first, "select a from changing"), [{ a: "'1'" }])
      yield* run(other, "drop table changing")
    }))

  it.effect("a value that its codec cannot read fails its statement only", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const [bad, good] = yield* Effect.all([
        Effect.exit(
          run(
            session,
            "select case when clock_timestamp() is not null then '290000-01-01'::timestamp end as grid, generate_series(1, 3)"
          )
        ),
        run(session, "select 1 as one")
      ], { concurrency: "unbounded" })
      assert.strictEqual(bad._tag, "Failure")
      assert.deepStrictEqual(good, [{ one: 1 }])
      const error = yield* sqlFailure(run(session, "select '290000-01-01'::timestamp as grid"))
      assert.include(error.message, "the statement ran, but column \"grid\" cannot be decoded")
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.effect("a codec of one's own is used, and one that throws costs no session", () =>
    Effect.gen(function*() {
      const types = PgTypes.makeRegistry()
      types.register<{ lsn: bigint }>(3220, {
        encode: () => Result.succeed(new Uint8Array(8)),
        decode: (bytes) => Result.succeed({ lsn: new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0) })
      })
      types.register(600, {
        encode: () => {
          throw new Error("no")
        },
        decode: () => {
          throw new Error("unreadable")
        }
      })
      const session = yield* connect({ types })
      assert.deepStrictEqual(yield* one(session, "select '0/10'::pg_lsn"), { lsn: 16n })
      assert.strictEqual((yield* sqlFailure(run(session, "select '(1,2)'::point as p"))).reason._tag, "UnknownError")
      assert.strictEqual(
        (yield* sqlFailure(run(session, "select $1", [{
          [PgTypes.ParameterTypeId]: PgTypes.ParameterTypeId,
          oid: 600,
          value: 1
        }]))).reason._tag,
        "UnknownError"
      )
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.effect("column names of any kind are keys of their own", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const names = ["__proto__", "constructor", "a\"b", "a\\b", "1", "", "üñ", "toString", "line\nbreak"]
      const columns = names.map((name, index) =>
        `${index}${name === "" ? "" : ` as "${name.replaceAll("\"", "\"\"")}"`}`
      )
      for (const rows of [1, 40]) {
        for (const some of [columns, columns.slice(1)]) {
          const result = yield* run(session, `select ${some.join(", ")} from generate_series(1, ${rows})`)
          for (const row of result) {
            assert.strictEqual(Object.getPrototypeOf(row), Object.prototype)
            assert.strictEqual(Object.keys(row).length, some.length)
            assert.strictEqual(Object.getOwnPropertyDescriptor(row, "a\"b")?.value, 2)
            assert.strictEqual(row["line\nbreak"], 8)
            if (some === columns) assert.strictEqual(Object.getOwnPropertyDescriptor(row, "__proto__")?.value, 0)
          }
        }
      }
    }))

  it.effect("the raw result is that of the driver", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      assert.deepStrictEqual(yield* session.executeRaw("select 1 as a, 'x' as b", []), {
        command: "SELECT",
        rowCount: 1,
        oid: null,
        rows: [{ a: 1, b: "x" }],
        fields: [{ name: "a", dataTypeId: 23 }, { name: "b", dataTypeId: 25 }]
      })
      yield* run(session, "create temp table t (a int)")
      const inserted = yield* session.executeRaw("insert into t select generate_series(1, 5)", [])
      assert.deepStrictEqual(inserted, { command: "INSERT", rowCount: 5, oid: 0, rows: [], fields: [] })
      assert.strictEqual((yield* session.executeRaw("update t set a = 1", [])).rowCount, 5)
      assert.strictEqual((yield* session.executeRaw("set lock_timeout = 0", [])).command, "SET")
      assert.deepStrictEqual((yield* session.executeRaw("", [])).rows, [])
    }))

  it.effect("a row of 20 MB is a row like any other", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      assert.strictEqual((yield* one(session, "select repeat('x', 20000000)")).length, 20_000_000)
    }))

  it.effect("a row beyond maxMessageSize ends the session with a typed error", () =>
    Effect.gen(function*() {
      const session = yield* connect({ maxMessageSize: 65_536 })
      const error = yield* sqlFailure(run(session, "select repeat('x', 200000)"))
      assert.include(error.message, "maxMessageSize")
      assert.isFalse(error.isRetryable)
      assert.isTrue(session.isClosed)
    }))
})

describe("errors of the server", () => {
  const cases: ReadonlyArray<[sql: string, tag: string, code: string, retryable: boolean]> = [
    ["selec", "SqlSyntaxError", "42601", false],
    ["select * from nowhere", "SqlSyntaxError", "42P01", false],
    ["select 1/0", "UnknownError", "22012", false],
    ["insert into pairs values (1, 2)", "UniqueViolation", "23505", false],
    ["insert into pairs values (null, 2)", "ConstraintError", "23502", false],
    ["do $$ begin raise sqlstate '40001'; end $$", "SerializationError", "40001", true],
    ["do $$ begin raise sqlstate '40P01'; end $$", "DeadlockError", "40P01", true],
    ["do $$ begin raise sqlstate '55P03'; end $$", "LockTimeoutError", "55P03", true],
    ["do $$ begin raise sqlstate '57014'; end $$", "StatementTimeoutError", "57014", false],
    ["do $$ begin raise sqlstate '42501'; end $$", "AuthorizationError", "42501", false],
    ["do $$ begin raise sqlstate '28000'; end $$", "AuthenticationError", "28000", false],
    ["do $$ begin raise sqlstate '08006'; end $$", "ConnectionError", "08006", false],
    ["do $$ begin raise sqlstate '53200'; end $$", "UnknownError", "53200", false],
    ["do $$ begin raise exception 'custom'; end $$", "UnknownError", "P0001", false]
  ]
  const pairs = (session: Session) =>
    Effect.andThen(
      run(session, "create temp table pairs (a int constraint pairs_key primary key, b int)"),
      run(session, "insert into pairs values (1, 1)")
    )
  it.effect("have the reason, the fields and an honest answer about repeating", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* pairs(session)
      for (const [sql, tag, code, retryable] of cases) {
        const error = yield* sqlFailure(run(session, sql))
        assert.strictEqual(error.reason._tag, tag, sql)
        assert.strictEqual(fields(error).code, code)
        assert.strictEqual(error.isRetryable, retryable, sql)
        assert.include(error.message, code)
        assert.include(error.message, "postgresql://127.0.0.1:")
      }
      const violation = yield* sqlFailure(run(session, "insert into pairs values (1, 2)"))
      assert.strictEqual(violation.reason._tag === "UniqueViolation" && violation.reason.constraint, "pairs_key")
      assert.strictEqual(fields(violation).table, "pairs")
      assert.strictEqual(fields(violation).severity, "ERROR")
      assert.include(fields(violation).detail, "(a)=(1)")
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.effect("never show a parameter in their message", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* pairs(session)
      const secret = "s3cr3t"
      for (
        const [sql, param] of [["select $1::int", secret], ["select $1::date", secret], ["select $1::json", secret]]
      ) {
        const error = yield* sqlFailure(run(session, sql!, [param]))
        assert.notInclude(error.message, secret)
      }
      assert.notInclude((yield* sqlFailure(run(session, "select $1", [{ secret }]))).message, secret)
    }))

  it.effect("a lock timeout inside a transaction is not retryable there", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.begin({})
      const error = yield* sqlFailure(run(session, "do $$ begin raise sqlstate '55P03'; end $$"))
      assert.isFalse(error.isRetryable)
      yield* session.rollback
    }))

  it.effect("an error among pipelined statements is about its own only", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const exits = yield* Effect.all(
        Array.from({ length: 50 }, (_, index) =>
          Effect.exit(one(session, index % 3 === 0 ? "select 1 / $1::int" : "select 1 + $1::int", [index % 3]))),
        { concurrency: "unbounded" }
      )
      exits.forEach((exit, index) =>
        assert.strictEqual(exit._tag, index % 3 === 0 ? "Failure" : "Success")
      )
    }))

  it.effect("COPY is refused without costing the session", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp table t (a int)")
      for (const sql of ["copy t from stdin", " copy t to stdout"]) {
        yield* failure(run(session, sql))
        yield* failure(session.script(sql))
        assert.strictEqual(yield* one(session, "select 1"), 1)
        const exits = yield* Effect.all([Effect.exit(run(session, sql)), Effect.exit(run(session, "select 1"))], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Failure", "Success"])
      }
    }))
})
