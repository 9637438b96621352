/**
 * Whether a server does its work, so that a session notices when that changes: after a failover the old primary, or the
 * node that a balancer leads to by now, often goes on answering.
 */

/** What can be switched off. MariaDB and MySQL call the last one by different names. */
export const readOnlyOf = (isMariadb: boolean): string =>
  `CONCAT_WS('|', @@read_only, @@innodb_read_only, ${isMariadb ? "@@tx_read_only" : "@@transaction_read_only"})`

/** Whether the answer is that it writes. */
export const isWritable = (readOnly: string | undefined): boolean =>
  readOnly !== undefined && /^(?:0|OFF)(?:\|(?:0|OFF))*$/i.test(readOnly)

/**
 * Does nothing outside of a transaction, and is refused by a node that has left its cluster. Such a node lets everybody
 * in and answers pings and the like.
 */
export const workCheck = "ROLLBACK"
