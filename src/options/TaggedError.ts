import * as Data from "effect/Data"
import { programFrames } from "./frames.ts"

/**
 * As `Data.TaggedError`, for errors that a program meets as they are: how this library got to where it made one is of no
 * use to the program, so its stack has the frames of the program alone.
 */
export const TaggedError = <Tag extends string>(tag: Tag): ReturnType<typeof Data.TaggedError<Tag>> => {
  const Base = Data.TaggedError(tag) as unknown as new(fields: object) => Error
  class WithProgramFrames extends Base {
    constructor(fields: object) {
      super(fields)
      this.stack = [`${tag}: ${this.message}`, ...programFrames(this.stack)].join("\n")
    }
  }
  return WithProgramFrames as never
}
