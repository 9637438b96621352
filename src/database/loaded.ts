import * as Effect from "effect/Effect"

/** What is made of a module that is loaded when somebody asks for it for the first time. */
export const loaded = <A>(load: () => Promise<A>): Effect.Effect<A> => {
  let value: A | undefined
  return Effect.suspend(() =>
    value !== undefined ? Effect.succeed(value) : Effect.map(Effect.promise(load), (made) => value ??= made)
  )
}
