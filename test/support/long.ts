/**
 * Test files that take long: whole tables of faults, clusters, crashes, models. `npm run test:matrix` runs them, and so
 * does everybody who names them. `npm test` leaves them out, to be done in minutes.
 */
export const long: ReadonlyArray<string> = [
  "test/breaker/Breaker.model.test.ts",
  "test/cache/fleet.test.ts",
  "test/cli/drift.test.ts",
  "test/cluster/causal.test.ts",
  "test/cluster/patroni.test.ts",
  "test/cluster/promotion.test.ts",
  "test/contract/mariadbOverMysql.test.ts",
  "test/contract/mysqlOverMariadb.test.ts",
  "test/database/goodbyes.test.ts",
  "test/database/rotation.test.ts",
  "test/database/stalls.test.ts",
  "test/migrations/crash.test.ts",
  "test/migrations/many.test.ts",
  "test/migrations/outages.test.ts",
  "test/monitor/screens.test.ts",
  "test/mysql-family/adapter/authentication.test.ts",
  "test/mysql-family/adapter/pool.test.ts",
  "test/mysql-family/cluster/causal.test.ts",
  "test/mysql-family/cluster/cluster.test.ts",
  "test/mysql-family/cluster/galera.test.ts",
  "test/mysql-family/cluster/groupReplication.test.ts",
  "test/mysql-family/cluster/observation.test.ts",
  "test/mysql-family/driver/packets.test.ts",
  "test/mysql-family/errors/errors.test.ts",
  "test/mysql-family/session/faults.test.ts",
  "test/mysql-family/session/ledger.test.ts",
  "test/mysql-family/session/storm.test.ts",
  "test/postgres/statement/roundTrip.test.ts",
  "test/postgres/tenant/tenant.test.ts",
  "test/postgres/wire/messageLoss.test.ts",
  "test/support.nodes.test.ts",
  "test/support.servers.test.ts",
  "test/transaction/faults/failover.test.ts",
  "test/transaction/history/history.test.ts"
]

/** Whether this is a run of everything, and not of files that somebody has named. */
export const isWhole = (args: ReadonlyArray<string>): boolean => !args.some((arg) => /^(\.\/)?test(\/|$)/.test(arg))
