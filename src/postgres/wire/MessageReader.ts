/**
 * Takes the bytes of one connection apart into messages.
 *
 * A parser keeps a buffer of 8 to 64 KiB for the message that has not come completely. Nearly always there is none, so
 * the connections of a process share one parser, which is given complete messages only. What a connection keeps is the
 * beginning of a message whose end has not come.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"

type Parser = PgProtocol.Parser<unknown>

/** The type of a message and its length. */
const headSize = 5

/** The one that nobody uses at the moment. One that has failed never comes back. */
let idle: { readonly parser: Parser; readonly maxMessageSize: number } | undefined

/** Takes it. A connection inside of this process may answer while another one's answer is being read, and gets a new one. */
const takeIdle = (maxMessageSize: number): { readonly parser: Parser; readonly maxMessageSize: number } => {
  const taken = idle?.maxMessageSize === maxMessageSize
    ? idle
    : { parser: PgProtocol.makeParser<unknown>({ maxMessageSize }), maxMessageSize }
  idle = undefined
  return taken
}

export class MessageReader {
  private readonly maxMessageSize: number
  /** What reads the fields of rows from now on. */
  private reader: PgProtocol.FieldReader<unknown> | undefined = undefined
  /** The parser while a chunk is being read. */
  private parser: Parser | undefined = undefined
  /** The beginning of a message. */
  private pieces: Array<Uint8Array> | undefined = undefined
  private held = 0
  /** How many bytes the message has, or its head where not even that has come. */
  private wanted = 0

  constructor(maxMessageSize: number) {
    this.maxMessageSize = maxMessageSize
  }

  get readField(): PgProtocol.FieldReader<unknown> | undefined {
    return this.reader
  }

  set readField(reader: PgProtocol.FieldReader<unknown> | undefined) {
    this.reader = reader
    if (this.parser !== undefined) this.parser.readField = reader
  }

  /** Gives each complete message to `onMessage` at once. Throws what the parser throws, and is of no use after that. */
  pushEach(chunk: Uint8Array, onMessage: (message: PgProtocol.BackendMessage<unknown>) => void): void {
    const taken = takeIdle(this.maxMessageSize)
    const { parser } = taken
    parser.readField = this.reader
    this.parser = parser
    try {
      this.read(parser, chunk, onMessage)
    } catch (cause) {
      this.pieces = undefined
      throw cause
    } finally {
      this.parser = undefined
    }
    // The rows of the last answer must not be held by what reads them.
    parser.readField = undefined
    idle = taken
  }

  private read(
    parser: Parser,
    chunk: Uint8Array,
    onMessage: (message: PgProtocol.BackendMessage<unknown>) => void
  ): void {
    let start = 0
    while (this.pieces !== undefined) {
      const missing = this.wanted - this.held
      const piece = chunk.subarray(start, start + missing)
      if (piece.length === 0) return
      start += piece.length
      this.keep(piece)
      if (piece.length < missing) return
      const message = this.join()
      const end = this.endOf(message, 0)
      if (end === message.length || end < 0) {
        this.pieces = undefined
        parser.pushEach(message, onMessage)
      } else {
        // Only its head was there.
        this.pieces = [message]
        this.wanted = end
      }
    }
    let end = start
    for (;;) {
      const next = this.endOf(chunk, end)
      // The parser says what is wrong with it.
      if (next < 0) return parser.pushEach(chunk.subarray(start), onMessage)
      if (next > chunk.length) {
        this.wanted = next - end
        break
      }
      end = next
      if (end === chunk.length) break
    }
    if (end > start) {
      parser.pushEach(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), onMessage)
    }
    if (end < chunk.length) {
      this.pieces = []
      this.held = 0
      this.keep(chunk.subarray(end))
    }
  }

  /** Where the message that begins here ends; where its head would end if that is not there; negative if it is wrong. */
  private endOf(bytes: Uint8Array, start: number): number {
    if (bytes.length - start < headSize) return start + headSize
    const length = (bytes[start + 1]! << 24) | (bytes[start + 2]! << 16) | (bytes[start + 3]! << 8) | bytes[start + 4]!
    return length < 4 || length > this.maxMessageSize ? -1 : start + 1 + length
  }

  private keep(piece: Uint8Array): void {
    // A copy: the chunk may be a large one, or written over by who has lent it.
    this.pieces!.push(new Uint8Array(piece))
    this.held += piece.length
  }

  private join(): Uint8Array {
    const [first] = this.pieces!
    if (this.pieces!.length === 1) return first!
    const joined = new Uint8Array(this.held)
    let offset = 0
    for (const piece of this.pieces!) {
      joined.set(piece, offset)
      offset += piece.length
    }
    return joined
  }
}
