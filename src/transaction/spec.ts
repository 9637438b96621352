/**
 * What a transaction asks for, once it has been checked. Nothing of it reaches the database unchecked.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import type * as Retry from "../failure/Retry.ts"
import * as Options from "../options/Options.ts"
import type { Spec } from "./Transaction.ts"
import * as TransactionSpec from "./TransactionSpec.ts"

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
  idempotencyKey: Options.text()
}, {
  synonyms: { isolationLevel: "say `isolation`", readOnly: "say `access: \"read only\"`", timeout: "say `deadline`" }
})

/** A spec that has been checked: durations are in milliseconds. */
export type Resolved = Options.Resolved<typeof checks.table>

const nothing: Resolved = Result.getOrThrow(checks.check({}))

/** Checks a spec. The failure says what is wrong, and that nothing was sent. */
export const check = (spec: Spec): Result.Result<Resolved, SqlError> => {
  for (const _ in spec) {
    return Result.mapError(checks.check(spec), (cause) => {
      const reason = new UnknownError({ cause, message: cause.message, operation: "transaction" })
      return Outcome.mark(Evidence.attach(new SqlError({ reason }), Evidence.make({})), {
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
