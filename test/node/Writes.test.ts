/** What is known of bytes that the kernel takes whole, in part, later, or not at all. */
import { assert, describe, it } from "@effect/vitest"
import { Duplex } from "node:stream"
import { Writes } from "../../src/node/Writes.ts"

type Done = (error?: Error | null) => void

/** A stream whose writes are answered by hand, unless they are refused at once. */
const streamOf = (options: { readonly isRefusing?: () => boolean; readonly writev?: boolean } = {}) => {
  const answers: Array<Done> = []
  const write = (done: Done): void => {
    if (options.isRefusing?.() === true) done(new Error("write EPIPE"))
    else answers.push(done)
  }
  const stream = new Duplex({
    read() {},
    write: (_chunk, _encoding, done) => write(done),
    ...(options.writev === true ? { writev: (_chunks, done) => write(done) } : undefined)
  })
  const errors: Array<string> = []
  stream.on("error", (error) => errors.push(error.message))
  return { stream, answers, errors }
}

const bytes = (length: number): Uint8Array => new Uint8Array(length)
const failed = new Error("write ECONNRESET")

/** Longer than it takes to read what has arrived. */
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve))
}

describe("what the kernel has taken", () => {
  it("is all of what it took at once, or later", () => {
    const { answers, stream } = streamOf()
    const writes = new Writes(stream, false)
    stream.write(bytes(3))
    assert.deepStrictEqual([writes.given, writes.accepted], [3, 3])
    stream.write(bytes(4))
    // The second waits for the first, and the kernel has not seen it.
    assert.deepStrictEqual([writes.given, writes.accepted], [7, 3])
    answers.shift()!()
    answers.shift()!()
    assert.deepStrictEqual([writes.given, writes.accepted, writes.isWhole], [7, 7, true])
  })

  it("is counted once where a stream writes several chunks by writing one, as in Bun", () => {
    const answers: Array<Done> = []
    const stream: Duplex = new Duplex({
      read() {},
      write: (_chunk, _encoding, done) => void answers.push(done),
      writev(chunks, done) {
        this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "buffer" as BufferEncoding, done)
      }
    })
    const writes = new Writes(stream, true)
    stream.cork()
    stream.write(bytes(3))
    stream.write(bytes(4))
    stream.uncork()
    assert.deepStrictEqual([writes.given, writes.accepted], [7, 7])
    answers.shift()!()
    stream.write(bytes(5))
    assert.deepStrictEqual([writes.given, writes.accepted], [12, 12])
    answers.shift()!()
    assert.deepStrictEqual([answers.length, writes.given, writes.accepted, writes.isWhole], [0, 12, 12, true])
  })

  it("is nothing of what it refuses at once, nor of what waits behind it", async () => {
    let isRefusing = false
    const { answers, errors, stream } = streamOf({ isRefusing: () => isRefusing })
    const writes = new Writes(stream, false)
    stream.write(bytes(3))
    answers.shift()!()
    isRefusing = true
    stream.write(bytes(4))
    stream.write(bytes(5))
    assert.deepStrictEqual([writes.accepted, writes.isWhole], [3, true])
    await turns()
    assert.deepStrictEqual(errors, ["write EPIPE"])
  })

  it("is perhaps a part of what fails later, but not its end, and nothing of what waits behind it", async () => {
    for (const writev of [false, true]) {
      const { answers, errors, stream } = streamOf({ writev })
      const writes = new Writes(stream, false)
      stream.write(bytes(3))
      answers.shift()!()
      stream.write(bytes(10))
      stream.write(bytes(5))
      stream.write(bytes(5))
      answers.shift()!(failed)
      assert.deepStrictEqual([writes.accepted, writes.isWhole], [12, false])
      await turns()
      assert.deepStrictEqual(errors, ["write ECONNRESET"])
    }
  })

  it("counts what is written together as one write", () => {
    const { answers, stream } = streamOf({ writev: true })
    const writes = new Writes(stream, false)
    stream.write(bytes(3))
    stream.write(bytes(10))
    stream.write("ääää")
    answers.shift()!()
    assert.deepStrictEqual([writes.given, writes.accepted], [21, 21])
    answers.shift()!(failed)
    assert.strictEqual(writes.accepted, 20)
  })

  it("is nothing of a record of TLS that is not whole, and perhaps a part of several", () => {
    for (const [length, accepted, isWhole] of [[16_384, 0, true], [16_385, 16_384, false]] as const) {
      const { answers, stream } = streamOf()
      const writes = new Writes(stream, true)
      stream.write(bytes(length))
      answers.shift()!(failed)
      assert.deepStrictEqual([writes.accepted, writes.isWhole], [accepted, isWhole])
    }
  })

  it("is not known of a stream that writes in a way of its own", () => {
    const { stream } = streamOf()
    Object.assign(stream, { _write: undefined })
    const writes = new Writes(stream, false)
    assert.strictEqual(writes.accepted, Infinity)
  })
})

it("what has arrived is handed out although a write has failed", async () => {
  const { errors, stream } = streamOf({ isRefusing: () => true })
  new Writes(stream, false)
  const said: Array<string> = []
  stream.on("data", (chunk) => said.push(`${chunk}`))
  stream.write(bytes(4))
  setImmediate(() => stream.push("goodbye"))
  await turns()
  assert.deepStrictEqual([said, errors], [["goodbye"], ["write EPIPE"]])
})
