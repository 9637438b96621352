/**
 * The thread that says when the next request is due. It sleeps in between, to less than a tenth of a millisecond, and
 * never waits for the thread that it tells.
 */
import { parentPort, workerData } from "node:worker_threads"
import { generator, millisNow } from "./load.ts"

const { due, rate, seconds, seed } = workerData as {
  readonly due: Float64Array
  readonly rate: number
  readonly seconds: number
  readonly seed: number
}

const random = generator(seed)
const never = new Int32Array(new SharedArrayBuffer(4))
const start = millisNow()
const end = start + seconds * 1000
let next = start
for (let index = 0; next < end; index++) {
  const wait = next - millisNow()
  if (wait > 0.05) Atomics.wait(never, 0, 0, wait)
  due[index & 65_535] = next
  parentPort!.postMessage(index)
  // Exponential gaps: arrivals that know nothing of each other.
  next += -Math.log(1 - random()) * 1000 / rate
}
parentPort!.postMessage(-1)
