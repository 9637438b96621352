import { describeWith } from "../support/index.ts"
import { contract } from "./contract.ts"
import { pgbouncer } from "./dialects/postgresDialects.ts"

describeWith("pgbouncer")("with a pooler of its own", () => contract(pgbouncer))
