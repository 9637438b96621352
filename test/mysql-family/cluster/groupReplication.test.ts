/** A group of MySQL servers that decides by itself who is the primary, while others go on writing. */
import { it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Failover from "../../cluster/failover.ts"
import { describeWith, FaultProxy, GroupReplication, type ServerError } from "../../support/index.ts"
import { subjects } from "../support.ts"
import { layerOfNodes, urlOfNodes } from "./nodes.ts"

type Member = GroupReplication.Member

interface Fate {
  /** Succeeds when there is a primary that has a majority. */
  readonly happens: (
    old: Member,
    others: ReadonlyArray<Member>
  ) => Effect.Effect<void, ServerError>
  readonly after: (old: Member, others: ReadonlyArray<Member>) => Effect.Effect<void, ServerError>
}

const own = "select member_role as role, (select count(*) from performance_schema.replication_group_members " +
  "where member_state = 'ONLINE') as online from performance_schema.replication_group_members " +
  "where member_id = @@server_uuid and member_state = 'ONLINE'"

/** Waits until one of these is the primary, and sees so many members. */
const leads = (members: ReadonlyArray<Member>, atLeast: number) =>
  Effect.raceAllFirst(members.map((member) =>
    Effect.repeat(Effect.orElseSucceed(member.query(own), () => []), {
      until: ([row]) => row?.["role"] === "PRIMARY" && Number(row["online"]) >= atLeast,
      schedule: Schedule.spaced("20 millis")
    })
  )).pipe(Effect.asVoid)

const fates: Record<string, Fate> = {
  "whose primary is killed": {
    happens: (old, others) => Effect.andThen(old.kill, leads(others, 2)),
    after: (old) => old.rejoin
  },
  "whose primary stands still, and goes on when it has been expelled": {
    happens: (old, others) => Effect.asVoid(Effect.all([leads(others, 2), old.expel], { concurrency: 2 })),
    after: (old) => old.rejoin
  },
  "whose primary is alone for a while, so that its writes hang": {
    happens: (old, others) =>
      Effect.gen(function*() {
        yield* Effect.forEach(others, (other) => other.pause, { discard: true })
        yield* Effect.repeat(
          old.query(
            "select count(*) as n from performance_schema.replication_group_members where member_state = 'UNREACHABLE'"
          ),
          { until: ([row]) => Number(row!["n"]) === 2, schedule: Schedule.spaced("50 millis") }
        )
        yield* Effect.forEach(others, (other) => other.resume, { discard: true })
        yield* leads([old, ...others], 2)
      }),
    after: (old, others) =>
      Effect.forEach([old, ...others], (member) => member.online, { discard: true, concurrency: "unbounded" })
  },
  "of which another member is expelled": {
    happens: (_, [other]) => other!.expel,
    after: (_, [other]) => other!.rejoin
  }
}

const onMysql = subjects.filter(({ server }) => server.name === "MySQL")

describeWith("group-replication")("a group, under load,", () => {
  for (const [index, [name, { after, happens }]] of Object.entries(fates).entries()) {
    const subject = onMysql[index % onMysql.length]!
    it.live(`${name}: nothing is lost or done twice, over ${subject.name}`, () =>
      Effect.gen(function*() {
        const group = yield* GroupReplication.make()
        const nodes = yield* Effect.forEach(group.members, (member) =>
          Effect.map(FaultProxy.make(member.url), (clients) => ({
            member,
            clients,
            query: (statement: string) =>
              member.query(statement, [], "test")
          })))
        const primary = Effect.map(group.primary, (member) =>
          nodes.find((node) => node.member === member)!)
        const report = yield* Failover.run({ url: urlOfNodes(group.members[0]!, nodes), nodes, primary }, {
          seconds: 4,
          seed: 74,
          killEvery: 2,
          locking: "for update",
          layer: (url, pool) => layerOfNodes(subject, url, pool),
          blow: () =>
            Effect.gen(function*() {
              const old = yield* group.primary
              const others = group.members.filter((member) => member !== old)
              yield* happens(old, others)
              return { takenOverAt: yield* Clock.currentTimeMillis, after: after(old, others) }
            })
        })
        Failover.check(report)
      }).pipe(Effect.scoped), 300_000)
  }
})
