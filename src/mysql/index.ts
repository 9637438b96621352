/**
 * MySQL for Watertight, over the driver `mysql2`.
 *
 * @since 0.1.0
 */

/**
 * The front door: layers that provide `SqlClient`, `MysqlClient` and `Pool` on MySQL or MariaDB.
 *
 * @since 0.1.0
 */
export * as Mysql from "./Mysql.ts"
