/** Throwaway database servers. */
export * as GaleraCluster from "./GaleraCluster.ts"
export * as GroupReplication from "./GroupReplication.ts"
export * as MariadbServer from "./MariadbServer.ts"
export * as MysqlServer from "./MysqlServer.ts"
export * as PgBouncer from "./PgBouncer.ts"
export * as PostgresServer from "./PostgresServer.ts"
export { ServerError } from "./ServerError.ts"
export { freePort, shareTemplates } from "./ServerProcess.ts"
