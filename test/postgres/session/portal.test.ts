/** How far a portal runs ahead of whoever reads from it, step by step. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Exchange } from "../../../src/postgres/exchange/Exchange.ts"
import type { ExchangeHost } from "../../../src/postgres/exchange/ExchangeHost.ts"
import { type Fetch, Portal } from "../../../src/postgres/exchange/Portal.ts"

/** A session that answers when it is told to. */
const fake = (inTransaction: boolean, maxRows: number) => {
  /** The rows that fetches under way ask for, and the entries that they are answered by. */
  const asked: Array<{ readonly rows: number; readonly entry: Fetch }> = []
  let writes = 0
  const read = (entry: Exchange, frame: Uint8Array): void => {
    writes++
    const bytes = Buffer.from(frame)
    for (let at = 0; at < bytes.length; at += bytes.readInt32BE(at + 1) + 1) {
      if (bytes[at] === 0x45) {
        asked.push({ rows: bytes.readInt32BE(bytes.indexOf(0, at + 5) + 1), entry: entry as Fetch })
      }
    }
  }
  const host = {
    inTransaction,
    received: 0,
    now: 0,
    open: (entry) => read(entry, portal.firstFetch(false)),
    submit: (entry) => read(entry, entry.head!),
    abandon: () => {},
    writeNow: read,
    writeData: () => true,
    onDrain: () => () => {},
    pauseReading: () => {}
  } satisfies ExchangeHost
  const portal = new Portal(host, "select", [], maxRows, Infinity)
  const batches: Array<ReadonlyArray<unknown>> = []
  return {
    asked,
    batches,
    writes: () => writes,
    fail: () => portal.onError(asked[0]!.entry),
    take: Effect.map(Effect.forkChild(portal.pull, { startImmediately: true }), (fiber) => {
      fiber.addObserver((exit) => {
        if (exit._tag === "Success") batches.push(exit.value)
      })
    }),
    answer: (rowBytes: number, rowMillis: number) => {
      const { entry, rows } = asked.shift()!
      entry.rows = Array.from({ length: rows }, (_, row) => row)
      host.received += rows * rowBytes
      host.now += rows * rowMillis
      entry.isSuspended = inTransaction
      if (inTransaction) portal.onReady(entry)
      else portal.onSuspended(entry)
    }
  }
}

it.effect("a stream that has failed asks for nothing more, however many rows are still to be read", () =>
  Effect.gen(function*() {
    const { answer, asked, batches, fail, take, writes } = fake(false, 10)
    for (let taken = 1; taken <= 7; taken++) {
      yield* take
      if (batches.length < taken) answer(1, 0)
    }
    while (asked.length > 1) answer(1, 0)
    fail()
    const before = writes()
    for (let taken = 0; taken < 8; taken++) yield* take
    assert.strictEqual(writes(), before)
  }))

for (const inTransaction of [false, true]) {
  describe(`a portal ${inTransaction ? "inside a transaction" : "outside of one"}`, () => {
    it.effect("runs ahead by one more fetch for each that was taken, up to eight", () =>
      Effect.gen(function*() {
        const { answer, asked, batches, take, writes } = fake(inTransaction, 10)
        assert.strictEqual(asked.length, 0)
        const ahead: Array<number> = []
        let answered = 0
        const answerAll = (): void => {
          for (; asked.length > 0; answered++) answer(1, 0)
        }
        for (let taken = 1; taken <= 20; taken++) {
          yield* take
          if (batches.length < taken) answerAll()
          assert.strictEqual(batches.length, taken)
          ahead.push(asked.length + answered - taken)
          answerAll()
        }
        assert.deepStrictEqual(ahead.slice(0, 12), [1, 2, 3, 4, 3, 6, 5, 8, 7, 6, 5, 8])
        // Several at a time.
        if (!inTransaction) assert.isBelow(writes(), 12)
      }))

    it.effect("asks for nothing more while nobody takes what is there", () =>
      Effect.gen(function*() {
        const { answer, asked, take } = fake(inTransaction, 10)
        yield* take
        answer(1, 0)
        while (asked.length > 0) answer(1, 0)
        assert.strictEqual(asked.length, 0)
      }))

    it.effect("asks for as many rows as their size and their time allow", () =>
      Effect.gen(function*() {
        const rowsAfter = (rowBytes: number, rowMillis: number) =>
          Effect.gen(function*() {
            const { answer, asked, take } = fake(inTransaction, 4_000)
            yield* take
            assert.strictEqual(asked[0]!.rows, 64)
            answer(rowBytes, rowMillis)
            return asked[0]!.rows
          })
        assert.strictEqual(yield* rowsAfter(1, 0), 4_000)
        assert.strictEqual(yield* rowsAfter(1_024, 0), 128)
        assert.strictEqual(yield* rowsAfter(10_000_000, 0), 1)
        assert.strictEqual(yield* rowsAfter(1, 5), 4)
        assert.strictEqual(yield* rowsAfter(1, 1_000), 1)
        assert.strictEqual(yield* rowsAfter(1, 0.001), 4_000)
      }))
  })
}
