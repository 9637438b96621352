/** A queue of jobs: the outbox is one. A job is added in the transaction that wants it, and done by any process. */
import { Effect, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { Transaction } from "watertight"
import { Outbox } from "watertight/outbox"

const Resize = Schema.Struct({ picture: Schema.String, width: Schema.Int })

/** The picture and the job are there both, or neither. */
export const upload = (picture: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`insert into picture (name) values (${picture})`
    for (const width of [100, 400]) yield* Outbox.add("resize", { picture, width }, { key: picture })
  }).pipe(Transaction.run({}))

/** What it writes is committed with the job, so the row is there once, although a job may be done twice. */
export const worker = Outbox.run("resize", (message) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const job = yield* Schema.decodeUnknownEffect(Resize)(message.value)
    yield* sql`insert into thumbnail (picture, width) values (${job.picture}, ${job.width})`
  }), { concurrency: 2, interval: "200 millis" })
