import { describeWith } from "../support/index.ts"
import { contract } from "./contract.ts"
import { mysqlOverMysql } from "./dialects/mysqlDialects.ts"

describeWith("url-mysql")("on the shared server", () => contract(mysqlOverMysql))
