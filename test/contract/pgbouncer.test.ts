import { describe } from "@effect/vitest"
import { isPossible } from "../postgres/pgbouncer.ts"
import { contract } from "./contract.ts"
import { pgbouncer } from "./dialects.ts"

describe.skipIf(!isPossible())("where PgBouncer can be had", () => contract(pgbouncer))
