/** The ways to load a candidate: as fast as it can, or at a rate that the outside world sets. */
import { Worker } from "node:worker_threads"
import { Histogram } from "./histogram.ts"
import type { Job, Load, Metrics, Spent, Style } from "./model.ts"

/** Repeatable numbers that look random: every candidate gets the same. */
export const generator = (seed: number): () => number => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

/** The value of an operation is not what it must be: a candidate that does not do the work is not measured. */
const wrong = (key: number, value: unknown): Error => new Error(`Wrong result for ${key}: ${String(value)}`)

export interface ClosedLoop<Operation> {
  readonly style: Style<Operation>
  readonly workers: number
  readonly operation: (key: number) => Operation
  /** The greatest key; keys are drawn from 1 up to it. */
  readonly keys: number
  readonly isRight: (key: number, value: unknown) => boolean
  /** Counts something besides operations. */
  readonly observe?: ((value: unknown) => void) | undefined
}

export interface Measured {
  readonly count: number
  readonly spent: Spent
  readonly latency: Histogram
}

/** Workers that each start the next operation as soon as the last is done: shows how much can be done. */
export const closedLoop = async <Operation>(job: Job, options: ClosedLoop<Operation>): Promise<Measured> => {
  const random = generator(job.round + 1)
  const latency = new Histogram()
  let recording = false
  let failure: unknown
  const load: Load<Operation> & { running: boolean } = {
    running: true,
    operation: options.operation,
    key: () => 1 + Math.floor(random() * options.keys),
    done: (key, startedAt, value) => {
      if (!options.isRight(key, value)) {
        load.running = false
        failure ??= wrong(key, value)
      }
      if (recording) {
        latency.add(performance.now() - startedAt)
        options.observe?.(value)
      }
    }
  }
  const finished = options.style.loop(options.workers, load)
  const measured = (async () => {
    await sleep(job.pace.warmUp)
    globalThis.gc?.()
    const window = job.window()
    recording = true
    await sleep(job.pace.measure)
    recording = false
    const count = latency.count
    const spent = await window.stop()
    load.running = false
    return { count, spent, latency }
  })()
  // A worker that fails ends the run at once.
  await Promise.race([finished, measured])
  load.running = false
  await finished
  if (failure !== undefined) throw failure
  return measured
}

/** Seconds. */
export const sleep = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000))

export interface OpenLoop<Operation> {
  readonly style: Style<Operation>
  /** Requests per second. */
  readonly rate: number
  /** Starts the operation of a key; which kind it is goes into `latencies`. */
  readonly operation: (key: number) => Operation
  readonly keys: number
  /** What is run to warm up, if not `operation`. */
  readonly warmUp?: ((key: number) => Operation) | undefined
  /** Which histogram a request belongs to: 0, 1, … */
  readonly kindOf?: ((key: number) => number) | undefined
  readonly isRight: (key: number, value: unknown) => boolean
}

export interface Answered {
  readonly latencies: ReadonlyArray<Histogram>
  readonly errors: number
  readonly spent: Spent
}

/**
 * Requests that arrive at random moments, at a given rate on average, whether those before them are done or not, as
 * the outside world sends them: shows how long one has to wait.
 *
 * A thread of its own sends them on time, and their time counts from the moment at which they were due. So a pause of
 * the client is seen by all that would have arrived in it, and nobody looks better by being late.
 */
export const openLoop = async <Operation>(job: Job, options: OpenLoop<Operation>): Promise<Answered> => {
  const random = generator(job.round + 1)
  const kinds = [new Histogram(), new Histogram()]
  const due = new Float64Array(new SharedArrayBuffer(8 * 65_536))
  const seconds = job.pace.warmUp + job.pace.measure
  let errors = 0
  let recording = false
  let failure: unknown
  let open = 0
  let ended = false
  let finish = (): void => {}
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })

  const arrive = (index: number): void => {
    const key = 1 + Math.floor(random() * options.keys)
    const at = due[index & 65_535]!
    const counts = recording
    open++
    options.style.start(options.operation(key), (value, error) => {
      open--
      if (error !== undefined) {
        errors++
        failure ??= error
      } else if (!options.isRight(key, value)) {
        failure ??= wrong(key, value)
      }
      if (counts) kinds[options.kindOf?.(key) ?? 0]!.add(millisNow() - at)
      if (ended && open === 0) finish()
    })
  }

  // At this rate it would take long until all code is compiled.
  let warm = 20_000
  await options.style.loop(16, {
    get running() {
      return warm > 0
    },
    key: () => warm--,
    operation: options.warmUp ?? options.operation,
    done: () => {}
  })

  const pacer = new Worker(new URL("./pacer.ts", import.meta.url), {
    workerData: { due, rate: options.rate, seconds, seed: job.round + 7 }
  })
  pacer.on("message", (index: number) => {
    if (index >= 0) return arrive(index)
    ended = true
    if (open === 0) finish()
  })
  await new Promise((resolve) => pacer.once("online", resolve))
  await sleep(job.pace.warmUp)
  globalThis.gc?.()
  const window = job.window()
  recording = true
  await sleep(job.pace.measure)
  recording = false
  const spent = await window.stop()
  await finished
  await pacer.terminate()
  if (failure !== undefined && errors === 0) throw failure
  if (errors > 0 && errors === kinds[0]!.count + kinds[1]!.count) throw failure
  return { latencies: kinds, errors, spent }
}

/** Milliseconds of a clock that all threads share. */
export const millisNow = (): number => {
  const [seconds, nanos] = process.hrtime()
  return seconds * 1000 + nanos / 1e6
}

/** The usual numbers of a closed loop. */
export const metricsOf = ({ count, latency, spent }: Measured): Metrics => ({
  rate: count / spent.seconds,
  p50: latency.quantile(0.5),
  p95: latency.quantile(0.95),
  p99: latency.quantile(0.99),
  client: spent.client / count,
  ...(spent.server === undefined ? {} : { server: spent.server / count })
})
