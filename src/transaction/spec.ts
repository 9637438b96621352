/**
 * What a transaction asks for, once it has been checked. Nothing of it reaches the database unchecked.
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import * as Reads from "../cluster/Reads.ts"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import type * as Retry from "../failure/Retry.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import * as Options from "../options/Options.ts"
import * as TransactionSpec from "./TransactionSpec.ts"

/**
 * What a transaction is to be like.
 *
 * @category models
 * @since 0.1.0
 */
export interface Spec {
  /** How much it may see of the ones beside it. Default: as the server has it. */
  readonly isolation?: TransactionSpec.Isolation | undefined
  /** Whether it may write. Default: as the server has it, which is to say that it may. */
  readonly access?: TransactionSpec.Access | undefined
  /** PostgreSQL only, with `serializable` and `read only`: wait for a snapshot that cannot fail. Default: `false`. */
  readonly deferrable?: boolean | undefined
  /** The name of its span, by which it is found in traces and among the holders of connections. */
  readonly name?: string | undefined
  /** The time for all attempts together, without COMMIT, which has a deadline of its own. Default: no limit. */
  readonly deadline?: Duration.Input | undefined
  /**
   * The time for each statement, on the server and on our side, see `StatementTimeout`. Default: that of the database.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /** What is repeated, and when. Default: what the database has as its `retry`. `Retry.never` repeats nothing. */
  readonly retry?: Retry.Policy | undefined
  /**
   * What it is inside another transaction of the same database: a `"savepoint"` in it (the default), a part of it
   * (`"join"`), one of its own on another connection (`"requiresNew"`), or an error (`"never"`). `"mandatory"` joins,
   * and is an error outside.
   */
  readonly nesting?: "savepoint" | "join" | "requiresNew" | "mandatory" | "never" | undefined
  /**
   * Whether a COMMIT without answer is looked into. `"free"` does so as far as preparing for it costs no round trip,
   * `"always"` prepares for it in any case, `"never"` reports `CommitUnknown` at once. Default: what the database has as
   * its `resolve`, which is `"free"` if nothing was said.
   */
  readonly resolve?: "free" | "always" | "never" | undefined
  /**
   * A key that makes sure that this transaction is applied once, whatever happens. It is written to the table
   * `watertight_transaction` in the same transaction. A COMMIT without answer is resolved by looking for it, also after
   * a failover, and a transaction whose key is there already fails with `AlreadyApplied`.
   */
  readonly idempotencyKey?: string | undefined
  /**
   * Which replicas may run it, see `Reads`; only together with `access: "read only"`, and not inside another
   * transaction. Default: it runs on the primary, unless a policy is around it.
   */
  readonly reads?: Reads.Policy | undefined
}

const millis = Options.duration()

/** Whether a value is a `Retry.Policy`. */
export const isPolicy = (value: Retry.Policy): boolean =>
  typeof value === "object" && value !== null && Schedule.isSchedule(value.instant) &&
  Schedule.isSchedule(value.conflict) && Schedule.isSchedule(value.overload) &&
  (value.lock === undefined || Schedule.isSchedule(value.lock)) &&
  (value.deadline === undefined || Result.isSuccess(millis.parse(value.deadline)))

export const policy = Options.custom<Retry.Policy>("a `Retry.Policy`, such as `Retry.defaults`", isPolicy)

export const resolve = Options.oneOf(["free", "always", "never"])

const checks = Options.make<Spec>()("Transaction", {
  isolation: Options.oneOf(["read uncommitted", "read committed", "repeatable read", "serializable"]),
  access: Options.oneOf(["read write", "read only"]),
  deferrable: Options.boolean(),
  name: Options.text(),
  deadline: Options.duration(),
  statementTimeout: Options.duration({ positive: true }),
  retry: policy,
  nesting: Options.oneOf(["savepoint", "join", "requiresNew", "mandatory", "never"]),
  resolve,
  idempotencyKey: Options.text(),
  reads: Options.custom<Reads.Policy>("a policy of `Reads`, such as `Reads.prefer`", Reads.isPolicy)
}, {
  synonyms: { isolationLevel: "isolation", readOnly: "access: \"read only\"", timeout: "deadline" }
})

/** A spec that has been checked: durations are in milliseconds. */
export type Resolved = Options.Resolved<typeof checks.table>

const nothing: Resolved = Result.getOrThrow(checks.check({}))

/** Checks a spec. The failure says what is wrong, and that nothing was sent. */
export const check = (spec: Spec): Result.Result<Resolved, SqlError> => {
  for (const _ in spec) {
    const checked = Result.flatMap(
      checks.check(spec),
      (resolved) =>
        resolved.reads === undefined || resolved.access === "read only"
          ? Result.succeed(resolved)
          : Result.fail(checks.invalid("reads", "needs `access: \"read only\"`: a replica writes nothing"))
    )
    return Result.mapError(checked, (cause) => {
      const reason = new UnknownError({ cause, message: cause.message, operation: "transaction" })
      return Outcome.mark(SqlFailure.attach(Evidence.attach(new SqlError({ reason }), Evidence.make({})), ""), {
        outcome: "NotSent",
        scope: "Never",
        ladder: "Conflict",
        phase: "Ended",
        about: "options"
      })
    })
  }
  return Result.succeed(nothing)
}

/** What a nested transaction asks for and the one around it does not give. */
export const incompatible = (outer: TransactionSpec.Begin, inner: Resolved): string | undefined => {
  if (inner.isolation !== undefined && outer.isolation !== undefined) {
    if (!TransactionSpec.satisfies(outer.isolation, inner.isolation)) {
      return `asks for "${inner.isolation}" inside "${outer.isolation}"`
    }
  } else if (inner.isolation !== undefined) {
    return `asks for "${inner.isolation}" inside a transaction that named no isolation`
  }
  if (outer.access === "read only" && inner.access === "read write") return `asks to write inside "read only"`
  if (inner.reads !== undefined) {
    return "asks for `reads` of its own, and everything stays on the connection of the outermost one"
  }
  if (inner.idempotencyKey !== undefined) return "has an idempotency key, which only an outermost one can have"
  return undefined
}

/** A statement that was given for all transactions gives way to what one of them asks for. */
export const howToBegin = (begin: TransactionSpec.Begin, statement: string | undefined): TransactionSpec.Begin =>
  statement === undefined || begin.isolation !== undefined || begin.access !== undefined ||
    begin.deferrable !== undefined
    ? begin
    : { ...begin, statement }

/** Without costs a COMMIT is resolvable anyhow. */
export const resolvable = (resolve: "free" | "always" | "never"): TransactionSpec.Begin["resolvable"] =>
  resolve === "free" ? undefined : resolve

export const named = <A, E, R>(self: Effect.Effect<A, E, R>, name: string | undefined): Effect.Effect<A, E, R> =>
  name === undefined ? self : Effect.withSpan(self, name) as Effect.Effect<A, E, R>

/** Runs an effect outside of the transaction that its fiber is in. */
export const outside = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  omit: (context: Context.Context<any>) => Context.Context<any>
): Effect.Effect<A, E, R> =>
  Effect.updateContext(
    self,
    (context: Context.Context<R>) => omit(context as Context.Context<any>) as Context.Context<R>
  )
