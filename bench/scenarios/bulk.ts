/** Much data at once: 100,000 rows of five columns into a table, and out of it again. */
import { generator } from "../harness/load.ts"
import type { BulkRow, Candidate, Case, Job, Metrics, Scenario } from "../harness/model.ts"
import * as Columns from "./columns.ts"

const total = 100_000

const million = 1_000_000

/** Repeatable rows. */
const makeRows = (count: number): ReadonlyArray<BulkRow> => {
  const random = generator(1)
  return Array.from({ length: count }, (_, index) => ({
    id: index + 1,
    name: `name of row ${index + 1}`,
    // Never a whole number: a client may send those as another type.
    price: Math.floor(random() * 100_000) / 100 + 0.001,
    at: new Date(1_700_000_000_000 + index * 1000),
    data: { id: index + 1, tags: ["a", "b"] }
  }))
}

/** The same thing again and again, alone. */
const measure = async (job: Job, run: () => Promise<unknown>, expected: number, rows: number): Promise<Metrics> => {
  await run()
  globalThis.gc?.()
  const window = job.window()
  const start = performance.now()
  let done = 0
  do {
    const value = await run()
    if (value !== expected) throw new Error(`Wrong result: ${String(value)} instead of ${expected}`)
    done += rows
  } while (performance.now() - start < job.pace.measure * 1000)
  const { client, seconds, server } = await window.stop()
  return {
    rate: done / seconds,
    client: client / done,
    ...(server === undefined ? {} : { server: server / done }),
    rss: process.memoryUsage.rss(),
    peak: process.resourceUsage().maxRSS * 1024
  }
}

const write = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  const rows = makeRows(job.pace.quick ? total / 5 : total)
  return measure(job, () => value(subject, subject.write!(rows)), rows.length, rows.length)
}

const reading = (rows: number) => async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  const count = job.pace.quick ? rows / 5 : rows
  return measure(job, () => value(subject, subject.read!(count)), (count * (count + 1)) / 2, count)
}

const read = reading(total)

const value = (subject: Awaited<ReturnType<Job["open"]>>, operation: unknown): Promise<unknown> =>
  new Promise((resolve, reject) => {
    subject.style.start(operation, (value, error) => error === undefined ? resolve(value) : reject(error))
  })

const one = (id: string, label: string, module: string, options: Candidate["options"] = {}): Candidate => ({
  id,
  label,
  module,
  options
})

const columns: Case["columns"] = [
  { ...Columns.rate, label: "rows per second" },
  { ...Columns.client, label: "client CPU per row" },
  { ...Columns.server, label: "server CPU per row" },
  { key: "rss", label: "resident", format: "bytes", better: "lower" }
]

const sqlPg = "candidates/bulk/effect-sql-pg.ts"
const ours = "watertight/bulk-postgres.ts"
const oursOnMariadb = "watertight/bulk-mariadb.ts"

const fillPostgres = (rows: number): ReadonlyArray<string> => [
  "truncate bulk",
  "insert into bulk select n, 'name of row ' || n, n * 1.01, to_timestamp(n), jsonb_build_object('id', n) " +
  `from generate_series(1, ${rows}) n`
]

const fill = {
  postgres: fillPostgres(total),
  mariadb: [
    "truncate bulk",
    "insert into bulk select seq, concat('name of row ', seq), seq * 1.01, from_unixtime(seq), " +
    `json_object('id', seq) from seq_1_to_${total}`
  ]
}

const scenario: Scenario = {
  name: "bulk",
  title: "Much data",
  cases: [
    {
      name: "postgres-load",
      published: true,
      title: "PostgreSQL: rows of int, text, float8, timestamptz and jsonb into a table",
      servers: ["postgres"],
      reference: "sql-pg-unnest-4",
      limit: "limit",
      columns,
      prepare: { postgres: ["truncate bulk", "checkpoint"] },
      verify: {
        postgres: "select count(*) > 0 and bool_and((data ->> 'id')::int = id and name = 'name of row ' || id " +
          "and at = to_timestamp(1700000000 + id - 1)) as ok from bulk"
      },
      candidates: [
        one("limit", "binary COPY over a raw socket", "limit/bulk-postgres.ts"),
        one("watertight", "Watertight, Bulk.insert", ours),
        one("watertight-stream", "Watertight, Bulk.insert of a stream", ours, { write: "stream" }),
        one("watertight-copy", "Watertight, Copy.sink, text", ours, { write: "copy" }),
        one("sql-pg-unnest-4", "@effect/sql-pg, unnest of 1,000, 4 at a time", sqlPg, { unnest: true, concurrency: 4 }),
        one("sql-pg-unnest", "@effect/sql-pg, unnest of 1,000", sqlPg, { unnest: true }),
        one("sql-pg-insert", "@effect/sql-pg, sql.insert of 1,000", sqlPg),
        one("pg-copy", "pg-copy-streams, text", "candidates/bulk/pg.ts", { copy: true }),
        one("pg-unnest", "pg, unnest of 1,000", "candidates/bulk/pg.ts"),
        one("postgres-js", "postgres.js, insert of 1,000", "candidates/bulk/postgres-js.ts"),
        one("slonik", "slonik, unnest of 1,000", "candidates/bulk/slonik.ts"),
        one("kysely", "kysely, insert of 1,000", "candidates/bulk/kysely.ts")
      ],
      run: write
    },
    {
      name: "postgres-read",
      published: true,
      title: "PostgreSQL: the same rows out of it, as objects",
      servers: ["postgres"],
      reference: "sql-pg",
      limit: "limit",
      columns,
      prepare: { postgres: fill.postgres },
      candidates: [
        one("limit", "binary COPY over a raw socket, decoded", "limit/bulk-postgres.ts"),
        one("watertight", "Watertight, stream", ours),
        one("watertight-copy", "Watertight, Copy.rows", ours, { read: "copy" }),
        one("sql-pg", "@effect/sql-pg, stream", sqlPg),
        one("pg", "pg, all at once", "candidates/bulk/pg.ts"),
        one("postgres-js", "postgres.js, cursor of 1,000", "candidates/bulk/postgres-js.ts"),
        one("slonik", "slonik, all at once", "candidates/bulk/slonik.ts"),
        one("kysely", "kysely, all at once", "candidates/bulk/kysely.ts")
      ],
      run: read
    },
    {
      name: "postgres-stream",
      published: true,
      title: "PostgreSQL: a million of these rows, as a stream of objects",
      servers: ["postgres"],
      reference: "sql-pg",
      limit: "limit",
      columns: [columns[0], ...columns.slice(1, -1), { key: "peak", label: "peak", format: "bytes", better: "lower" }],
      prepare: { postgres: fillPostgres(million) },
      overhead: 4,
      candidates: [
        one("limit", "binary COPY over a raw socket, decoded", "limit/bulk-postgres.ts"),
        one("watertight", "Watertight, stream", ours),
        one("watertight-transaction", "Watertight, stream in a transaction", ours, { read: "transaction" }),
        one("watertight-copy", "Watertight, Copy.rows", ours, { read: "copy" }),
        one("sql-pg", "@effect/sql-pg, stream", sqlPg),
        one("postgres-js", "postgres.js, cursor of 1,000", "candidates/bulk/postgres-js.ts")
      ],
      run: reading(million)
    },
    {
      name: "mariadb-load",
      published: true,
      title: "MariaDB: rows of int, text, double, datetime and json into a table",
      servers: ["mariadb"],
      reference: "mysql2",
      limit: "limit",
      columns,
      prepare: { mariadb: ["truncate bulk"] },
      verify: {
        mariadb: "select count(*) > 0 and min(json_value(data, '$.id') = id and name = concat('name of row ', id)) " +
          "as ok from bulk"
      },
      candidates: [
        one("limit", "LOAD DATA LOCAL over a raw socket", "limit/bulk-mariadb.ts"),
        one("ours", "Watertight, mariadb, Bulk.insert", oursOnMariadb),
        one("ours-mysql2", "Watertight, mysql2, Bulk.insert", oursOnMariadb, { driver: "mysql2" }),
        one("ours-stream", "Watertight, mysql2, Bulk.insert of a stream", oursOnMariadb, {
          driver: "mysql2",
          write: "stream"
        }),
        one("mariadb", "mariadb connector, batch of 1,000", "candidates/bulk/mariadb.ts"),
        one("mysql2", "mysql2, insert of 1,000", "candidates/bulk/mysql2.ts")
      ],
      run: write
    },
    {
      name: "mariadb-read",
      published: true,
      title: "MariaDB: the same rows out of it, as objects",
      servers: ["mariadb"],
      reference: "mysql2",
      limit: "limit",
      columns,
      prepare: { mariadb: fill.mariadb },
      candidates: [
        one("limit", "text protocol over a raw socket, not decoded", "limit/bulk-mariadb.ts"),
        one("ours", "Watertight, mariadb, stream", oursOnMariadb),
        one("ours-mysql2", "Watertight, mysql2, stream", oursOnMariadb, { driver: "mysql2" }),
        one("mariadb", "mariadb connector, stream", "candidates/bulk/mariadb.ts"),
        one("mysql2", "mysql2, stream", "candidates/bulk/mysql2.ts")
      ],
      run: read
    }
  ]
}

export default scenario
