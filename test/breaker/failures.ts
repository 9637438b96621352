/** Failures of a database that needs no database. */
import type * as Effect from "effect/Effect"
import {
  ConnectionError,
  DeadlockError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  type SqlErrorReason,
  SqlSyntaxError,
  StatementTimeoutError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"
import { ConnectionLost } from "../../src/failure/ConnectionLost.ts"
import type * as Evidence from "../../src/failure/Evidence.ts"
import { lostError } from "../../src/failure/lostError.ts"
import * as Outcome from "../../src/failure/Outcome.ts"
import * as PoolError from "../../src/pool/PoolError.ts"

/** What a server says, as the drivers report it. */
const answer = (code: string): unknown => ({ severity: "ERROR", code, message: `the server said ${code}` })

const judged = (reason: SqlErrorReason, rule?: Outcome.Rule, phase: Outcome.Phase = "Statement"): SqlError =>
  Outcome.attach(new SqlError({ reason }), phase, () => rule)

const situation: PoolError.Situation = {
  database: "fake",
  max: 10,
  total: 10,
  idle: 0,
  used: 10,
  connecting: 0,
  waiting: 3,
  holders: [],
  connectError: undefined
}

/** No connection can be opened. */
const away: PoolError.Situation = {
  ...situation,
  total: 1,
  used: 0,
  connecting: 1,
  connectError: new SqlError({
    reason: new ConnectionError({ cause: new Error("ECONNREFUSED"), operation: "connect" })
  })
}

const ofPool = (reason: PoolError.PoolErrorReason) => (): SqlError =>
  Outcome.attach(PoolError.toSqlError(reason), "Statement", () => undefined)

const connect = (about: string): Outcome.Rule => ({ about, scope: "Connect", ladder: "Overload" })

const lostBy = (endedBy: Evidence.EndedBy): SqlError =>
  Outcome.attach(
    lostError({ database: "fake", operation: "execute", what: "lost", sent: true, endedBy }),
    "Statement",
    () => undefined
  )

const overload = (about: string): Outcome.Rule => ({ about, scope: "Transaction", ladder: "Overload" })

/** The failures that say that the database is sick. */
export const sick = {
  connect: () =>
    judged(
      new ConnectionError({
        cause: Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }),
        operation: "connect"
      })
    ),
  tooManyConnections: () =>
    judged(
      new ConnectionError({ cause: answer("53300"), operation: "connect" }),
      { about: "too many connections", scope: "Connect", ladder: "Overload" }
    ),
  acquireTimeout: ofPool(new PoolError.AcquireTimeout({ ...away, waitedMillis: 10_000 })),
  acquireTimeoutWhileConnectingHangs: ofPool(
    new PoolError.AcquireTimeout({ ...away, connectError: undefined, waitedMillis: 10_000 })
  ),
  queueFull: ofPool(new PoolError.QueueFull(away)),
  serverCrashed: () =>
    judged(new ConnectionError({ cause: new ConnectionLost({ sent: true, serverError: answer("57P02") }) }), {
      about: "server crashed",
      scope: "TransactionOnNewConnection",
      ladder: "Overload",
      unknown: true
    }),
  answerOfAMiddleman: () =>
    judged(new ConnectionError({ cause: answer("9001") }), {
      about: "the proxy has reached no server",
      scope: "Connect",
      ladder: "Overload",
      unreachable: true
    }),
  lostAfterSending: () => judged(new ConnectionError({ cause: new ConnectionLost({ sent: true }) })),
  lostInTransaction: () =>
    judged(new ConnectionError({ cause: new ConnectionLost({ sent: true }) }), undefined, "InTransaction"),
  lostAtCommit: () => judged(new ConnectionError({ cause: new ConnectionLost({ sent: true }) }), undefined, "Commit")
} satisfies Record<string, () => SqlError>

/** The failures that say nothing of the kind. */
export const healthy = {
  uniqueViolation: () =>
    judged(new UniqueViolation({ cause: answer("23505"), constraint: "account_pkey" }), {
      about: "constraint",
      scope: "Never"
    }),
  syntax: () => judged(new SqlSyntaxError({ cause: answer("42601") }), { about: "syntax or access", scope: "Never" }),
  serialization: () =>
    judged(new SerializationError({ cause: answer("40001") }), {
      about: "serialization failure",
      scope: "Transaction"
    }),
  deadlock: () => judged(new DeadlockError({ cause: answer("40P01") }), { about: "deadlock", scope: "Transaction" }),
  lockTimeout: () =>
    judged(new LockTimeoutError({ cause: answer("55P03") }), { about: "lock not available", scope: "Transaction" }),
  cancelled: () =>
    judged(new StatementTimeoutError({ cause: answer("57014") }), {
      about: "cancelled, or statement timeout",
      scope: "Never"
    }),
  /** Codes that a living session answers: raised by the statement, or relayed from another server. */
  relayedRefusal: () => judged(new ConnectionError({ cause: answer("08001") }), connect("connection refused")),
  relayedNoRoom: () => judged(new UnknownError({ cause: answer("53300") }), connect("too many connections")),
  relayedLoss: () =>
    judged(new ConnectionError({ cause: answer("08006") }), {
      about: "connection lost",
      scope: "TransactionOnNewConnection",
      ladder: "Instant",
      unknown: true
    }),
  outOfMemory: () => judged(new UnknownError({ cause: answer("53200") }), overload("out of memory")),
  killed: () =>
    judged(new ConnectionError({ cause: new ConnectionLost({ sent: true, serverError: answer("57P01") }) }), {
      about: "ended by an administrator",
      scope: "TransactionOnNewConnection",
      endedBy: "Administrator"
    }),
  lostBeforeSending: () => judged(new ConnectionError({ cause: new ConnectionLost({ sent: false }) })),
  busy: ofPool(new PoolError.AcquireTimeout({ ...situation, waitedMillis: 10_000 })),
  busyAndFull: ofPool(new PoolError.QueueFull(situation)),
  lostAfterAStall: () =>
    Outcome.attach(
      lostError({ database: "fake", operation: "execute", what: "lost", sent: true, stalledMillis: 5000 }),
      "Statement",
      () => undefined
    ),
  idleTooLong: () => lostBy("Idle"),
  ownLimit: () => lostBy("Limit"),
  packetTooLarge: () => lostBy("Statement"),
  slowReader: () => lostBy("Reader"),
  closedByUs: () => lostBy("Client"),
  poolClosed: ofPool(new PoolError.PoolClosed({ database: "fake" })),
  leaseEnded: ofPool(new PoolError.LeaseEnded({ database: "fake" })),
  notOurs: () => new SqlError({ reason: new ConnectionError({ cause: new Error("from somewhere else") }) })
} satisfies Record<string, () => SqlError>

/** An effect that fails with it. */
export type Failing = Effect.Effect<never, SqlError>
