/** The reader gives the messages of a connection, however they are cut into chunks, and holds what is not complete only. */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { assert, describe, it } from "@effect/vitest"
import { generator } from "../../../bench/harness/load.ts"
import { MessageReader } from "../../../src/postgres/wire/MessageReader.ts"

type Message = PgProtocol.BackendMessage<unknown>

const max = 1 << 20

const message = (type: string, ...body: ReadonlyArray<Uint8Array | string>): Uint8Array => {
  const bytes = Buffer.concat(body.map((part) => Buffer.from(part as Uint8Array)))
  const head = Buffer.alloc(5)
  head[0] = type.charCodeAt(0)
  head.writeInt32BE(bytes.length + 4, 1)
  return Buffer.concat([head, bytes])
}

const int16 = (value: number) => Buffer.from([value >> 8, value & 255])
const int32 = (value: number) => Buffer.from([value >> 24, value >> 16, value >> 8, value])

const row = (text: string): Uint8Array => message("D", int16(1), int32(Buffer.byteLength(text)), text)

const stream = (random: () => number): Uint8Array =>
  Buffer.concat(Array.from({ length: 60 }, (_, index) => {
    const kind = random()
    if (kind < 0.5) return row("x".repeat(Math.floor(random() ** 4 * 20_000)))
    if (kind < 0.7) return message("2")
    if (kind < 0.9) return message("C", `SELECT ${index}\0`)
    return message("Z", "I")
  }))

const asText = (bytes: Uint8Array, offset: number, size: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + offset, size).toString()

/** One chunk at a time, all of which lie in memory that is written over afterwards. */
const read = (reader: MessageReader, chunk: Uint8Array, into: Array<Message>): void => {
  reader.readField ??= asText
  const lent = Buffer.from(chunk)
  reader.pushEach(lent, (message) => into.push(message))
  lent.fill(0)
}

const whole = (bytes: Uint8Array): ReadonlyArray<Message> =>
  PgProtocol.makeParser<unknown>({ maxMessageSize: max, readField: asText }).push(bytes)

describe("the reader of messages", () => {
  const seed = Number(process.env["WATERTIGHT_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31))

  it(`reads two connections at once, cut anywhere (seed ${seed})`, () => {
    const random = generator(seed)
    for (let run = 0; run < 20; run++) {
      const sides = [0, 1].map(() => ({
        bytes: stream(random),
        at: 0,
        reader: new MessageReader(max),
        got: [] as Array<Message>
      }))
      const most = random() < 0.3 ? 12 : 100_000
      const limit = random() < 0.3 ? 3 : most
      for (;;) {
        const open = sides.filter(({ at, bytes }) => at < bytes.length)
        if (open.length === 0) break
        const side = open[Math.floor(random() * open.length)]!
        const size = limit === 3 && side.at > 500 ? 7_000 : 1 + Math.floor(random() * limit)
        read(side.reader, side.bytes.subarray(side.at, side.at + size), side.got)
        side.at += size
      }
      for (const { bytes, got } of sides) assert.deepStrictEqual(got, whole(bytes))
    }
  })

  it("reads while it reads", () => {
    const inner = new MessageReader(max)
    const outer = new MessageReader(max)
    const got: Array<string> = []
    outer.readField = inner.readField = asText
    outer.pushEach(Buffer.concat([row("a"), row("b")]), (message) => {
      got.push(`outer ${(message as any).values[0]}`)
      inner.pushEach(row("c"), (message) => got.push(`inner ${(message as any).values[0]}`))
    })
    assert.deepStrictEqual(got, ["outer a", "inner c", "outer b", "inner c"])
  })

  it("takes another reader of fields in the middle of a chunk", () => {
    const reader = new MessageReader(max)
    const got: Array<unknown> = []
    reader.readField = asText
    reader.pushEach(Buffer.concat([row("a"), row("b")]), (message) => {
      got.push((message as any).values[0])
      reader.readField = () => "other"
    })
    assert.deepStrictEqual(got, ["a", "other"])
  })

  const wrong = {
    "a length that cannot be": Buffer.from([0x44, 0, 0, 0, 1]),
    "a message that is too large": Buffer.from([0x44, 0x7f, 0, 0, 0]),
    "a row with bytes behind it": Buffer.concat([
      row("a").subarray(0, 1),
      int32(13),
      int16(1),
      int32(1),
      Buffer.from("aaa")
    ])
  }
  for (const [what, bytes] of Object.entries(wrong)) {
    it(`throws at ${what}, at once, and others go on`, () => {
      for (let cut = 0; cut <= bytes.length; cut++) {
        const reader = new MessageReader(max)
        assert.throws(() => {
          reader.pushEach(bytes.subarray(0, cut), () => {})
          reader.pushEach(bytes.subarray(cut), () => {})
        })
        const other: Array<Message> = []
        read(new MessageReader(max), row("a"), other)
        assert.strictEqual(other.length, 1)
      }
    })
  }

  it("holds nothing of messages that were complete", () => {
    const reader = new MessageReader(max)
    const got: Array<Message> = []
    read(reader, row("x".repeat(100_000)).subarray(0, 50_000), got)
    read(reader, row("x".repeat(100_000)).subarray(50_000), got)
    assert.strictEqual(got.length, 1)
    assert.isUndefined((reader as any).pieces)
  })
})
