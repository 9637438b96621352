import { describeWith } from "../support/index.ts"
import { contract } from "./contract.ts"
import { pgbouncer } from "./dialects.ts"

describeWith("pgbouncer")("where PgBouncer can be had", () => contract(pgbouncer))
