import { contract } from "./contract.ts"
import { mysql } from "./dialects.ts"

contract(mysql)
