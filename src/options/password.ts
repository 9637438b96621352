/** Passwords, as options of adapters. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"

/** A password, or an effect that is run for every connection, for passwords that do not live long. */
export type Password = Redacted.Redacted | Effect.Effect<Redacted.Redacted, unknown>

/** What is wrong with a password. */
export const passwordProblem = (password: unknown): string | undefined =>
  typeof password !== "string"
    ? "must be a text"
    : password.includes("\u0000")
    ? "must not contain a NUL"
    : /[\r\n]$/.test(password)
    ? "ends in a line break, as a file does: trim it"
    : undefined

/** Asks for the password. Fails with what is wrong, and says nothing of what the effect says: it may be the secret. */
export const askPassword = (password: Password | undefined): Effect.Effect<string | undefined, string> => {
  if (password === undefined) return Effect.undefined
  if (!Effect.isEffect(password)) return Effect.succeed(Redacted.value(password))
  return Effect.flatMap(
    Effect.catchCause(password, (cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.interrupt
        : Effect.fail("the effect of the option `password` failed")),
    (redacted) => {
      const value: unknown = Redacted.isRedacted(redacted) ? Redacted.value(redacted) : undefined
      const problem = passwordProblem(value)
      return problem === undefined
        ? Effect.succeed(value as string)
        : Effect.fail(`the password that the option \`password\` gave ${problem}`)
    }
  )
}
