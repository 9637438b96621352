import { describeWith } from "../support/index.ts"
import { contract } from "./contract.ts"
import { pgbouncer } from "./postgresDialects.ts"

describeWith("pgbouncer")("with a pooler of its own", () => contract(pgbouncer))
