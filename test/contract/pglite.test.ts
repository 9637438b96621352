import { contract } from "./contract.ts"
import { pglite } from "./dialects/postgresDialects.ts"

contract(pglite)
