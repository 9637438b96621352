/**
 * Asks a server what it is, on a connection of its own that nobody waits for.
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../Adapter.ts"
import * as Evidence from "../failure/Evidence.ts"
import { timeoutOrElse } from "../timing/timeout.ts"
import type { ClusterAdapter } from "./ClusterAdapter.ts"
import type { Member } from "./Member.ts"
import type { Observation } from "./state/Observation.ts"

/** How long a server has for its answer, in milliseconds, and for a connection before it. */
const answerLimit = 500
const connectLimit = 1_000

/** What came of a question. */
export type Report =
  | { readonly _tag: "Answered"; readonly observation: Observation }
  | { readonly _tag: "Failed"; readonly reason: "Refused" | "Silent" | "Busy"; readonly error: SqlError | undefined }

const silent: Report = { _tag: "Failed", reason: "Silent", error: undefined }

/** Who asks, and wants to hear when the connection to a server is lost between two questions. */
interface Asker {
  readonly cluster: ClusterAdapter
  readonly onLost: (member: Member) => void
}

/** Asks, and never fails. */
export const ask = (
  { cluster, onLost }: Asker,
  member: Member,
  positions: ReadonlyArray<string>,
  probe: number
): Effect.Effect<Report> =>
  Effect.suspend(() => {
    const { monitor } = member
    if (monitor === undefined || monitor.isClosed) return onNewConnection({ cluster, onLost }, member, positions, probe)
    return Effect.flatMap(observe(cluster, monitor, positions, probe), (report) =>
      // The server was started again, perhaps.
      monitor.isClosed && report.reason !== "Silent"
        ? onNewConnection({ cluster, onLost }, member, positions, probe)
        : Effect.succeed(report))
  }).pipe(
    Effect.tap((report) =>
      Effect.sync(() => {
        member.error = report._tag === "Failed" ? report.error ?? member.error : undefined
        if (report._tag === "Answered") return
        member.monitor?.destroy("the server did not answer what it is")
        member.monitor = undefined
      })
    )
  ) as Effect.Effect<Report>

const onNewConnection = (
  { cluster, onLost }: Asker,
  member: Member,
  positions: ReadonlyArray<string>,
  probe: number
): Effect.Effect<AnyReport> =>
  member.adapter.connect.pipe(
    Effect.flatMap((connection) => {
      member.monitor = connection
      connection.onLost(() => onLost(member))
      return observe(cluster, connection, positions, probe)
    }),
    Effect.catch((error) => Effect.succeed(failed(member, error))),
    (asked) => timeoutOrElse(asked, { duration: connectLimit, orElse: () => Effect.succeed(silent as AnyReport) })
  )

type AnyReport = Report & { readonly reason?: "Refused" | "Silent" | "Busy" }

const observe = (
  cluster: ClusterAdapter,
  connection: Connection,
  positions: ReadonlyArray<string>,
  probe: number
): Effect.Effect<AnyReport> =>
  cluster.observe(connection, positions).pipe(
    Effect.map((observation): AnyReport => ({ _tag: "Answered", observation })),
    Effect.catch((error) => Effect.succeed(refused(connection, error))),
    (asked) =>
      timeoutOrElse(asked, {
        duration: Math.min(probe, answerLimit),
        orElse: () => Effect.succeed(silent as AnyReport)
      })
  )

/** A server that answers with an error cannot be used, whatever it is. */
const refused = (connection: Connection, error: SqlError): AnyReport =>
  connection.isClosed
    ? { _tag: "Failed", reason: "Refused", error }
    : { _tag: "Answered", observation: { ...nothing, why: `it does not say what it is: ${error.message}` } }

const nothing: Observation = {
  role: "unfit",
  server: "",
  lineage: undefined,
  generation: undefined,
  position: undefined,
  has: undefined
}

/** A server that is full is there. Its pool has connections that go on. */
const failed = ({ adapter }: Member, error: SqlError): AnyReport => {
  const isFull = adapter.ruleOf(error)?.full === true
  const isTimeout = Evidence.of(error).endedBy === "Limit"
  return { _tag: "Failed", reason: isFull ? "Busy" : isTimeout ? "Silent" : "Refused", error }
}
