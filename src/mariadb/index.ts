/**
 * MariaDB for Watertight, over the MariaDB connector.
 *
 * @since 0.1.0
 */

/**
 * The front door: layers that provide `SqlClient`, `MysqlClient` and `Pool` on MariaDB or MySQL.
 *
 * @since 0.1.0
 */
export * as Mariadb from "./Mariadb.ts"
