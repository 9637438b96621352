/** Parameters of connection URIs that are not ours: what to write instead. */
import { nearest } from "../../options/nearest.ts"

const elsewhere: Readonly<Record<string, string>> = {
  // Prisma
  connection_limit: "say the option `pool.max`",
  pool_timeout: "say the option `pool.acquireTimeout`",
  pgbouncer: "say the option `pooler: \"transaction\"`",
  schema: "write `options=-csearch_path%3Dname`, or say `startupParameters: { search_path: \"name\" }`",
  socket_timeout: "say the option `statementTimeout`",
  sslaccept: "write `sslmode=verify-full`, or `sslmode=require`",
  sslidentity: "write `sslcert` and `sslkey`",
  sslpassword: "say the option `ssl` with a `passphrase`",
  statement_cache_size: "say the option `preparedStatementCacheSize`",
  // node-postgres
  uselibpqcompat: "leave it out: `sslmode` means what it means to libpq",
  statement_timeout: "say the option `statementTimeout`",
  query_timeout: "say the option `statementTimeout`",
  lock_timeout: "say the option `lockTimeout`",
  idle_in_transaction_session_timeout: "say the option `idleInTransactionTimeout`",
  max: "say the option `pool.max`",
  // JDBC
  currentSchema: "write `options=-csearch_path%3Dname`, or say `startupParameters: { search_path: \"name\" }`",
  ApplicationName: "write `application_name`",
  loginTimeout: "write `connect_timeout`",
  connectTimeout: "write `connect_timeout`",
  socketTimeout: "say the option `statementTimeout`",
  tcpKeepAlive: "write `keepalives_idle`",
  prepareThreshold: "say the option `prepare`",
  preparedStatementCacheQueries: "say the option `preparedStatementCacheSize`",
  targetServerType: "write `target_session_attrs`",
  loadBalanceHosts: "write `load_balance_hosts`",
  sslfactory: "write `sslmode`",
  reWriteBatchedInserts: "use `Bulk.insert`",
  // SQLAlchemy, Django, Npgsql
  pool_size: "say the option `pool.max`",
  max_overflow: "say the option `pool.max`",
  pool_recycle: "say the option `pool.lifetime`",
  pool_pre_ping: "leave it out: connections are looked at when they have been idle",
  prepared_statement_cache_size: "say the option `preparedStatementCacheSize`",
  conn_max_age: "say the option `pool.lifetime`",
  async_fallback: "leave it out",
  // libpq
  keepalives_interval: "leave it out: the system decides how often TCP asks again",
  keepalives_count: "leave it out: the system decides how often TCP asks again",
  tcp_user_timeout: "say the option `statementTimeout`, which notices a server that is gone",
  passfile: "say the option `password`, which may be an effect that reads a file",
  service: "write the parameters of the service themselves",
  krbsrvname: "leave it out: Kerberos is not supported",
  gsslib: "leave it out: Kerberos is not supported",
  gssdelegation: "leave it out: Kerberos is not supported",
  requirepeer: "leave it out: who owns a socket is not checked",
  requiressl: "write `sslmode=require`",
  sslcrl: "say the option `ssl` with a `crl`",
  sslcrldir: "say the option `ssl` with a `crl`",
  sslsni: "leave it out: the name of the host is always told",
  ssl_min_protocol_version: "say the option `ssl` with a `minVersion`",
  ssl_max_protocol_version: "say the option `ssl` with a `maxVersion`",
  require_auth: "leave it out: the server decides how it authenticates",
  replication: "leave it out: replication is not supported"
}

const folded = new Map(Object.entries(elsewhere).map(([name, hint]) => [name.toLowerCase(), hint]))

/** The end of the sentence about a parameter that is not known. */
export const unknownParameter = (key: string, known: ReadonlyArray<string>): string => {
  const hint = elsewhere[key] ?? folded.get(key.toLowerCase())
  if (hint !== undefined) return `has the parameter ${key}, which is not one of ours: ${hint}`
  const guess = nearest(key, known)
  return `has the unknown parameter ${key}${guess === undefined ? "" : `: did you mean ${guess}?`}`
}
