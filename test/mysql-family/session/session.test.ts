import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { connect, describeEach, liveWith, one, run, serverError, sqlFailure, statusOf, table } from "../support.ts"

describeEach("a session over $name", (subject) => {
  it.live("runs statements in every way", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const sql = "select ? as a, ? as b union all select 3, 'z' order by 1"
      const rows = [{ a: 1, b: "x" }, { a: 3, b: "z" }]
      const values = [[1, "x"], [3, "z"]]
      // The first time, the second, and from then on take different ways.
      for (let round = 0; round < 4; round++) {
        assert.deepStrictEqual(yield* run(session, sql, [1, "x"]), rows)
        assert.deepStrictEqual(yield* session.executeValues(sql, [1, "x"]), values)
        assert.deepStrictEqual(yield* session.executeRaw(sql, [1, "x"]), rows)
      }
      assert.deepStrictEqual(yield* session.executeUnprepared(sql, [1, "x"], undefined), rows)
      assert.deepStrictEqual(yield* session.executeValuesUnprepared(sql, [1, "x"]), values)
      const upper = <A extends object>(rows: ReadonlyArray<A>) =>
        rows.map((row) => Object.fromEntries(Object.entries(row).map(([key, value]) => [key.toUpperCase(), value])))
      assert.deepStrictEqual(yield* session.execute(sql, [1, "x"], upper as never), [{ A: 1, B: "x" }, {
        A: 3,
        B: "z"
      }])
      assert.isTrue(session.isReady)
    }))

  it.live("answers writes with no rows, and tells more where it is asked for raw", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int auto_increment primary key, n int")
      assert.deepStrictEqual(yield* run(session, `insert into ${name} (n) values (?), (?)`, [1, 2]), [])
      assert.deepInclude(yield* session.executeRaw(`insert into ${name} (n) values (?), (?)`, [3, 4]), {
        affectedRows: 2,
        insertId: 3,
        warningStatus: 0,
        info: subject.tellsInfo ? "Records: 2  Duplicates: 0  Warnings: 0" : ""
      })
      assert.deepInclude(yield* session.executeRaw(`update ${name} set n = 2 where id < ?`, [4]), {
        affectedRows: 3,
        changedRows: subject.tellsInfo ? 2 : undefined
      })
      assert.deepStrictEqual(yield* session.executeValues(`delete from ${name}`, []), [])
    }))

  liveWith(subject, "RETURNING")("returns what RETURNING returns", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int auto_increment primary key, n int")
      assert.deepStrictEqual(yield* run(session, `insert into ${name} (n) values (?), (?) returning id, n`, [7, 8]), [
        { id: 1, n: 7 },
        { id: 2, n: 8 }
      ])
    }))

  it.live("runs several statements in one unprepared text, and stops at the first that fails", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int auto_increment primary key, n int unique")
      assert.deepStrictEqual(
        yield* session.executeUnprepared(
          `insert into ${name} (n) values (?); select n from ${name} where id = last_insert_id(); -- done`,
          [7],
          undefined
        ),
        [
          {
            affectedRows: 1,
            changedRows: subject.tellsInfo ? 0 : undefined,
            insertId: 1,
            warningStatus: 0,
            info: ""
          },
          [{ n: 7 }]
        ]
      )
      const error = yield* sqlFailure(session.executeUnprepared(
        `insert into ${name} (n) values (8); insert into ${name} (n) values (?); insert into ${name} (n) values (9)`,
        [7],
        undefined
      ))
      assert.strictEqual(serverError(error).errno, 1062)
      assert.deepStrictEqual(yield* run(session, `select n from ${name} order by n`), [{ n: 7 }, { n: 8 }])
      // A prepared statement is always one.
      assert.strictEqual(error.reason._tag, "UniqueViolation")
      assert.strictEqual(serverError(yield* sqlFailure(run(session, "select 1; select 2"))).errno, 1064)
    }))

  it.live("keeps the statements of an unprepared text together, whatever else is waiting", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int auto_increment primary key, n int")
      const insert = (n: number) =>
        session.executeUnprepared(
          `insert into ${name} (n) values (?); select n from ${name} where id = last_insert_id()`,
          [n],
          undefined
        )
      const found = yield* Effect.forEach(Array.from({ length: 20 }, (_, n) => n), insert, { concurrency: "unbounded" })
      assert.deepStrictEqual(found.map(([, rows]: any) => rows[0].n), Array.from({ length: 20 }, (_, n) => n))
    }))

  it.live("makes routines out of a text with semicolons, and calls them", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = `p_${process.pid}_${subject.key}`
      yield* session.executeUnprepared(`drop procedure if exists ${name}`, [], undefined)
      yield* session.executeUnprepared(
        `create procedure ${name}(a int) begin select a as one; select a + 1 as two; end`,
        [],
        undefined
      )
      const results = (yield* session.executeRaw(`call ${name}(?)`, [5])) as ReadonlyArray<unknown>
      assert.deepStrictEqual(results.slice(0, 2), [[{ one: 5 }], [{ two: 6 }]])
      yield* session.executeUnprepared(`drop procedure ${name}`, [], undefined)
      yield* session.executeUnprepared(`create procedure ${name}(a int) begin select a as one; end`, [], undefined)
      assert.deepStrictEqual(yield* run(session, `call ${name}(?)`, [5]), [{ one: 5 }])
      assert.deepStrictEqual(yield* session.executeUnprepared(`call ${name}(?)`, [5], undefined), [{ one: 5 }])
      yield* run(session, `drop procedure ${name}`)
    }))

  it.live("prepares what it can and sends the rest as text", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      for (let round = 0; round < 3; round++) {
        yield* run(session, "use test")
        yield* run(session, "begin")
        yield* run(session, "rollback")
      }
    }))

  it.live("does without prepared statements where it is told to", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { disablePreparedStatements: true })
      const before = yield* statusOf(subject, session, "com_stmt_prepare")
      assert.deepStrictEqual(yield* run(session, "select ? as a, ? as b", ["it's \\ ?", 2]), [{ a: "it's \\ ?", b: 2 }])
      const after = yield* statusOf(subject, session, "com_stmt_prepare")
      assert.strictEqual(after, before)
    }))

  it.live("keeps a bounded number of prepared statements", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { preparedStatementCacheSize: 5 })
      const prepared = statusOf(subject, session, "prepared_stmt_count")
      const before = Number(yield* one(session, "select @@global.max_prepared_stmt_count"))
      assert.isAbove(before, 0)
      for (let round = 0; round < 3; round++) {
        for (let n = 0; n < 40; n++) {
          assert.deepStrictEqual(yield* run(session, `select ? as c${n}`, [n]), [{ [`c${n}`]: n }])
        }
        yield* run(session, "select ? as often", [1])
      }
      assert.isBelow(Number(yield* prepared), 60)
    }))

  it.live("prepares again what the server has forgotten", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key, a int")
      for (let round = 0; round < 3; round++) yield* run(session, `select * from ${name} where id = ?`, [1])
      yield* run(session, `alter table ${name} add column b int default 7`)
      yield* run(session, `insert into ${name} (id, a) values (1, 2)`)
      for (let round = 0; round < 3; round++) {
        assert.deepStrictEqual(yield* run(session, `select * from ${name} where id = ?`, [1]), [{ id: 1, a: 2, b: 7 }])
      }
    }))

  it.live("refuses parameters that cannot be sent, before anything is sent", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      for (
        const [value, problem] of [
          [NaN, /parameter 2: NaN is no value/],
          [Infinity, /parameter 2: the number is infinite/],
          [new Date(NaN), /the Date is invalid/],
          [() => 1, /a function is no value/],
          [Symbol("x"), /a symbol is no value/],
          [{ a: 1 }, /sql\.json/]
        ] as const
      ) {
        for (
          const effect of [
            run(session, "select ?, ?", [1, value]),
            session.executeUnprepared("select ?, ?", [1, value], undefined)
          ]
        ) {
          const error = yield* sqlFailure(effect)
          assert.strictEqual(error.reason._tag, "UnknownError")
          assert.match(error.message, problem)
        }
      }
      for (let round = 0; round < 3; round++) {
        for (const params of [[], [1], [1, 2, 3]]) {
          const error = yield* sqlFailure(run(session, "select ?, ?", params))
          assert.isFalse(error.isRetryable)
          yield* sqlFailure(session.executeUnprepared("select ?, ?", params, undefined))
        }
      }
      assert.strictEqual(yield* one(session, "select 1"), 1)
      assert.isTrue(session.isReady)
    }))

  it.live("is safe from injection through parameters, whatever a backslash means", () =>
    Effect.gen(function*() {
      for (const sqlMode of ["STRICT_TRANS_TABLES", "STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES,ANSI_QUOTES"]) {
        const session = yield* connect(subject, { sqlMode })
        for (const text of ["\\", "\\'", "'", "''", "\\' or 1=1 -- ", "\u0000", "a\nb", "é\\'", "😀'\\", "%_", "?"]) {
          for (let round = 0; round < 3; round++) {
            assert.strictEqual(yield* one(session, "select ?", [text]), text)
          }
          const [[value, other]] = (yield* session.executeValuesUnprepared("select ?, '?'", [text])) as any
          assert.strictEqual(value, text)
          assert.strictEqual(other, "?")
        }
      }
    }))

  it.live("never shows a parameter in an error", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key, mail varchar(20) unique, d date")
      const secret = "top-secret"
      yield* run(session, `insert into ${name} values (1, ?, null)`, [secret])
      const failing = [
        run(session, `insert into ${name} values (2, ?, null)`, [secret]),
        session.executeUnprepared(`insert into ${name} values (2, ?, null)`, [secret], undefined),
        run(session, `insert into ${name} values (?, 'x', null)`, [secret]),
        run(session, `insert into ${name} values (3, null, ?)`, [secret]),
        run(session, "select cast(? as signed) from x.y", [secret]),
        session.executeUnprepared("select ? from", [secret], undefined),
        session.executeUnprepared("selec ?", [secret], undefined),
        session.executeUnprepared(`update ${name} set id = ?`, [secret], undefined),
        run(session, `insert into ${name} values (4, repeat(?, 9), null)`, [secret])
      ]
      for (const effect of failing) {
        const error = yield* sqlFailure(effect)
        const shown = `${error.message} ${String(error)} ${JSON.stringify(error)} ${String(error.reason.cause)} ${
          JSON.stringify(error.reason.cause)
        } ${error.stack}`
        assert.notInclude(shown, secret)
      }
    }))

  it.live("says what is wrong with a statement", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const error = yield* sqlFailure(run(session, "select * form users"))
      assert.strictEqual(error.reason._tag, "SqlSyntaxError")
      assert.match(error.message, /near 'form users'/)
      assert.match(error.message, /^(mysql|mariadb):\/\/127\.0\.0\.1:\d+\/\w+: /)
    }))

  it.live("sends whole numbers as such, so that decimals keep their digits", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      for (let round = 0; round < 3; round++) {
        const big = "cast('12345678901234567890.12' as decimal(30, 2))"
        for (
          const [value, sum] of [[1, "91.12"], [4294967296, "12345678905529535186.12"], [-1, "89.12"], [
            5n,
            "95.12"
          ]] as const
        ) {
          // MySQL gives a sum with a parameter the decimals that a decimal may have at most.
          const shown = (found: any) => String(found).replace(/(\.\d\d)0+$/, "$1")
          const found = shown(yield* one(session, `select ${big} + ?`, [value]))
          assert.isTrue(found.endsWith(sum), `${found} ${value}`)
          const [[text]] = (yield* session.executeValuesUnprepared(`select ${big} + ?`, [value])) as any
          assert.strictEqual(shown(text), found)
        }
        assert.strictEqual(yield* one(session, "select json_extract(json_set('{}', '$.a', ?), '$.a')", [1]), 1)
        assert.deepStrictEqual(yield* run(session, "select 1 as a union select 2 limit ?", [1]), [{ a: 1 }])
      }
    }))

  it.live("gives a bigint where a number would not be exact, or always if it is asked for", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "a bigint unsigned, b bigint")
      for (let round = 0; round < 3; round++) {
        for (const execute of [session.execute, session.executeUnprepared]) {
          const read = (params: ReadonlyArray<unknown>) =>
            run(session, `delete from ${name}`).pipe(
              Effect.andThen(execute.call(session, `insert into ${name} values (?, ?)`, params, undefined)),
              Effect.andThen(execute.call(session, `select * from ${name}`, [], undefined))
            )
          assert.deepStrictEqual(yield* read([18446744073709551615n, -9223372036854775808n]), [
            { a: 18446744073709551615n, b: -9223372036854775808n }
          ])
          assert.deepStrictEqual(yield* read([9007199254740991n, 9007199254740992n]), [
            { a: 9007199254740991, b: 9007199254740992n }
          ])
          assert.deepStrictEqual(yield* Effect.provideService(read([1, 2]), SqlClient.SafeIntegers, true), [{
            a: 1n,
            b: 2n
          }])
        }
      }
    }))

  it.live("leaves nothing behind in the session", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const changes = [
        "set @a = 1",
        "set session sql_mode = 'ANSI_QUOTES'",
        "set time_zone = '+05:00'",
        "set names latin1",
        "set autocommit = 0",
        "create temporary table left_behind (id int)",
        "select get_lock('left behind', 0)",
        "set transaction isolation level serializable",
        "select 5 into @a",
        "use information_schema",
        "begin",
        "prepare p from 'select 1'"
      ]
      const state =
        "select @a, @@sql_mode, @@time_zone, @@character_set_client, @@autocommit, is_used_lock('left behind'), @@character_set_results"
      const clean = yield* session.executeValues(state, [])
      for (const change of changes) {
        for (let round = 0; round < 2; round++) {
          yield* run(session, change)
          assert.isFalse(session.isReady, change)
          yield* session.reset
          assert.isTrue(session.isReady, change)
          assert.deepStrictEqual(yield* session.executeValues(state, []), clean, change)
        }
      }
      assert.strictEqual(serverError(yield* sqlFailure(run(session, "select * from left_behind"))).errno, 1146)
      assert.strictEqual(yield* one(session, "select 'é😀'"), "é😀")
    }))

  it.live("knows that statements are about another database after USE", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const sql = "select database()"
      for (let round = 0; round < 3; round++) assert.strictEqual(yield* one(session, sql), "test")
      yield* run(session, "use mysql")
      assert.strictEqual(yield* one(session, sql), "mysql")
      assert.isAbove((yield* run(session, "select user from user")).length, 0)
      yield* session.reset
      assert.strictEqual(yield* one(session, sql), "test")
      const url = new URL(subject.server.url())
      const homeless = yield* connect(subject, {
        host: url.hostname,
        port: Number(url.port),
        username: url.username,
        password: Redacted.make(url.password)
      })
      assert.strictEqual(yield* one(homeless, sql), null)
      yield* run(homeless, "use mysql")
      // There is no way back to no database.
      yield* sqlFailure(homeless.reset)
      assert.isTrue(homeless.isClosed)
    }))

  it.live("answers a ping, and says goodbye", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      yield* session.ping
      assert.isTrue(session.isReady)
      yield* session.close
      assert.isTrue(session.isClosed)
      yield* session.close
      const error = yield* sqlFailure(run(session, "select 1"))
      assert.strictEqual(error.reason._tag, "ConnectionError")
      assert.isTrue(error.isRetryable)
    }))
})
