/**
 * The error of options that cannot work.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import { programFrames } from "./frames.ts"

/**
 * An option has a value that cannot work, or is not an option at all.
 *
 * **Details**
 *
 * It is reported when a part is constructed, before anything is connected. It names the option and what is wrong with
 * it, and never shows the value of a secret.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidOptions extends Data.TaggedError("InvalidOptions")<{
  /** The module whose options they are, such as `"Pool"`. */
  readonly module: string
  /** The option, such as `"min"`. */
  readonly option: string
  /** What is wrong and what would be right, as the end of a sentence that begins with the option's name. */
  readonly problem: string
}> {
  constructor(fields: { readonly module: string; readonly option: string; readonly problem: string }) {
    super(fields)
    // Options are read when a layer is built. How this library got there is of no use to whoever wrote them.
    this.stack = [`InvalidOptions: ${this.message}`, ...programFrames(this.stack)].join("\n")
  }
  override get message(): string {
    return `${this.module}: option \`${this.option}\` ${this.problem}`
  }
}
