/** A job at night that one of several processes does, under a lock of PostgreSQL. */
import { Cron, Effect, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import { AdvisoryLock } from "watertight"

const report = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`insert into report (day, cents) select current_date, sum(cents) from account on conflict do nothing`
})

/** Who finds the lock taken leaves it to the other one. The lock goes with the session, also when the process dies. */
export const nightly = report.pipe(
  AdvisoryLock.withLock("nightly report", { wait: false }),
  Effect.catchTag("AdvisoryLockError", () => Effect.log("another process makes the report"))
)

export const schedule = nightly.pipe(
  Effect.catchCause((cause) => Effect.logError("the report was not made", cause)),
  Effect.schedule(Schedule.cron(Cron.parseUnsafe("0 3 * * *")))
)
