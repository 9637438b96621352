/** What tests may need of a machine. */

/** A server that tests start for themselves, or its programs. */
export type Need =
  | "postgresql"
  | "standby"
  | "patroni"
  | "pgbouncer"
  | "mysql"
  | "mariadb"
  | "galera"
  | "group-replication"
  | "redis"
  | "tmux"
  | "chromium"

/** A server that all tests share. It may be one that the environment names. */
export type SharedServer = "postgresql" | "mysql" | "mariadb"
