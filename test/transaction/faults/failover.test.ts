/**
 * What a resolver must not believe. The id of a transaction is given out again after a failover that lost it, and after
 * a crash that lost it: the server then says "committed", and means somebody else.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import * as net from "node:net"
import { Outcome, Retry, Transaction } from "watertight"
import { describeWith, FaultProxy, PostgresServer } from "../../support/index.ts"
import { layerAt, reasonOf, sqlFailure } from "../support.ts"

const commit = "Q\u0000\u0000\u0000\u000bCOMMIT\u0000"

const insert = (id: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<
      { xid: string }
    >`insert into t (id) values (${id}) returning pg_current_xact_id()::text as xid`
    return rows[0]!.xid
  })

/** An address whose server can be changed, as a name in a DNS or a balancer does. */
const makeSwitch = Effect.fnUntraced(function*(first: PostgresServer.PostgresServer) {
  let target: PostgresServer.PostgresServer | undefined = first
  const sockets = new Set<net.Socket>()
  const server = net.createServer((client) => {
    if (target === undefined) return void client.resetAndDestroy()
    const upstream = net.connect(target.port, target.host)
    for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on("error", () => {})
      socket.on("close", () => {
        sockets.delete(socket)
        other.destroy()
      })
      socket.pipe(other)
    }
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.sync(() => {
        server.close()
        for (const socket of sockets) socket.destroy()
      })
  )
  return {
    host: "127.0.0.1",
    port: (server.address() as net.AddressInfo).port,
    to: (next: PostgresServer.PostgresServer | undefined) => Effect.sync(() => void (target = next))
  }
})

const awaitRow = (server: PostgresServer.PostgresServer, question: string) =>
  Effect.repeat(server.query(question), {
    schedule: Schedule.spaced("20 millis"),
    while: (rows) => rows.length === 0
  })

const statusOf = (server: PostgresServer.PostgresServer, xid: string) =>
  Effect.map(server.query("select pg_xact_status($1::text::xid8) as status", [xid]), (rows) => rows[0]!["status"])

describeWith("standby")("a standby that was promoted", () => {
  /** The primary commits, the standby never hears of it and is promoted, and the ids are given out again. */
  const lose = Effect.fnUntraced(function*(spec: Transaction.Spec) {
    const primary = yield* PostgresServer.make()
    yield* primary.query("create table t (id int not null)")
    yield* primary.query("create table other (id int not null)")
    yield* primary.query(
      "create table watertight_transaction (key text primary key, created_at timestamptz default now())"
    )
    const standby = yield* primary.standby()
    yield* awaitRow(standby, "select 1 where to_regclass('watertight_transaction') is not null")
    yield* standby.query("alter system set primary_conninfo = ''")
    yield* standby.query("select pg_reload_conf()")
    yield* awaitRow(standby, "select 1 where not exists (select from pg_stat_wal_receiver)")
    const address = yield* makeSwitch(primary)
    const proxy = yield* FaultProxy.make(address)
    const url = `postgres://postgres@${proxy.host}:${proxy.port}/postgres`
    return yield* Effect.gen(function*() {
      let xid = ""
      const rule = yield* proxy.when(commit, "after")
      const caller = yield* Effect.forkChild(Effect.exit(
        Transaction.run(Effect.map(insert(1), (assigned) => xid = assigned), spec)
      ))
      yield* rule.fired
      yield* address.to(undefined)
      // The primary has committed it.
      yield* awaitRow(primary, "select id from t")
      const first = xid
      yield* primary.stop("immediate")
      yield* standby.promote
      // The trap: the id is given out again, and is committed.
      while (
        (yield* standby.query("select pg_current_xact_id() > $1::text::xid8 as passed", [first]))[0]!["passed"] !== true
      ) {
        yield* standby.query("insert into other values (1)")
      }
      assert.strictEqual(yield* statusOf(standby, first), "committed")
      assert.deepStrictEqual(yield* standby.query("select id from t"), [], "the standby has never heard of it")
      yield* address.to(standby)
      return { standby, exit: yield* Fiber.join(caller) }
    }).pipe(Effect.provide(layerAt(url, { pool: { backoffCap: "250 millis" } })))
  })

  for (const resolve of ["free", "always"] as const) {
    it.live(`"committed" is not believed: resolve "${resolve}" answers unknown`, () =>
      Effect.gen(function*() {
        const { exit } = yield* lose({ resolve })
        const error = yield* sqlFailure(exit)
        assert.strictEqual(reasonOf(error)?._tag, "CommitUnknown")
        assert.isTrue(Outcome.isUnknown(error))
      }), 60_000)
  }

  it.live(
    "an idempotency key survives it: the transaction is repeated on the new primary, once",
    () =>
      Effect.gen(function*() {
        const { exit, standby } = yield* lose({ idempotencyKey: "one" })
        assert.strictEqual(exit._tag, "Success")
        assert.deepStrictEqual(yield* standby.query("select id from t"), [{ id: 1 }])
      }),
    60_000
  )
})

describeWith("postgresql")("a server that crashed", () => {
  const setUp = Effect.gen(function*() {
    // Nothing is written to the log ahead of need.
    const server = yield* PostgresServer.make({ settings: { wal_writer_delay: "10s", autovacuum: "off" } })
    yield* server.query("create table t (id int not null)")
    yield* server.query("create table other (id int not null)")
    yield* server.query("checkpoint")
    const proxy = yield* FaultProxy.make(server.url)
    return { server, proxy, layer: layerAt(proxy.url, { pool: { backoffCap: "250 millis" } }) }
  })

  it.live("an id that was given out again is not believed", () =>
    Effect.gen(function*() {
      const { layer, proxy, server } = yield* setUp
      const error = yield* Effect.gen(function*() {
        let xid = ""
        const rule = yield* proxy.when(commit, "hold")
        const caller = yield* Effect.forkChild(sqlFailure(
          Transaction.run(Effect.map(insert(1), (assigned) => xid = assigned), { retry: Retry.never })
        ))
        yield* rule.fired
        yield* proxy.refuse
        yield* server.kill
        yield* server.start
        while (
          (yield* server.query("select pg_current_xact_id() > $1::text::xid8 as passed", [xid]))[0]!["passed"] !== true
        ) {
          yield* server.query("insert into other values (1)")
        }
        assert.strictEqual(yield* statusOf(server, xid), "committed", "the trap is not set")
        assert.deepStrictEqual(yield* server.query("select id from t"), [])
        yield* proxy.heal
        return yield* Fiber.join(caller)
      }).pipe(Effect.provide(layer))
      assert.isTrue(Outcome.isUnknown(error) || Outcome.isNotApplied(error), error.message)
    }), 60_000)

  it.live("an id that was given out again before a second crash is not believed", () =>
    Effect.gen(function*() {
      const { layer, proxy, server } = yield* setUp
      const error = yield* Effect.gen(function*() {
        let xid = ""
        const rule = yield* proxy.when(commit, "hold")
        const caller = yield* Effect.forkChild(sqlFailure(
          Transaction.run(Effect.map(insert(1), (assigned) => xid = assigned), { retry: Retry.never })
        ))
        yield* rule.fired
        yield* proxy.refuse
        yield* server.kill
        yield* server.start
        while (
          (yield* server.query("select pg_current_xact_id() > $1::text::xid8 as passed", [xid]))[0]!["passed"] !== true
        ) {
          yield* server.query("insert into other values (1)")
        }
        yield* Effect.sleep("1 second")
        yield* server.kill
        yield* server.start
        assert.strictEqual(yield* statusOf(server, xid), "committed", "the trap is not set")
        assert.deepStrictEqual(yield* server.query("select id from t"), [])
        yield* proxy.heal
        return yield* Fiber.join(caller)
      }).pipe(Effect.provide(layer))
      assert.isTrue(Outcome.isUnknown(error) || Outcome.isNotApplied(error), error.message)
    }), 60_000)

  for (const [mode, spec] of [["its id alone", {}], ["a key", { idempotencyKey: "one" }]] as const) {
    it.live(`a COMMIT that reached the log before the crash, with ${mode}`, () =>
      Effect.gen(function*() {
        const { layer, proxy, server } = yield* setUp
        const exit = yield* Effect.gen(function*() {
          const rule = yield* proxy.when(commit, "blackholeReply")
          const caller = yield* Effect.forkChild(Effect.exit(
            Transaction.run(Effect.as(insert(1), "done"), { retry: Retry.never, ...spec })
          ))
          yield* rule.fired
          yield* awaitRow(server, "select id from t")
          yield* proxy.refuse
          yield* server.kill
          yield* server.start
          yield* proxy.heal
          yield* proxy.cutAll
          return yield* Fiber.join(caller)
        }).pipe(Effect.provide(layer))
        if (mode === "a key") {
          assert.deepStrictEqual(exit, Exit.succeed("done"))
        } else {
          // It is there, but the id could be somebody else's if the server had crashed twice.
          assert.strictEqual(reasonOf(yield* sqlFailure(exit))?._tag, "CommitUnknown")
        }
      }), 60_000)
  }

  it.live(
    "a COMMIT that never reached the server is known not to be there, and is repeated",
    () =>
      Effect.gen(function*() {
        const { layer, proxy, server } = yield* setUp
        yield* Effect.gen(function*() {
          const rule = yield* proxy.when(commit, "hold")
          const caller = yield* Effect.forkChild(Transaction.run(insert(1)))
          yield* rule.fired
          yield* server.kill
          yield* server.start
          yield* Fiber.join(caller)
        }).pipe(Effect.provide(layer))
        assert.deepStrictEqual(yield* server.query("select id from t"), [{ id: 1 }])
      }),
    60_000
  )

  it.live(
    "a backend that was killed crashes all of them, and the server that stays is not taken for the same",
    () =>
      Effect.gen(function*() {
        const { layer, proxy, server } = yield* setUp
        const error = yield* Effect.gen(function*() {
          let xid = ""
          const rule = yield* proxy.when(commit, "hold")
          const caller = yield* Effect.forkChild(sqlFailure(
            Transaction.run(Effect.map(insert(1), (assigned) => xid = assigned), { retry: Retry.never })
          ))
          yield* rule.fired
          yield* proxy.refuse
          const [backend] = yield* server.query("select pid from pg_stat_activity where state = 'idle in transaction'")
          const recovery = Effect.map(
            server.query("select pg_stat_get_bgwriter_stat_reset_time()::text as at"),
            (rows) => rows[0]!["at"]
          )
          const before = yield* recovery
          process.kill(backend!["pid"] as number, "SIGKILL")
          // It has recovered when it counts anew.
          yield* Effect.repeat(Effect.orElseSucceed(recovery, () => before), {
            schedule: Schedule.spaced("20 millis"),
            while: (at) => at === before
          })
          while (
            (yield* server.query("select pg_current_xact_id() > $1::text::xid8 as passed", [xid]))[0]!["passed"] !==
              true
          ) {
            yield* server.query("insert into other values (1)")
          }
          assert.strictEqual(yield* statusOf(server, xid), "committed", "the trap is not set")
          yield* proxy.heal
          return yield* Fiber.join(caller)
        }).pipe(Effect.provide(layer))
        assert.isTrue(Outcome.isUnknown(error) || Outcome.isNotApplied(error), error.message)
      }),
    60_000
  )
})

describeWith("postgresql")("a COMMIT that waits for a standby that is missing", () => {
  const setUp = Effect.gen(function*() {
    const server = yield* PostgresServer.make({ settings: { synchronous_commit: "on" } })
    yield* server.query("create table t (id int not null)")
    yield* server.query("alter system set synchronous_standby_names = 'ghost'")
    yield* server.query("select pg_reload_conf()")
    yield* awaitRow(server, "select 1 where current_setting('synchronous_standby_names') = 'ghost'")
    return server
  })

  /** What the caller hears when this is done to the session that waits. */
  const disturb = Effect.fnUntraced(
    function*(server: PostgresServer.PostgresServer, how: string, spec: Transaction.Spec) {
      const caller = yield* Effect.forkChild(Effect.exit(Transaction.run(Effect.as(insert(1), "done"), spec)))
      yield* awaitRow(server, "select 1 from pg_stat_activity where wait_event = 'SyncRep'")
      yield* server.query(`select ${how}(pid) from pg_stat_activity where wait_event = 'SyncRep'`)
      return yield* Fiber.join(caller)
    }
  )

  it.live("ended by an administrator, it is unknown, although the row is there", () =>
    Effect.gen(function*() {
      const server = yield* setUp
      yield* Effect.gen(function*() {
        const error = yield* sqlFailure(yield* disturb(server, "pg_terminate_backend", { resolve: "never" }))
        assert.strictEqual(reasonOf(error)?._tag, "CommitUnknown")
        assert.isFalse(error.isRetryable)
        assert.deepStrictEqual(yield* server.query("select id from t"), [{ id: 1 }])
      }).pipe(Effect.provide(layerAt(server.url)))
    }), 60_000)

  it.live("ended by an administrator, it is found applied", () =>
    Effect.gen(function*() {
      const server = yield* setUp
      yield* Effect.gen(function*() {
        const exit = yield* disturb(server, "pg_terminate_backend", { resolve: "free" })
        assert.deepStrictEqual(exit, yield* Effect.exit(Effect.succeed("done")))
        assert.deepStrictEqual(yield* server.query("select id from t"), [{ id: 1 }])
      }).pipe(Effect.provide(layerAt(server.url)))
    }), 60_000)

  it.live("cancelled, it is a success: the server says so, with a warning", () =>
    Effect.gen(function*() {
      const server = yield* setUp
      yield* Effect.gen(function*() {
        const exit = yield* disturb(server, "pg_cancel_backend", { resolve: "never" })
        assert.deepStrictEqual(exit, yield* Effect.exit(Effect.succeed("done")))
        assert.deepStrictEqual(yield* server.query("select id from t"), [{ id: 1 }])
      }).pipe(Effect.provide(layerAt(server.url)))
    }), 60_000)

  it.live(
    "past its deadline, the session that still waits is left alone, and the answer is unknown",
    () =>
      Effect.gen(function*() {
        const server = yield* setUp
        yield* Effect.gen(function*() {
          const exit = yield* Effect.exit(Transaction.run(insert(1)))
          const error = yield* sqlFailure(exit)
          assert.strictEqual(reasonOf(error)?._tag, "CommitUnknown")
          const waiting = yield* server.query("select 1 from pg_stat_activity where wait_event = 'SyncRep'")
          assert.strictEqual(waiting.length, 1)
          // Let it go, so that the server can stop.
          yield* server.query("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
        }).pipe(Effect.provide(layerAt(server.url, { controlTimeout: "500 millis", resolveTimeout: "2 seconds" })))
      }),
    60_000
  )
})
