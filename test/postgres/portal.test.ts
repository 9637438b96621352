import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Entry } from "../../src/postgres/internal/Entry.ts"
import { Portal } from "../../src/postgres/internal/Portal.ts"

it.effect("a stream that has failed asks for nothing more, however many rows are still to be read", () =>
  Effect.gen(function*() {
    let entry: Entry | undefined
    const frames: Array<Uint8Array> = []
    const portal = new Portal(
      {
        inTransaction: false,
        received: 0,
        now: 0,
        open: (first) => entry = first,
        submit: () => {},
        abandon: () => {},
        writeNow: (_, frame) => frames.push(frame)
      },
      "select",
      [],
      1,
      Infinity
    )
    let answered = 0
    const answer = () => {
      answered++
      entry!.rows = [{}]
      portal.onSuspended(entry!)
    }
    // The first fetch is asked for by the first reader, the others by what is written.
    const asked = () => 1 + frames.reduce((sum, frame) => sum + frame.length / frames[0]!.length, 0)
    const read = Effect.forkChild(portal.pull, { startImmediately: true })
    for (let rows = 0; rows < 40; rows++) {
      yield* read
      if (answered < asked()) answer()
    }
    while (asked() - answered > 1) answer()
    const before = frames.length
    portal.onError(entry!)
    assert.strictEqual(frames.length, before + 1)
    for (let rows = 0; rows < 8; rows++) yield* read
    assert.strictEqual(frames.length, before + 1)
  }))
