import * as Data from "effect/Data"

/** A value that its type cannot take, or bytes that are none of its values. The value is not shown. */
export class UnfitValue extends Data.TaggedError("UnfitValue")<{
  readonly message: string
}> {}

export const unfit = (message: string): never => {
  throw new UnfitValue({ message })
}
