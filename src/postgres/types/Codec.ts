/** How the values of a PostgreSQL type are read and written. */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"

/**
 * How the values of a type are read and written. All four throw what they cannot read or write.
 *
 * @category models
 * @since 0.1.0
 */
export interface Codec<A> {
  /** What an error calls the type. */
  readonly name: string
  /** Reads the binary form. A codec without it is asked for text. */
  readonly read?: ((bytes: Uint8Array, offset: number, size: number) => A) | undefined
  /** Writes the binary form. A codec without it sends text. */
  readonly write?: ((sink: PgProtocol.ValueSink, value: A) => void) | undefined
  /** Reads the text form. */
  readonly parse: (text: string) => A
  /** Writes the text form. */
  readonly format: (value: A) => string
  /**
   * Whether a value is an array itself, so that an array of values has one level more, or may be anything. Default:
   * neither.
   */
  readonly shape?: "array" | "anything" | undefined
}
