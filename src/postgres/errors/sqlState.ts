/**
 * What PostgreSQL's error codes mean for a repetition. `docs/transactions.md` shows this table to people.
 *
 * The scope is what a repetition has to begin with; whether it may be repeated at all depends on when the error came
 * as well, and is decided in `Outcome`.
 */
import type { SqlError } from "effect/sql/SqlError"
import { ConnectionLost } from "../../failure/ConnectionLost.ts"
import type { Rule } from "../../failure/Outcome.ts"

const lost = { scope: "TransactionOnNewConnection", ladder: "Instant", unknown: true } as const

const rules: Record<string, Rule> = {
  "40001": { about: "serialization failure", scope: "Transaction" },
  "40P01": { about: "deadlock", scope: "Transaction" },
  "40000": { about: "transaction rolled back", scope: "Never" },
  "40002": { about: "integrity check at COMMIT", scope: "Never" },
  "40003": { about: "completion unknown", scope: "Never", unknown: true },
  "55P03": { about: "lock not available", scope: "Transaction", ladder: "Lock" },
  "55006": { about: "object in use", scope: "Never" },
  "57014": { about: "cancelled, or statement timeout", scope: "Never" },
  "57P01": {
    about: "ended by an administrator, or server shutting down",
    scope: "TransactionOnNewConnection",
    ladder: "Instant",
    unknown: true,
    endedBy: "Administrator"
  },
  "57P02": { about: "server crashed", scope: "TransactionOnNewConnection", ladder: "Overload", unknown: true },
  "57P03": { about: "server starting or stopping", scope: "Connect", ladder: "Overload" },
  "57P04": { about: "database dropped", scope: "Never", unknown: true },
  "57P05": { about: "idle session timeout", scope: "TransactionOnNewConnection", ladder: "Instant", endedBy: "Idle" },
  "25P02": { about: "transaction had failed before", scope: "Never", poisoned: true },
  "25P03": { about: "idle in transaction", scope: "Never", endedBy: "Idle" },
  "25P04": { about: "transaction timeout", scope: "Never", endedBy: "Limit" },
  "25006": { about: "read only", scope: "OtherNode", ladder: "Instant" },
  "08001": { about: "connection refused", scope: "Connect", ladder: "Overload" },
  "08004": { about: "connection rejected", scope: "Connect", ladder: "Overload" },
  "08000": { about: "connection lost", ...lost },
  "08003": { about: "connection lost", ...lost },
  "08006": { about: "connection lost", ...lost },
  "08007": { about: "completion unknown", scope: "Never", unknown: true },
  "08P01": { about: "protocol violation", scope: "Never" },
  "53300": { about: "too many connections", scope: "Connect", ladder: "Overload", full: true },
  "53000": { about: "out of resources", scope: "Transaction", ladder: "Overload" },
  "53200": { about: "out of memory", scope: "Transaction", ladder: "Overload" },
  "53400": { about: "limit exceeded", scope: "Transaction", ladder: "Overload" },
  "53100": { about: "disk full", scope: "Never" },
  "26000": { about: "prepared statement gone", scope: "Transaction", ladder: "Instant" }
}

/** A cached plan that no longer fits is told apart from other unsupported features by who reports it. */
const stalePlan: Rule = { about: "stale plan", scope: "Transaction", ladder: "Instant" }
const notOnStandby: Rule = { about: "not possible on a standby", scope: "OtherNode", ladder: "Instant" }

/** The classes that no entry above belongs to. */
const classes: Record<string, Rule> = {
  "22": { about: "data", scope: "Never" },
  "23": { about: "constraint", scope: "Never" },
  "25": { about: "transaction state", scope: "Never" },
  "28": { about: "authentication", scope: "Never" },
  "2D": { about: "transaction state", scope: "Never" },
  "3B": { about: "savepoint", scope: "Never" },
  "3D": { about: "no such database", scope: "Never" },
  "3F": { about: "no such schema", scope: "Never" },
  "42": { about: "syntax or access", scope: "Never" }
}

/**
 * PgBouncer ends its clients with a protocol violation, whatever the reason is. A server reports a violation of ours as an
 * error of a session that goes on.
 */
const behindPooler: Rule = { about: "connection lost behind a pooler", ...lost }
/** What it says to those for whom it has no connection to the server yet, so that nothing of theirs was forwarded. */
const notForwarded = /^query_wait_timeout|^server login has been failing|^pgbouncer cannot connect/
const noServer: Rule = { about: "no server behind the pooler", scope: "Connect", ladder: "Overload", unreachable: true }

interface ServerFields {
  readonly code?: string
  readonly message?: string
  readonly routine?: string
  /** Set by us: the statement was parsed for another schema. */
  readonly stale?: string
}

/** The rule for what the server said, whether it ended the session with it or not. */
export const ruleOf = (error: SqlError): Rule | undefined => {
  const cause = error.reason.cause
  const { code, message, routine, stale } =
    (cause instanceof ConnectionLost ? cause.serverError ?? {} : cause ?? {}) as ServerFields
  if (typeof code !== "string" || code.length !== 5) return undefined
  // `Bind` asked for other columns than there are by now.
  if (stale === "true" || code === "08P01" && routine === "PortalSetResultFormat") return stalePlan
  if (code === "08P01" && cause instanceof ConnectionLost) {
    return notForwarded.test(message ?? "") ? noServer : behindPooler
  }
  if (code === "0A000") {
    if (routine === "RevalidateCachedQuery") return stalePlan
    // The second one is what BEGIN runs into.
    if (routine === "GetSerializableTransactionSnapshot" || routine === "call_enum_check_hook") return notOnStandby
  }
  return Object.hasOwn(rules, code) ? rules[code] : classes[code.slice(0, 2)]
}
