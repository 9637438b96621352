/**
 * What may be repeated after an error of a MySQL or MariaDB server: the table of `docs/mysql.md`.
 *
 * The number alone does not say what a failure means: `Outcome` joins it with the phase and with what was seen.
 */
import type { Rule } from "../../failure/Outcome.ts"

const never = (about: string): Rule => ({ about, scope: "Never" })
const lock = (about: string): Rule => ({ about, scope: "Statement", ladder: "Lock" })
const transaction = (about: string): Rule => ({ about, scope: "Transaction" })
const connect = (about: string): Rule => ({ about, scope: "Connect", ladder: "Overload" })
const otherNode = (about: string): Rule => ({ about, scope: "OtherNode", ladder: "Overload" })

/** A proxy has not reached a server, so nothing was run. */
const middleman = (about: string): Rule => ({ ...connect(about), unreachable: true })

/** The connection goes with it. In answer to COMMIT or to a write of its own nobody knows what became of it. */
const dying = (about: string): Rule => ({
  about,
  scope: "TransactionOnNewConnection",
  ladder: "Overload",
  unknown: true
})

/** The rules that both servers share, by number. */
const shared: ReadonlyMap<number, Rule> = new Map([
  // Conflicts.
  [1213, transaction("deadlock")],
  [1206, never("too many locks")],
  [1205, lock("lock wait timeout")],
  [3572, lock("lock not available")],
  [3101, transaction("rolled back by group replication")],
  [1020, transaction("row changed since it was read")],
  [1412, transaction("table definition changed")],
  [1402, transaction("XA branch rolled back")],
  [1613, transaction("XA branch timed out")],
  [1614, transaction("XA branch deadlocked")],
  // A node that has left its group refuses COMMIT; the next attempt finds it read-only, and goes elsewhere.
  [3100, transaction("refused by group replication")],
  [3058, lock("deadlock of user-level locks")],
  [3132, lock("deadlock of the locking service")],
  [3133, lock("lock wait timeout of the locking service")],

  // Prepared statements that the server has forgotten.
  [1615, { about: "statement has to be prepared again", scope: "Statement", ladder: "Instant" }],
  [1243, { about: "prepared statement unknown", scope: "Statement", ladder: "Instant" }],

  // Limits of time, and people.
  [1317, never("killed")],
  [3024, never("statement timeout")],
  [1969, never("statement timeout")],

  // Servers that cannot take connections just now.
  [1040, { ...connect("too many connections"), full: true }],
  [1203, { ...connect("too many connections of this user"), full: true }],
  [1226, { ...connect("a limit of this user is reached"), full: true }],
  [3032, connect("server is offline")],
  [3168, connect("server is not available")],

  // Proxies that do not reach a server.
  [2002, middleman("proxy cannot connect")],
  [2003, middleman("proxy cannot connect")],
  [2005, middleman("proxy does not know the host")],
  [9001, middleman("ProxySQL reaches no server in time")],
  [9501, middleman("RDS Proxy reaches no server in time")],

  // Servers that do not write.
  [1290, otherNode("server is read only")],
  [1836, otherNode("server is read only")],
  [1792, otherNode("transaction is read only")],

  // A node of a cluster that is not part of it any more: it answers before it does anything.
  [1047, { about: "node not ready", scope: "TransactionOnNewConnection", ladder: "Overload", unreachable: true }],

  // What only a person can change.
  [1044, never("access denied to the database")],
  [1045, never("access denied")],
  [1049, never("unknown database")],
  [1129, never("host is blocked")],
  [1130, never("host is not allowed")],
  [1142, never("command denied")],
  [1143, never("column denied")],
  [1227, never("privilege missing")],
  [1698, never("access denied")],
  [3118, never("account is locked")],
  [3159, never("the server demands an encrypted connection")],
  [3955, never("account is locked after wrong passwords")],

  // What the server's options forbid.
  [1665, never("not possible with this format of the binary log")],
  [3098, never("not possible in this replication group")],
  [3748, never("not possible with GTID consistency")],

  // The connection dies.
  [1053, dying("server shutting down")],
  [1077, dying("server shut down")],
  [1079, dying("server shut down")],
  [1153, { about: "packet larger than max_allowed_packet", scope: "Never", endedBy: "Statement" }],
  [4082, { about: "memory limit of the connection", scope: "Never", endedBy: "Statement" }],
  [4083, { about: "memory limit of all connections", scope: "Never", endedBy: "Statement" }],
  ...[1152, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184].map((errno): [number, Rule] => [
    errno,
    { ...dying("network error at the server"), ladder: "Instant" }
  ]),
  [1927, { ...dying("connection was killed"), ladder: "Instant", endedBy: "Administrator" }],
  [4031, { ...dying("idle too long"), ladder: "Instant", endedBy: "Idle" }],
  [3169, { ...dying("session was killed"), ladder: "Instant", endedBy: "Administrator" }],
  // A proxy has lost the server under the statement, while the session with the proxy goes on.
  [2006, { ...dying("server has gone away"), ladder: "Instant", partial: true }],
  [2013, { ...dying("connection lost"), ladder: "Instant", partial: true }],
  [2055, { ...dying("connection lost"), ladder: "Instant", partial: true }],

  // An error while committing: the engine does not say how far it came.
  [1180, { about: "error during COMMIT", scope: "Never", unknown: true, partial: true }],

  // Rows that may not be.
  [1062, never("duplicate key")],
  [1586, never("duplicate key")],
  [1022, never("duplicate key")],
  [1169, never("duplicate key")],
  [1048, never("null not allowed")],
  [1364, never("no value and no default")],
  [1216, never("foreign key")],
  [1217, never("foreign key")],
  [1451, never("foreign key")],
  [1452, never("foreign key")],
  [1557, never("foreign key")],
  [3819, never("check constraint")],
  [4025, never("check constraint")],

  // States of a transaction that only a program can be wrong about.
  [1305, never("no such savepoint or routine")],
  [1568, never("isolation level inside a transaction")]
])

const lockTimeoutOfAll = transaction("lock wait timeout, which rolls back the transaction on this server")

/** A statement after the end of its transaction: what it means is what the end meant. */
export const afterTheEnd: Rule = { about: "transaction has ended", scope: "Never", poisoned: true }

/** A failure in the middle of a text whose beginning has been committed: to repeat it would do that twice. */
export const inTheMiddle: Rule = {
  about: "statements of one text done in part",
  scope: "Never",
  unknown: true,
  partial: true,
  escaped: true
}

/** What is known of an answer of the server. */
interface Answer {
  readonly errno: number
  readonly message: string
}

/** The rule of an error. */
export const ruleOfError = (error: Answer, rollbackOnTimeout: boolean): Rule | undefined => {
  switch (error.errno) {
    case 1205:
      return rollbackOnTimeout ? lockTimeoutOfAll : shared.get(1205)
    // Other options, and commands that a proxy does not know, have the same numbers.
    case 1290:
      return refusalOf(error) === undefined ? never("forbidden by an option of the server") : shared.get(1290)
    case 1047:
      return refusalOf(error) === undefined ? never("unknown command") : shared.get(1047)
    // MariaDB has these numbers for something else.
    case 4082:
    case 4083:
      return /memory/i.test(error.message) ? shared.get(error.errno) : undefined
    case 1105:
      return vitessRule(error.message)
    case 1180:
      return isConflictAtCommit(error) ? shared.get(3101) : shared.get(1180)
    default:
      return shared.get(error.errno)
  }
}

/**
 * Whether an error while committing says that the engine had rolled the transaction back before: another member of a
 * group was ahead of it. 149 is the number of a deadlock among the errors of engines.
 */
export const isConflictAtCommit = (error: Answer): boolean =>
  error.errno === 1180 && /^Got error 149\b/.test(error.message)

/** Who refuses to work: a node that has left its cluster, a server that is read-only, or a transaction that is. */
export const refusalOf = (error: Answer): "Node" | "Server" | "Transaction" | undefined => {
  switch (error.errno) {
    case 1047:
      return /wsrep/i.test(error.message) ? "Node" : undefined
    case 1290:
      return /read.only/i.test(error.message) ? "Server" : undefined
    case 1836:
      return "Server"
    case 1792:
      return "Transaction"
    default:
      return undefined
  }
}

/**
 * Whether an error ends the whole transaction, so that whatever comes next would run by itself. What is not listed is
 * looked up at the server before anything else is sent.
 */
export const endsTransaction = (errno: number, server: {
  readonly isMariadb: boolean
  readonly rollbackOnTimeout: boolean
}): boolean => {
  switch (errno) {
    case 1213:
    case 1206:
    case 3101:
      return true
    case 1020:
      return server.isMariadb
    case 1205:
      return server.rollbackOnTimeout
    default:
      return false
  }
}

/** Whether an error of the server is the last thing that it says on the connection, unless a statement has raised it. */
export const endsConnection = (errno: number): boolean => {
  const rule = shared.get(errno)
  return rule !== undefined &&
    (rule.scope === "TransactionOnNewConnection" && rule.unknown === true || rule.endedBy === "Statement")
}

/** Vitess answers everything with one number, and says in the text which code of gRPC it was. */
const vitessRule = (message: string): Rule | undefined => {
  const code = /\bcode\s*[:=]\s*(\w+)/i.exec(message)?.[1]?.toUpperCase().replaceAll("_", "")
  switch (code) {
    case "UNAVAILABLE":
      return middleman("Vitess reaches no tablet")
    case "RESOURCEEXHAUSTED":
      return connect("Vitess has no room")
    case "ABORTED":
      return transaction("rolled back by Vitess")
    case "DEADLINEEXCEEDED":
    case "CANCELED":
      return never("statement timeout")
    default:
      return undefined
  }
}

/** 1243: unknown handler. 1615: must be prepared again. 1295: cannot be prepared. 1461: too many are prepared. */
export const isUnprepared = (errno: number): boolean =>
  errno === 1243 || errno === 1615 || errno === 1295 || errno === 1461
