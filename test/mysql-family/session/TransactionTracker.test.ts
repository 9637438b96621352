import { assert, describe, it } from "@effect/vitest"
import { Status } from "../../../src/mysql-family/driver/Driver.ts"
import { type Leave, TransactionTracker } from "../../../src/mysql-family/session/TransactionTracker.ts"
import { profileOf } from "../../../src/mysql-family/statement/statements.ts"

const outside = Status.Autocommit
const inside = Status.Autocommit | Status.InTransaction
const without = 0

const error = { errno: 1064, sqlState: "42000", message: "syntax" }
const deadlock = { errno: 1213, sqlState: "40001", message: "deadlock" }

type Event = (tracker: TransactionTracker) => void

const answer = (sql: string, flags: number, leave: Leave = "none"): Event => (tracker) =>
  tracker.answered(flags, profileOf(sql), leave)
const refuse = (sql: string, ends = false): Event => (tracker) =>
  tracker.refused(ends ? deadlock : error, profileOf(sql), ends)
const probe = (flags: number): Event => (tracker) => tracker.probed(flags)
const begin: Event = (tracker) => {
  tracker.acknowledged(inside)
  tracker.begun(false, "START TRANSACTION")
}
const finish: Event = (tracker) => {
  tracker.acknowledged(outside)
  tracker.finished()
}
const finishRefused: Event = (tracker) => tracker.finishRefused()
const acknowledge: Event = (tracker) => tracker.acknowledgedEnd()
const vanish: Event = (tracker) => tracker.vanished()
const reset: Event = (tracker) => tracker.reset()

const after = (events: ReadonlyArray<Event>) => {
  const tracker = new TransactionTracker()
  for (const event of events) event(tracker)
  return tracker
}

const shown = ({ state }: TransactionTracker) =>
  state._tag === "Unknown" || state._tag === "Ended" ? `${state._tag} ${state.before}` : state._tag

describe("TransactionTracker: events → state", () => {
  const rows: ReadonlyArray<readonly [string, ReadonlyArray<Event>, string]> = [
    ["nothing", [], "None"],
    ["an answer outside", [answer("select 1", outside)], "None"],
    ["BEGIN by hand", [answer("begin", inside)], "Open"],
    ["no autocommit", [answer("set autocommit = 0", without)], "Open"],
    ["BEGIN and COMMIT by hand", [answer("begin", inside), answer("commit", outside)], "None"],
    ["a plain statement refused outside", [refuse("select x")], "None"],
    ["any other refused outside", [refuse("call p()")], "Unknown None"],
    ["any other refused outside, then an answer", [refuse("call p()"), answer("select 1", inside)], "Open"],
    ["a refusal in a transaction by hand", [answer("begin", inside), refuse("select x")], "Unknown Open"],
    ["a probe finds a transaction by hand", [answer("begin", inside), refuse("select x"), probe(inside)], "Open"],
    ["a probe finds none by hand", [answer("begin", inside), refuse("select x"), probe(outside)], "Ended None"],
    ["a deadlock in a transaction by hand", [answer("begin", inside), refuse("select 1", true)], "Ended Open"],
    ["begin", [begin], "Managed"],
    ["begin, an answer", [begin, answer("select 1", inside)], "Managed"],
    ["begin, finished", [begin, finish], "None"],
    ["begin, a refusal", [begin, refuse("select x")], "Unknown Managed"],
    ["begin, a refusal, an answer", [begin, refuse("select x"), answer("select 1", inside)], "Managed"],
    ["begin, a refusal, a probe finds it", [begin, refuse("select x"), probe(inside)], "Managed"],
    ["begin, a refusal, a probe finds none", [begin, refuse("select x"), probe(outside)], "Ended Managed"],
    ["begin, a deadlock", [begin, refuse("update t set a = 1", true)], "Ended Managed"],
    ["begin, a deadlock, another answer", [
      begin,
      refuse("update t set a = 1", true),
      answer("select 1", outside)
    ], "Ended Managed"],
    ["begin, a deadlock, another refusal", [
      begin,
      refuse("update t set a = 1", true),
      refuse("select x")
    ], "Ended Managed"],
    ["begin, DDL without leave", [begin, answer("create table t (a int)", outside)], "Ended Managed"],
    ["begin, DDL with leave", [
      begin,
      (tracker) => tracker.noteWork(),
      answer("create table t (a int)", outside, "release")
    ], "Released"],
    ["begin, a routine commits, with leave", [begin, answer("call p()", outside, "release")], "Ended Managed"],
    ["begin, DDL that makes nothing twice, with leave", [
      begin,
      answer("create table if not exists t (a int)", outside, "lapse")
    ], "Unknown Managed"],
    ["that, and begun anew", [
      begin,
      answer("create table if not exists t (a int)", outside, "lapse"),
      probe(inside)
    ], "Managed"],
    ["begin, work, DDL with leave", [
      begin,
      answer("create table if not exists t (a int)", outside, "release")
    ], "Released"],
    ["released, an answer", [begin, answer("commit", outside, "release"), answer("select 1", outside)], "Released"],
    [
      "released, a deadlock",
      [begin, answer("commit", outside, "release"), refuse("select 1", true)],
      "Unknown Released"
    ],
    ["released, a refusal, a probe", [
      begin,
      answer("commit", outside, "release"),
      refuse("select x"),
      probe(outside)
    ], "Released"],
    ["released, finished", [begin, answer("commit", outside, "release"), finish], "None"],
    ["ended, acknowledged", [begin, refuse("select 1", true), acknowledge], "Unknown Managed"],
    ["ended, acknowledged, rolled back", [begin, refuse("select 1", true), acknowledge, finish], "None"],
    ["ended, finished", [begin, refuse("select 1", true), finish], "None"],
    ["ended by hand, acknowledged, ROLLBACK", [
      answer("begin", inside),
      refuse("select 1", true),
      acknowledge,
      answer("rollback", outside)
    ], "None"],
    ["a savepoint that is gone", [begin, vanish], "Ended Managed"],
    ["COMMIT refused", [begin, finishRefused], "Unknown Open"],
    ["reset", [answer("set autocommit = 0", without), refuse("select x"), reset], "None"],
    ["reset of an end", [begin, refuse("select 1", true), reset], "None"]
  ]
  it.each(rows)("%s", (_, events, expected) => {
    assert.strictEqual(shown(after(events)), expected)
  })
})

describe("TransactionTracker: DDL that lapses", () => {
  const make = profileOf("create table if not exists t (a int)")
  const index = profileOf("create index i on t (a)")
  it("only in a transaction that is empty and can be begun anew", () => {
    assert.isFalse(after([]).mayLapseFor(make))
    assert.isTrue(after([begin]).mayLapseFor(make))
    assert.isFalse(after([begin, (tracker) => tracker.noteWork()]).mayLapseFor(make))
    assert.isFalse(after([(tracker) => tracker.begun(false, undefined)]).mayLapseFor(make))
    assert.isFalse(after([begin]).mayLapseFor(profileOf("create table t (a int)")))
    assert.isFalse(after([begin]).mayLapseFor(profileOf("drop table if exists t")))
  })
  it("an index only after a table that was made", () => {
    assert.isFalse(after([begin]).mayLapseFor(index))
    const made = after([begin, answer("create table if not exists t (a int)", outside, "lapse")])
    assert.isTrue(made.mayLapseFor(index))
    assert.strictEqual(made.probeSql, "START TRANSACTION")
    made.probed(inside)
    assert.strictEqual(made.probeSql, "DO 0")
    assert.isTrue(made.mayLapseFor(index))
  })
})

describe("TransactionTracker: what follows from the state", () => {
  const rows: ReadonlyArray<
    readonly [ReadonlyArray<Event>, { clean: boolean; inside: boolean; managed: boolean; probe: boolean }]
  > = [
    [[], { clean: true, inside: false, managed: false, probe: false }],
    [[answer("begin", inside)], { clean: false, inside: true, managed: false, probe: false }],
    [[begin], { clean: false, inside: true, managed: true, probe: false }],
    [[begin, refuse("select x")], { clean: false, inside: true, managed: true, probe: true }],
    [[answer("begin", inside), refuse("select x")], { clean: false, inside: true, managed: false, probe: true }],
    [[refuse("call p()")], { clean: false, inside: true, managed: false, probe: false }],
    [[begin, refuse("select 1", true)], { clean: false, inside: false, managed: true, probe: false }],
    [[begin, answer("commit", outside, "release")], { clean: false, inside: true, managed: true, probe: false }],
    [[begin, finish], { clean: true, inside: false, managed: false, probe: false }]
  ]
  it.each(rows.map(([events, expected]) => [shown(after(events)), events, expected] as const))(
    "%s",
    (_, events, expected) => {
      const tracker = after(events)
      assert.deepStrictEqual({
        clean: tracker.isClean,
        inside: tracker.isInside,
        managed: tracker.isManaged,
        probe: tracker.needsProbe
      }, expected)
    }
  )

  it("says why the transaction has ended", () => {
    assert.match(after([begin, refuse("update t", true)]).ended!.message, /UPDATE failed: deadlock \(1213\)/)
    assert.strictEqual(after([begin, refuse("update t", true)]).ended!.errno, 1213)
    assert.match(after([begin, answer("drop table t", outside)]).ended!.message, /DROP TABLE has ended it/)
    assert.match(after([begin, refuse("select x"), probe(outside)]).ended!.message, /after an error/)
  })

  it("keeps the access of a managed transaction until it is finished", () => {
    const tracker = new TransactionTracker()
    tracker.begun(true, undefined)
    tracker.refused(error, profileOf("select 1"), false)
    assert.isTrue(tracker.isReadOnly)
    tracker.finished()
    assert.isFalse(tracker.isReadOnly)
  })
})
