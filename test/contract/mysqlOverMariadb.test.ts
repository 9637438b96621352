import { describeWith } from "../support/index.ts"
import { contract } from "./contract.ts"
import { mysqlOverMariadb } from "./dialects/mysqlDialects.ts"

describeWith("url-mysql")("on the shared server", () => contract(mysqlOverMariadb))
