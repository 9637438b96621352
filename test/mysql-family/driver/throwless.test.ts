/** A driver that throws when it is given a statement: the connection is lost, and each kind of statement fails typed. */
import { assert, it } from "@effect/vitest"
import { ProtocolBroken, Trouble } from "../../../src/mysql-family/driver/boundary.ts"
import type { DriverConnection } from "../../../src/mysql-family/driver/Driver.ts"
import { throwless } from "../../../src/mysql-family/driver/throwless.ts"

const broken = (): never => {
  throw new TypeError("Cannot read properties of undefined (reading 'startPacket')")
}

const connection = () => ({ query: broken, execute: broken, stream: broken, batch: broken, load: broken })

const calls = ["query", "execute", "stream", "batch", "load"] as const

for (const call of calls) {
  it(`${call}: is told to the receiver and to who listens for trouble, and nothing is thrown`, () => {
    const trouble = new Trouble()
    const heard: Array<unknown> = []
    trouble.listen((error) => heard.push(error))
    const safe = throwless(connection() as unknown as DriverConnection, trouble)
    const errors: Array<readonly [unknown, boolean]> = []
    const receiver = { onError: (error: unknown, sent: boolean) => errors.push([error, sent]) } as never
    const source = call === "query"
      ? safe.query("select 1", receiver)
      : call === "execute" || call === "stream"
      ? safe[call]("select 1", [], receiver)
      : call === "batch"
      ? safe.batch!("insert", [], receiver)
      : safe.load!("load", "file", receiver)
    assert.lengthOf(errors, 1)
    assert.instanceOf(errors[0]![0], ProtocolBroken)
    // It may have been written before.
    assert.isTrue(errors[0]![1])
    assert.deepStrictEqual(heard, [errors[0]![0]])
    if (call === "stream") {
      const { pause, resume } = source as { readonly pause: () => void; readonly resume: () => void }
      pause()
      resume()
    }
  })
}

it("what a driver cannot do stays undefined", () => {
  const safe = throwless(
    { ...connection(), batch: undefined, load: undefined } as unknown as DriverConnection,
    new Trouble()
  )
  assert.isUndefined(safe.batch)
  assert.isUndefined(safe.load)
})
