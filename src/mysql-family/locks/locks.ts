/**
 * The locks of MySQL and MariaDB: `get_lock`.
 *
 * A name is one of the whole server there, has 64 characters at most, and upper and lower case are the same in it. So
 * it is made of a hash of the database and the key.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../../Adapter.ts"
import * as Outcome from "../../failure/Outcome.ts"
import { AdvisoryLockError, type Locks, type Options } from "../../locks/AdvisoryLock.ts"
import { hold, limitOf, type LockSession, waitMillis } from "../../locks/hold.ts"
import type { CheckedKey } from "../../locks/key.ts"
import { crypto } from "../../node/builtins.ts"
import { timeoutOrElse } from "../../timing/timeout.ts"
import * as StatementTimeout from "../../transaction/StatementTimeout.ts"
import type { Server } from "../adapter/MysqlClient.ts"
import { unknownError } from "../errors/errors.ts"

/** Plain letters, whatever the key is made of: the name of the database, that they are joined to, is no utf8mb4. */
const hashOf = (key: CheckedKey): string => crypto().createHash("sha256").update(textOf(key)).digest("hex")

const textOf = (key: CheckedKey): string => {
  switch (key._tag) {
    case "Text":
      return `text/${key.text}`
    case "Number":
      return `number/${key.value}`
    case "Pair":
      return `pair/${key.first}/${key.second}`
  }
}

/** The name of a lock, which the server makes of the database that the session is in. */
const name = "concat('watertight_', left(sha2(concat(ifnull(database(), ''), '/', ?), 256), 50))"

/** To wait for ever is to wait for a year, again and again. MariaDB takes no other number for it. */
const aYear = 31_536_000

const shared = "MySQL and MariaDB know no shared ones; lock a row instead, with `select … for share`"
const ofTransaction = "MySQL and MariaDB have none that ends with a transaction; " +
  "take `withLock` around `Transaction.run` instead, or lock a row with `select … for update`"

const judged = (adapter: Adapter, phase: Outcome.Phase) => (error: SqlError): SqlError =>
  Outcome.attach(error, phase, adapter.ruleOf)

/** The session is there for the lock: it may wait, and be idle, for as long as it takes. */
const settings = "set session wait_timeout = 31536000"

const open = (adapter: Adapter): Effect.Effect<Connection, SqlError, Scope.Scope> =>
  Effect.acquireRelease(adapter.connect, (connection) => connection.close).pipe(
    Effect.tap((connection) => connection.executeUnprepared(settings, [], undefined)),
    Effect.mapError(judged(adapter, "Connect"))
  )

class MysqlLock implements LockSession {
  private readonly adapter: Adapter
  private readonly connection: Connection
  private readonly server: Effect.Effect<Server, SqlError>
  private hash = ""

  constructor(adapter: Adapter, connection: Connection, server: Effect.Effect<Server, SqlError>) {
    this.adapter = adapter
    this.connection = connection
    this.server = server
  }

  get cancel(): Effect.Effect<void> {
    return this.connection.cancel
  }

  onLost(listener: (error: SqlError) => void): void {
    this.connection.onLost(listener)
  }

  take(key: CheckedKey, options: Options): Effect.Effect<void, AdvisoryLockError | SqlError> {
    const millis = waitMillis(options)
    this.hash = hashOf(key)
    return Effect.flatMap(this.server, ({ isMariadb }) => {
      const exact = Math.min(millis / 1_000, aYear)
      // MySQL rounds to whole seconds, so we end what the server would end too late.
      const seconds = isMariadb ? exact : Math.ceil(exact)
      const lock = StatementTimeout.within(this.ask(seconds), limitOf(millis))
      return seconds === exact ? lock : timeoutOrElse(lock, {
        duration: Duration.millis(millis),
        orElse: () => Effect.fail(new AdvisoryLockError({ database: this.adapter.name, reason: "Timeout" }))
      })
    }).pipe(
      Effect.andThen(this.check),
      Effect.mapError((error) => error._tag === "SqlError" ? judged(this.adapter, "Statement")(error) : error)
    )
  }

  private ask(seconds: number): Effect.Effect<void, AdvisoryLockError | SqlError> {
    return Effect.flatMap(this.values(`select get_lock(${name}, ?)`, [this.hash, seconds]), (answer) => {
      if (answer === 1) return Effect.void
      if (answer !== 0) return Effect.fail(this.problem("the server did not say whether the lock was granted"))
      if (seconds === aYear) return this.ask(seconds)
      return Effect.fail(
        new AdvisoryLockError({ database: this.adapter.name, reason: seconds === 0 ? "Busy" : "Timeout" })
      )
    })
  }

  /** A proxy may give each statement another session. */
  get check(): Effect.Effect<void, SqlError> {
    return Effect.flatMap(
      this.values(`select is_used_lock(${name}) = connection_id()`, [this.hash]),
      (answer) =>
        answer === 1 ? Effect.void : Effect.fail(this.problem(
          "another session has the lock. If a proxy gives each statement another session, no lock can be held through " +
            "it: take locks over a connection to the server itself"
        ))
    )
  }

  get release(): Effect.Effect<unknown, SqlError> {
    return this.values(`select release_lock(${name})`, [this.hash])
  }

  private values(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<number | undefined, SqlError> {
    return Effect.map(this.connection.executeValuesUnprepared(sql, params), ([row]) => {
      const value = row?.[0]
      return value === null || value === undefined ? undefined : Number(value)
    })
  }

  private problem(what: string): SqlError {
    return unknownError(this.adapter.name, what, undefined, "lock")
  }
}

export const makeLocks = (adapter: Adapter, server: Effect.Effect<Server, SqlError>): Locks => {
  const unsupported = (advice: string) =>
    Effect.fail(new AdvisoryLockError({ database: adapter.name, reason: "Unsupported", advice }))
  return {
    acquire: (key, options) =>
      options.shared === true
        ? unsupported(shared)
        : hold(
          adapter.name,
          Effect.map(open(adapter), (connection) => new MysqlLock(adapter, connection, server)),
          key,
          options
        ),
    inTransaction: () => unsupported(ofTransaction)
  }
}
