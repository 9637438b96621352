/**
 * Whether a server writes, so that a session notices when that changes: after a failover the old primary, or the node
 * that a proxy leads to by now, often goes on answering.
 */

/** The question. MariaDB and MySQL call the last one by different names. */
export const readOnlyOf = (isMariadb: boolean): string =>
  `CONCAT_WS('|', @@read_only, @@innodb_read_only, ${isMariadb ? "@@tx_read_only" : "@@transaction_read_only"})`

/** Whether the answer is that it does. */
export const isWritable = (readOnly: string | undefined): boolean =>
  readOnly !== undefined && /^(?:0|OFF)(?:\|(?:0|OFF))*$/i.test(readOnly)
