/** What the parts of the benchmark tell each other. */

/** A server as a candidate reaches it. */
export interface Endpoint {
  readonly url: string
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string | undefined
  readonly database: string
  /** The server's main process, whose CPU time is measured together with that of all its descendants. */
  readonly pid: number | undefined
}

export interface Servers {
  readonly postgres?: Endpoint | undefined
  readonly mariadb?: Endpoint | undefined
  readonly mysql?: Endpoint | undefined
}

export type ServerName = keyof Servers

/** One of the things that are compared. Its module is loaded in the process that measures it, and nowhere else. */
export interface Candidate {
  readonly id: string
  readonly label: string
  /** The file under `bench/`. It exports `open`, unless the case says otherwise. */
  readonly module: string
  readonly options?: Readonly<Record<string, unknown>> | undefined
  /** How many call at a time, where the candidates of a case differ in that. */
  readonly callers?: number | undefined
}

/** What one run of one candidate measured, by the keys of the columns. */
export type Metrics = Readonly<Record<string, number>>

export interface Column {
  readonly key: string
  readonly label: string
  /** How the number is written: `rate` with thousands, `ms`, `us`, `count`, `bytes`, `ratio`. */
  readonly format: "rate" | "ms" | "us" | "count" | "bytes" | "seconds"
  readonly better: "higher" | "lower"
}

/** A table: one way to load one kind of server, with those who take part. The first column is what is compared. */
export interface Case {
  readonly name: string
  readonly title: string
  readonly servers: ReadonlyArray<ServerName>
  readonly candidates: ReadonlyArray<Candidate>
  /** Whom the ratios refer to. */
  readonly reference: string
  /** The least that any program could do, where there is such a thing. */
  readonly limit?: string | undefined
  readonly columns: readonly [Column, ...ReadonlyArray<Column>]
  /** Whether the table tells by how much the first column differs from the reference. */
  readonly difference?: boolean | undefined
  /** Runs in a process of its own, once per candidate and round. */
  readonly run: (job: Job) => Promise<Metrics>
  /** For orientation: runs beside the candidates, in the process of the benchmark. */
  readonly beside?: ReadonlyArray<Beside> | undefined
  /** How long one run takes besides warming up and measuring, in seconds. For the progress bar. */
  readonly overhead?: number | undefined
  /** For scenarios that do a fixed piece of work: how long it takes, instead of warming up and measuring. */
  readonly takes?: ((pace: Pace) => number) | undefined
  /** Runs before each run of a candidate, on the server: brings the data back to where it was. */
  readonly prepare?: Readonly<Partial<Record<ServerName, ReadonlyArray<string>>>> | undefined
  /** Queries that run after each run, on the server. Each must yield one row with a true `ok`, or the run counts not. */
  readonly verify?: Readonly<Partial<Record<ServerName, string>>> | undefined
  /** The candidates reach their server through a proxy that `Job.network` commands. */
  readonly proxy?: {
    /** How long the proxy lets everybody wait before it opens a connection to the server, in milliseconds. */
    readonly slowConnect?: number | undefined
  } | undefined
  /** Whether ours is run as it is published, because the sources would count. A profile and the guard run the sources. */
  readonly published?: boolean | undefined
  /** A sentence for the reader of the table. */
  readonly note?: string | undefined
}

/** A program that is no candidate, such as `pgbench`. */
export interface Beside {
  readonly id: string
  readonly label: string
  readonly run: (servers: Servers, pace: Pace) => Promise<Metrics>
}

export interface Scenario {
  readonly name: string
  readonly title: string
  readonly cases: ReadonlyArray<Case>
}

/** How long to run. */
export interface Pace {
  readonly quick: boolean
  readonly rounds: number
  /** Seconds. */
  readonly warmUp: number
  /** Seconds. */
  readonly measure: number
}

/** What a run may use. */
export interface Job {
  readonly candidate: Candidate
  readonly servers: Servers
  readonly pace: Pace
  readonly round: number
  /** Loads the candidate's module and calls its `open`. */
  readonly open: (target: Partial<Target>) => Promise<Subject>
  /** Loads the candidate's module. */
  readonly load: () => Promise<Record<string, unknown>>
  /** Commands the proxy, where the case has one. */
  readonly network: (command: NetworkCommand) => Promise<void>
  /** Starts to count CPU time, and the profiler where one is asked for. */
  readonly window: () => Window
}

/**
 * `acceptAndClose` and `refuse` also cut the connections that are open, as a server does that goes away. `heal` ends
 * both.
 */
export type NetworkCommand = "acceptAndClose" | "refuse" | "heal"

/** A stretch of time that is measured. */
export interface Window {
  readonly stop: () => Promise<Spent>
}

export interface Spent {
  readonly seconds: number
  /** Microseconds of CPU time of this process. */
  readonly client: number
  /** Microseconds of CPU time of the server, where the system tells them. */
  readonly server: number | undefined
}

/** What a candidate is opened with. */
export interface Target {
  readonly servers: Servers
  readonly server: ServerName
  readonly connections: number
  readonly options: Readonly<Record<string, unknown>>
}

/**
 * How a library's operations are run: as promises, effects or callbacks. Each library is driven in its own style, as a
 * program that has chosen it would do.
 */
export interface Style<Operation> {
  /** Runs as many loops at the same time, each one operation after the other, as long as the load lasts. */
  readonly loop: (workers: number, load: Load<Operation>) => Promise<void>
  /** Starts one operation beside those that run. */
  readonly start: (operation: Operation, done: (value: unknown, error: unknown) => void) => void
}

/** What the workers of a closed loop take their work from and report to. */
export interface Load<Operation> {
  readonly running: boolean
  readonly key: () => number
  readonly operation: (key: number) => Operation
  readonly done: (key: number, startedAt: number, value: unknown) => void
}

/**
 * A candidate that is ready to run. Every operation yields a value that the harness checks, so that nobody is fast by
 * not doing the work.
 */
// oxlint-disable-next-line no-explicit-any -- each candidate has its own kind of operation, which only its style knows
export interface Subject<Operation = any> {
  readonly style: Style<Operation>
  readonly close: () => Promise<void>

  /** `SELECT $1::int`: yields the number. */
  readonly echo?: (n: number) => Operation
  /** One row of `item` by its primary key: yields its label. */
  readonly byKey?: (id: number) => Operation
  /** Occupies a connection of the server for so many milliseconds. Yields anything. */
  readonly sleep?: (millis: number) => Operation
  /**
   * One transaction of three statements: reads an item, changes an account, writes an entry. Yields the item's amount.
   */
  readonly transaction?: (key: number) => Operation
  /** Moves money between two accounts at SERIALIZABLE, again until it is committed. Yields the number of attempts. */
  readonly transfer?: (key: number) => Operation
  /** Takes something out of a pool, holds it so long, and gives it back. Yields when it was got: `performance.now()`. */
  readonly checkout?: (hold: Hold) => Operation
  /** Writes rows to `bulk`. Yields how many. */
  readonly write?: (rows: ReadonlyArray<BulkRow>) => Operation
  /** Reads so many rows and makes objects of them. Yields the sum of their ids. */
  readonly read?: (count: number) => Operation
}

/** How long something is held: not at all, one turn of the event loop, or a millisecond. */
export type Hold = "none" | "turn" | "millisecond"

/** A row of the bulk scenarios. */
export interface BulkRow {
  readonly id: number
  readonly name: string
  readonly price: number
  readonly at: Date
  readonly data: unknown
}
