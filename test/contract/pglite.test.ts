import { contract } from "./contract.ts"
import { pglite } from "./postgresDialects.ts"

contract(pglite)
