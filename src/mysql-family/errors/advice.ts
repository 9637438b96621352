/** What to do about an error of the server, which has no hints of its own. */
const byErrno: ReadonlyMap<number, string> = new Map([
  [1040, "the server has no connection left: lower `pool.max`, or raise max_connections"],
  [1044, "grant the right to the user, or use another one"],
  [1045, "see the user and the password in `url`"],
  [1049, "create the database, or correct its name in `url`"],
  [1142, "grant the right to the user, or use another one"],
  [1205, "another transaction has the lock: see innodb_lock_wait_timeout, and who holds it"],
  [1213, "lock rows in one order, for example by id; docs/transactions.md has a section about deadlocks"],
  [1792, "the transaction may only read: it has `access: \"read only\"`"],
  [1836, "the server may only read: is it a replica?"],
  [1290, "the server runs with an option that forbids this: is it a replica?"],
  [1969, "raise `statementTimeout`, or the limit of this one with `StatementTimeout.within`"],
  [3024, "raise `statementTimeout`, or the limit of this one with `StatementTimeout.within`"]
])

export const adviceFor = (errno: number): string | undefined => byErrno.get(errno)
