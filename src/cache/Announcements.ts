/**
 * How processes tell each other what they have invalidated: rows of a table, written in the transaction that changes the
 * data, so they are there if and only if the change is.
 *
 * **Details**
 *
 * Each process reads the new rows once per `interval`, and at once when it is woken. Ids become visible out of order: a
 * transaction may write id 7 and commit after id 8 was read. On PostgreSQL the next read therefore begins at the oldest
 * transaction that was still running when the previous one took its snapshot (`pg_snapshot_xmin`), which is read in the
 * same statement. MySQL and MariaDB do not tell; there, ids that were skipped are asked for again for as long as
 * `longestTransaction`.
 *
 * A process that could not read for longer than `bound` is *deaf*: its cache is passed by until it can read again. Rows
 * are kept for an hour. A process that was deaf for longer drops everything that it holds.
 */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { timeout } from "../timing/timeout.ts"

/** The table of the announcements. */
export const announcementTable = "watertight_invalidation"

/** How long a row is kept, in seconds. */
const retention = 3_600

/** More skipped ids than this are asked for as a range. */
const maxSkipped = 200

export interface AnnouncementOptions {
  /** Milliseconds between two reads. */
  readonly interval: number
  /** After how many milliseconds without a successful read the process is deaf. */
  readonly bound: number
  /** For how many milliseconds a skipped id is asked for again, where the database does not tell who is still running. */
  readonly longestTransaction: number
  readonly now: () => number
  /** Ends the wait for the next read. */
  readonly wakeUps: Stream.Stream<unknown, unknown>
  readonly onTags: (tags: ReadonlyArray<string>) => void
  /** Rows may have been missed. */
  readonly onGap: () => void
}

export interface Announcements {
  /** Writes a row: on the transaction of the fiber, or by itself. */
  readonly publish: (tags: ReadonlyArray<string>) => Effect.Effect<void, SqlError>
  readonly isDeaf: () => boolean
  /** For how many milliseconds this process has been deaf. */
  readonly deafFor: () => number
}

/** What has been read so far. */
interface Position {
  readonly cursor: string
  readonly seen: ReadonlySet<string>
  /** Ids below the highest one that were not there yet, with the time at which they were missed first. */
  readonly skipped: ReadonlyMap<number, number>
}

/** A read: the rows that were not seen before, and where the next read begins. */
interface News {
  readonly tags: ReadonlyArray<ReadonlyArray<string>>
  readonly position: Position
}

interface Dialect {
  readonly createTable: ReadonlyArray<string>
  readonly start: Effect.Effect<Position, SqlError>
  readonly read: (position: Position, now: number) => Effect.Effect<News, SqlError>
  readonly prune: Effect.Effect<void, SqlError>
}

/** Makes the table if it is missing, and starts to read. */
export const make = Effect.fnUntraced(function*(
  sql: SqlClient,
  options: AnnouncementOptions
): Effect.fn.Return<Announcements, SqlError, Scope.Scope> {
  const dialect = sql.onDialectOrElse({
    pg: () => postgres(sql),
    mysql: () => mysql(sql, options.longestTransaction),
    orElse: () => postgres(sql)
  })
  for (const statement of dialect.createTable) yield* Effect.retry(sql.unsafe(statement), { times: 3 })
  // Each time is that at which a read was begun: what it returns is as old as that.
  let heardAt = options.now()
  let position = yield* dialect.start
  const wake = yield* Queue.sliding<void>(1)

  const listen = Effect.gen(function*() {
    const begunAt = options.now()
    const news = yield* dialect.read(position, begunAt)
    // What was pruned meanwhile cannot be read any more.
    if (begunAt - heardAt > (retention * 1_000) / 2) options.onGap()
    position = news.position
    for (const tags of news.tags) options.onTags(tags)
    heardAt = begunAt
  }).pipe(
    timeout(options.bound),
    Effect.catchCause((cause) => Effect.logDebug("Invalidations of other processes could not be read", cause)),
    Effect.andThen(Effect.timeoutOption(Queue.take(wake), options.interval)),
    Effect.forever
  )
  const pruning = dialect.prune.pipe(
    Effect.catchCause((cause) => Effect.logDebug("Old invalidations could not be deleted", cause)),
    Effect.delay("10 minutes"),
    Effect.forever
  )
  const waking = options.wakeUps.pipe(
    Stream.runForEach(() => Queue.offer(wake, undefined)),
    // Without wake-ups the interval is left.
    Effect.catchCause((cause) => Effect.logDebug("Wake-ups of the cache have ended", cause))
  )
  yield* Effect.forkScoped(Effect.all([listen, pruning, waking], { concurrency: "unbounded", discard: true }))

  const deafFor = () => Math.max(0, options.now() - heardAt - options.bound)
  return {
    publish: (tags) =>
      Effect.asVoid(sql`insert into ${sql(announcementTable)} (tags) values (${JSON.stringify(tags)})`),
    isDeaf: () => deafFor() > 0,
    deafFor
  }
})

const parsed = (text: string): ReadonlyArray<string> => JSON.parse(text) as ReadonlyArray<string>

const postgres = (sql: SqlClient): Dialect => {
  const cursor = "pg_snapshot_xmin(pg_current_snapshot())::text"
  return {
    createTable: [
      `create table if not exists ${announcementTable} (
      id bigint generated always as identity primary key,
      xid xid8 not null default pg_current_xact_id(),
      tags text not null,
      written_at timestamptz not null default now()
    )`,
      `create index if not exists ${announcementTable}_xid on ${announcementTable} (xid)`
    ],
    start: Effect.map(sql.unsafe(`select ${cursor} as cursor`).values, ([row]) => ({
      cursor: String(row![0]),
      seen: new Set<string>(),
      skipped: new Map<number, number>()
    })),
    // The cursor and the rows are of one snapshot. A left join, so that there is a row without news too.
    read: ({ cursor: from, seen }) =>
      Effect.map(
        sql.unsafe(
          `select s.cursor, i.id::text, i.tags from (select ${cursor} as cursor) as s
           left join ${announcementTable} as i on i.xid >= $1::text::xid8`,
          [from]
        ).values,
        (rows): News => {
          const found = rows.filter((row) => row[1] !== null)
          return {
            tags: found.filter((row) => !seen.has(String(row[1]))).map((row) => parsed(String(row[2]))),
            position: {
              cursor: String(rows[0]![0]),
              seen: new Set(found.map((row) => String(row[1]))),
              skipped: new Map()
            }
          }
        }
      ),
    prune: Effect.asVoid(
      sql.unsafe(`delete from ${announcementTable} where written_at < now() - interval '${retention} seconds'`)
    )
  }
}

const mysql = (sql: SqlClient, longestTransaction: number): Dialect => ({
  createTable: [`create table if not exists ${announcementTable} (
    id bigint unsigned not null auto_increment primary key,
    tags longtext not null,
    written_at timestamp(6) not null default current_timestamp(6),
    key written_at (written_at)
  ) engine = InnoDB`],
  start: Effect.map(
    sql.unsafe(`select coalesce(max(id), 0) from ${announcementTable}`).values,
    ([row]) => ({ cursor: String(row![0]), seen: new Set<string>(), skipped: new Map<number, number>() })
  ),
  read: ({ cursor, skipped }, now) => {
    const asked = Array.from(skipped.keys())
    const others = asked.length === 0
      ? ""
      : asked.length > maxSkipped
      ? ` or id between ${Math.min(...asked)} and ${Math.max(...asked)}`
      : ` or id in (${asked.join(", ")})`
    const statement = `select id, tags from ${announcementTable} where id > ${cursor}${others} order by id`
    return Effect.map(sql.unsafe(statement).values, (rows): News => {
      const last = Number(cursor)
      const isNew = (id: number) => id > last || skipped.has(id)
      const found = rows.map((row) => [Number(row[0]), String(row[1])] as const).filter(([id]) => isNew(id))
      const ids = new Set(found.map(([id]) => id))
      const highest = found.reduce((highest, [id]) => Math.max(highest, id), last)
      const missing = new Map<number, number>()
      for (const [id, since] of skipped) if (!ids.has(id) && now - since < longestTransaction) missing.set(id, since)
      for (let id = last + 1; id < highest; id++) if (!ids.has(id)) missing.set(id, now)
      return {
        tags: found.map(([, tags]) => parsed(tags)),
        position: { cursor: String(highest), seen: new Set(), skipped: missing }
      }
    })
  },
  prune: Effect.asVoid(
    sql.unsafe(`delete from ${announcementTable} where written_at < current_timestamp - interval ${retention} second`)
  )
})
