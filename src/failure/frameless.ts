/**
 * Makes errors whose stack would show only how the runtime runs fibers: an answer of the server, or a refusal. To capture
 * it takes several times as long as all the rest, and in a storm of failures there are thousands of them a second.
 *
 * @since 0.2.0
 */
export const frameless = <A>(make: () => A): A => {
  const limit = Error.stackTraceLimit
  Reflect.set(Error, "stackTraceLimit", 0)
  try {
    return make()
  } finally {
    Reflect.set(Error, "stackTraceLimit", limit)
  }
}
