import { contract } from "./contract.ts"
import { pglite } from "./dialects.ts"

contract(pglite)
