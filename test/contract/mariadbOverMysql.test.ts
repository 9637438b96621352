import { describeWith } from "../support/index.ts"
import { contract } from "./contract.ts"
import { mariadbOverMysql } from "./dialects/mysqlDialects.ts"

describeWith("url-mariadb")("on the shared server", () => contract(mariadbOverMysql))
