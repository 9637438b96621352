/**
 * The error of options that cannot work.
 *
 * @since 0.1.0
 */
import { TaggedError } from "./TaggedError.ts"

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
export class InvalidOptions extends TaggedError("InvalidOptions")<{
  /** The module whose options they are, such as `"Pool"`. */
  readonly module: string
  /** The option, such as `"min"`. */
  readonly option: string
  /** What is wrong and what would be right, as the end of a sentence that begins with the option's name. */
  readonly problem: string
}> {
  override get message(): string {
    return `${this.module}: option \`${this.option}\` ${this.problem}`
  }
}
