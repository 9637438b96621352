/**
 * 100,000 rows × 5 columns into PostgreSQL: `Bulk.insert` next to a binary COPY written by hand over a raw socket, in
 * turns, in processes of their own.
 *
 * `node --conditions=watertight-source bench/bulk.ts [postgres://postgres@127.0.0.1/postgres]`
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { spawn } from "node:child_process"
import * as net from "node:net"
import * as Bulk from "../src/Bulk.ts"
import * as Postgres from "../src/postgres/Postgres.ts"
import { PostgresServer } from "../test/support/servers/index.ts"

const rows = 100_000
const rounds = 7

interface Row {
  readonly id: number
  readonly name: string
  readonly score: number
  readonly at: Date
  readonly doc: unknown
}

const data: ReadonlyArray<Row> = Array.from({ length: rows }, (_, id) => ({
  id,
  name: `name of row ${id}`,
  score: id * 1.5,
  at: new Date(1_700_000_000_000 + id * 1000),
  doc: { id, tags: ["a", "b"] }
}))

const table = "bulk_bench"

const createTable =
  `drop table if exists ${table}; create unlogged table ${table} (id int4, name text, score float8, at timestamptz, doc jsonb)`

// ---------------------------------------------------------------------------------------------------------------------
// by hand
// ---------------------------------------------------------------------------------------------------------------------

/** A session without anything that this one COPY does not need. */
const connect = (
  url: URL
): Promise<{ socket: net.Socket; query: (sql: string) => Promise<void>; ready: () => Promise<void> }> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    let buffered = Buffer.alloc(0)
    let waiting: (() => void) | undefined
    const expect = (): Promise<void> =>
      new Promise((resolve) => {
        waiting = resolve
      })
    socket.on("error", reject)
    socket.on("data", (chunk) => {
      buffered = Buffer.concat([buffered, chunk])
      while (buffered.length >= 5) {
        const size = buffered.readInt32BE(1) + 1
        if (buffered.length < size) return
        const type = String.fromCharCode(buffered[0]!)
        if (type === "E") throw new Error(buffered.toString("latin1", 5, size))
        buffered = buffered.subarray(size)
        // ReadyForQuery, or CopyInResponse.
        if (type === "Z" || type === "G") waiting?.()
      }
    })
    const query = (sql: string): Promise<void> => {
      const frame = Buffer.alloc(6 + Buffer.byteLength(sql))
      frame[0] = 0x51
      frame.writeInt32BE(frame.length - 1, 1)
      frame.write(sql, 5)
      socket.write(frame)
      return expect()
    }
    const startup = `user\0${url.username}\0database\0${url.pathname.slice(1)}\0\0`
    const frame = Buffer.alloc(8 + startup.length)
    frame.writeInt32BE(frame.length, 0)
    frame.writeInt32BE(196_608, 4)
    frame.write(startup, 8)
    socket.write(frame)
    expect().then(() => resolve({ socket, query, ready: expect }))
  })

const epoch = 946_684_800_000

const byHand = async (url: URL): Promise<() => Promise<void>> => {
  const { query, ready, socket } = await connect(url)
  return async () => {
    await query(`copy ${table} from stdin (format binary)`)
    const size = 128 * 1024
    let frame = Buffer.allocUnsafeSlow(size + 4096)
    let at = 5 + frame.write("PGCOPY\n\u00ff\r\n\0\0\0\0\0\0\0\0\0", 5, "latin1")
    const flush = async () => {
      frame[0] = 0x64
      frame.writeInt32BE(at - 1, 1)
      const more = socket.write(frame.subarray(0, at))
      frame = Buffer.allocUnsafeSlow(size + 4096)
      at = 5
      if (!more) await new Promise<void>((resolve) => socket.once("drain", resolve))
    }
    for (const row of data) {
      at = frame.writeInt16BE(5, at)
      at = frame.writeInt32BE(4, at)
      at = frame.writeInt32BE(row.id, at)
      const name = frame.write(row.name, at + 4)
      at = frame.writeInt32BE(name, at) + name
      at = frame.writeInt32BE(8, at)
      at = frame.writeDoubleBE(row.score, at)
      const micros = (row.at.getTime() - epoch) * 1000
      const high = Math.floor(micros / 4294967296)
      at = frame.writeInt32BE(8, at)
      at = frame.writeInt32BE(high, at)
      at = frame.writeUInt32BE(micros - high * 4294967296, at)
      const doc = frame.write(JSON.stringify(row.doc), at + 5)
      at = frame.writeInt32BE(doc + 1, at)
      frame[at] = 1
      at += doc + 1
      if (at >= size) await flush()
    }
    at = frame.writeInt16BE(-1, at)
    await flush()
    const done = ready()
    socket.write(Buffer.from([0x63, 0, 0, 0, 4]))
    await done
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// ours
// ---------------------------------------------------------------------------------------------------------------------

const ours = (source: Bulk.Rows<Row>) => async (url: URL): Promise<() => Promise<void>> => {
  // The end of the process ends it.
  const scope = await Effect.runPromise(Scope.make())
  const context = await Effect.runPromise(
    Scope.provide(Layer.build(Postgres.layer({ url: Redacted.make(url.href) })), scope)
  )
  return () => Effect.runPromise(Effect.provideContext(Effect.asVoid(Bulk.insert(table, source)), context))
}

const candidates: Record<string, (url: URL) => Promise<() => Promise<void>>> = {
  "by hand": byHand,
  "Bulk.insert, array": ours(data),
  "Bulk.insert, stream": ours(Stream.fromArray(data).pipe(Stream.rechunk(1000)))
}

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[values.length >> 1]!

const [url, name] = process.argv.slice(2)
if (name !== undefined) {
  const target = new URL(url!)
  const run = await candidates[name]!(target)
  const { query } = await connect(target)
  // One line for each turn: whoever started the process says when.
  for await (const _ of process.stdin) {
    await query(createTable)
    const started = performance.now()
    const cpu = process.cpuUsage()
    await run()
    const used = process.cpuUsage(cpu)
    console.log(JSON.stringify([rows / (performance.now() - started) * 1000, (used.user + used.system) / rows]))
  }
  process.exit()
} else {
  const program = Effect.gen(function*() {
    const target = url ??
      (yield* PostgresServer.make({ settings: { shared_buffers: "256MB", max_wal_size: "2GB" } })).url
    yield* Effect.promise(async () => {
      const children = Object.keys(candidates).map((candidate) => {
        const child = spawn(process.execPath, [...process.execArgv, import.meta.filename, target, candidate], {
          stdio: ["pipe", "pipe", "inherit"]
        })
        return { candidate, child, measured: [] as Array<[number, number]> }
      })
      for (let round = 0; round < rounds + 2; round++) {
        for (const { child, measured } of children) {
          const answer = new Promise<string>((resolve) => child.stdout.once("data", (chunk) => resolve(String(chunk))))
          child.stdin.write("go\n")
          const result = JSON.parse(await answer)
          if (round >= 2) measured.push(result)
        }
      }
      const reference = median(children[0]!.measured.map(([rate]) => rate))
      for (const { candidate, child, measured } of children) {
        const rate = median(measured.map(([rate]) => rate))
        console.log(
          `${candidate.padEnd(22)} ${rate.toFixed(0).padStart(8)} rows/s  ${(rate / reference).toFixed(2)} ×  ${
            median(measured.map(([, cpu]) => cpu)).toFixed(2)
          } µs of CPU a row`
        )
        child.stdin.end()
      }
    })
  })
  await Effect.runPromise(Effect.scoped(program))
}
