/** What servers of MySQL and MariaDB say that they are to a cluster. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as MariadbPosition from "../../../src/mysql-family/cluster/mariadbPosition.ts"
import { type Members, ofGalera, ofMysql } from "../../../src/mysql-family/cluster/observation.ts"
import { observe } from "../../../src/mysql-family/cluster/observe.ts"
import * as Place from "../../../src/mysql-family/cluster/position.ts"
import { describeWith, GaleraCluster, GroupReplication, Replication } from "../../support/index.ts"
import { connector, describeEach, subjects } from "../support.ts"

describe("positions of MariaDB", () => {
  const includes = (a: string, b: string) =>
    MariadbPosition.includes(MariadbPosition.parse(a)!, MariadbPosition.parse(b)!)

  it("are compared domain by domain", () => {
    assert.isTrue(includes("0-1-100", ""))
    assert.isFalse(includes("", "0-1-1"))
    assert.isTrue(includes("0-1-100,1-2-5", "0-1-99"))
    assert.isTrue(includes("0-2-100", "0-1-99"))
    assert.isFalse(includes("0-1-100", "0-1-100,1-2-5"))
    // A number that another server gave out after a failover is another transaction.
    assert.isFalse(includes("0-2-100", "0-1-100"))
  })

  it("are not read out of nonsense", () => {
    assert.isUndefined(MariadbPosition.parse("nonsense"))
  })
})

describe("a member of a group", () => {
  const ask = (members: Partial<Members> | undefined, readOnly = "0|0|0", group: string | null = "g") =>
    ofMysql("s", {
      readOnly,
      position: "p",
      has: null,
      group,
      members: members && { all: 3, online: 3, state: "ONLINE", ...members }
    })

  it("is what it says with a majority behind it, and else unfit", () => {
    assert.strictEqual(ask({}).role, "primary")
    assert.strictEqual(ask({}, "1|1|0").role, "replica")
    assert.strictEqual(ask({ online: 2 }).role, "primary")
    for (const state of ["RECOVERING", "ERROR", "OFFLINE", "UNREACHABLE", null]) {
      assert.strictEqual(ask({ state }).role, "unfit", String(state))
    }
    const alone = ask({ online: 1 })
    assert.strictEqual(alone.role, "unfit")
    assert.include(alone.why, "1 of 3")
    // Who sees one of two has no majority either.
    assert.strictEqual(ask({ all: 2, online: 1 }).role, "unfit")
    assert.strictEqual(ask({ all: 1, online: 1 }).role, "primary")
  })

  it("is judged by what it lets itself write, where the role must not see more, or there is no group", () => {
    assert.strictEqual(ask(undefined).role, "primary")
    assert.strictEqual(ask(undefined, "ON|ON|0").role, "replica")
    assert.strictEqual(ask({ all: 1, online: 0, state: null }, "0|0|0", null).role, "primary")
    // A reader of Aurora has no `read_only`.
    assert.strictEqual(ask(undefined, "0|0|1", null).role, "replica")
  })
})

describe("a node of a Galera cluster", () => {
  const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
  const at = (sequence: number, cluster = uuid) => Place.ofGalera(cluster, sequence)
  const synced = {
    wsrep_cluster_state_uuid: uuid,
    wsrep_last_committed: "7",
    wsrep_cluster_status: "Primary",
    wsrep_local_state: "4",
    wsrep_local_state_comment: "Synced",
    wsrep_ready: "ON",
    wsrep_local_index: "2"
  }
  const ask = (status: Record<string, string>, readOnly = "0|0") =>
    ofGalera("s", { readOnly, status: { ...synced, ...status } }, [at(9), at(1, uuid.replace("3", "4")), at(7), at(1)])

  it("is a peer while it is synced with a majority", () => {
    const observation = ask({})
    assert.deepInclude(observation, { role: "peer", lineage: uuid, position: at(7), has: 2, rank: 2 })
    assert.strictEqual(ask({}, "1|0").role, "replica")
    assert.strictEqual(ask({ wsrep_cluster_status: "non-Primary" }).role, "unfit")
    assert.strictEqual(ask({ wsrep_local_state: "2", wsrep_local_state_comment: "Donor/Desynced" }).role, "unfit")
    assert.strictEqual(ask({ wsrep_ready: "OFF" }).role, "unfit")
    assert.isUndefined(ask({ wsrep_last_committed: "-1" }).position)
  })
})

describeEach("a primary and a replica, with $name", (subject) => {
  it.live("say what they are and what they have", () =>
    Effect.gen(function*() {
      const { nodes: [first, second] } = yield* Replication.make(subject.server.shared as "mysql" | "mariadb")
      const to = (url: string) => Effect.flatten(connector(subject, { url: Redacted.make(url) }))
      const primary = yield* to(first!.url)
      const replica = yield* to(second!.url)
      yield* first!.query("create table t (a int)", [], "test")
      const before = yield* observe(primary, [])
      yield* first!.query("insert into t values (1)", [], "test")
      const after = yield* observe(primary, [])
      assert.deepInclude(after, { role: "primary", generation: undefined, has: undefined })
      assert.notStrictEqual(before.position, after.position)
      yield* second!.catchUp(first!)
      const seen = yield* observe(replica, [after.position!, before.position!])
      assert.deepInclude(seen, { role: "replica", has: 0 })
      assert.notStrictEqual(seen.server, after.server)
      // What it does not have, it does not say that it has.
      yield* first!.cutOff
      yield* first!.query("insert into t values (2)", [], "test")
      const newest = yield* observe(primary, [])
      assert.strictEqual((yield* observe(replica, [newest.position!, after.position!])).has, 1)
      assert.isUndefined((yield* observe(replica, [newest.position!])).has)
      yield* second!.promote
      assert.strictEqual((yield* observe(replica, [])).role, "primary")
    }).pipe(Effect.scoped), 120_000)
}, subjects)

const onMysql = subjects.filter(({ server }) => server.name === "MySQL")
const onMariadb = subjects.filter(({ server }) => server.name === "MariaDB")

describeWith("group-replication")("a group, on MySQL", () => {
  for (const subject of onMysql) {
    it.live(
      `over ${subject.name}: its members say what they are, and one that is out is unfit`,
      () =>
        Effect.gen(function*() {
          const group = yield* GroupReplication.make()
          const sessions = yield* Effect.forEach(
            group.members,
            (member) => Effect.flatten(connector(subject, { url: Redacted.make(member.url) }))
          )
          const primary = yield* group.primary
          const roles = Effect.forEach(sessions, (session) => Effect.map(observe(session, []), ({ role }) => role))
          const isPrimary = group.members.map((member) => member === primary)
          assert.deepStrictEqual(yield* roles, isPrimary.map((is) => is ? "primary" : "replica"))
          const out = group.members.findIndex((member) => member !== primary)
          yield* group.members[out]!.query("stop group_replication")
          const observation = yield* observe(sessions[out]!, [])
          assert.strictEqual(observation.role, "unfit")
          assert.include(observation.why, "OFFLINE")
          // A role that must not see the members is told less.
          yield* primary.query("create user plain identified by 'plain'")
          yield* primary.logIn("plain", "plain")
          const plain = yield* Effect.flatten(connector(subject, {
            url: Redacted.make(`mysql://plain:plain@${primary.host}:${primary.port}`),
            allowPublicKeyRetrieval: true
          }))
          assert.deepInclude(yield* observe(plain, []), { role: "primary", lineage: observation.lineage })
        }).pipe(Effect.scoped),
      180_000
    )
  }
})

describeWith("galera")("a Galera cluster, on MariaDB", () => {
  it.live("is made of peers, and a node that is cut off is unfit", () =>
    Effect.gen(function*() {
      const { nodes } = yield* GaleraCluster.make()
      for (const subject of onMariadb) {
        const [one, two] = yield* Effect.forEach(nodes, (node) =>
          Effect.flatten(connector(subject, { url: Redacted.make(node.url) })))
        yield* nodes[0]!.query("create or replace table t (a int primary key)", [], "test")
        const { position, role } = yield* observe(one!, [])
        assert.strictEqual(role, "peer")
        yield* Effect.repeat(observe(two!, [position!]), {
          until: ({ has }) =>
            has === 0,
          schedule: Schedule.spaced("20 millis")
        }).pipe(Effect.timeout("10 seconds"))
        yield* nodes[1]!.cutOff
        const alone = yield* observe(two!, [])
        assert.strictEqual(alone.role, "unfit")
        assert.include(alone.why, "non-Primary")
        yield* nodes[1]!.rejoin
      }
    }).pipe(Effect.scoped), 180_000)
})
