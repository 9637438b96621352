/**
 * The few messages and combinations of messages that the driver's codec has no function for.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Result from "effect/Result"
import { Buffer } from "node:buffer"

/** Joins messages into the one buffer that goes on the wire. */
export const join = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  let length = 0
  for (let index = 0; index < parts.length; index++) length += parts[index]!.length
  const output = new Uint8Array(length)
  let offset = 0
  for (let index = 0; index < parts.length; index++) {
    output.set(parts[index]!, offset)
    offset += parts[index]!.length
  }
  return output
}

/** `Sync`: what is asked for when a sign of life is all that is wanted. */
export const sync: Uint8Array = join(PgProtocol.encodeSync())

/** `Flush`: the answer so far, without ending the cycle. */
export const flush: Uint8Array = join(PgProtocol.encodeFlush())

export const terminate: Uint8Array = join(PgProtocol.encodeTerminate())

/** The end of a cycle whose columns are known. */
export const executeSync: Uint8Array = join(
  PgProtocol.encodeExecute({ portal: "", maxRows: 0 }),
  PgProtocol.encodeSync()
)

/** The end of a cycle whose columns the server confirms. */
export const describeExecuteSync: Uint8Array = join(
  PgProtocol.encodeDescribe({ target: "portal", name: "" }),
  executeSync
)

const text = 25

/** Runs a statement that has no name, without the end of its cycle. Its parameters are texts. */
export const execution = (query: string, parameters: ReadonlyArray<string>): Uint8Array =>
  join(
    Result.getOrThrow(PgProtocol.encodeParse({ name: "", query, parameterTypes: parameters.map(() => text) })),
    Result.getOrThrow(
      PgProtocol.encodeBind({ portal: "", statement: "", parameters: parameters.map((value) => Buffer.from(value)) })
    ),
    PgProtocol.encodeExecute({ portal: "", maxRows: 0 })
  )

/** A simple query: one message, any number of statements, results in text format. */
export const simpleQuery = (sql: string): Uint8Array => {
  const length = Buffer.byteLength(sql)
  const frame = Buffer.allocUnsafe(length + 6)
  frame[0] = 0x51
  frame.writeInt32BE(length + 5, 1)
  frame.write(sql, 5)
  frame[length + 5] = 0
  return frame
}

const makeCopyFail = (reason: string): Uint8Array => {
  const frame = Buffer.alloc(reason.length + 6)
  frame[0] = 0x66
  frame.writeInt32BE(reason.length + 5, 1)
  frame.write(reason, 5)
  return frame
}

/** Refuses to send the data that a `COPY FROM STDIN` asks for. */
export const copyFail: Uint8Array = makeCopyFail("COPY is not possible here")

/** Ends a `COPY FROM STDIN` without a row. */
export const copyAbandoned: Uint8Array = makeCopyFail("the data was not sent to its end")

/** The end of the data. */
export const copyDone: Uint8Array = new Uint8Array([0x63, 0, 0, 0, 4])

/** The end of the codec's `Bind`: one result format code, binary, for every column. */
const allBinary = 4

/** Replaces the result formats at the end of a `Bind`, which the codec fixes to binary for every column. */
export const withResultFormats = (bind: Uint8Array, formats: Uint8Array): Uint8Array => {
  const body = bind.length - allBinary
  const frame = Buffer.allocUnsafe(body + formats.length)
  frame.set(bind.subarray(0, body), 0)
  frame.set(formats, body)
  frame.writeInt32BE(frame.length - 1, 1)
  return frame
}

/** Encodes result formats as they stand in a `Bind`. */
export const resultFormats = (binary: ReadonlyArray<boolean>): Uint8Array => {
  const frame = Buffer.alloc(2 + binary.length * 2)
  frame.writeInt16BE(binary.length, 0)
  for (let index = 0; index < binary.length; index++) frame.writeInt16BE(binary[index] === true ? 1 : 0, 2 + index * 2)
  return frame
}
