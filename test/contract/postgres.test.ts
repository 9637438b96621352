import { contract } from "./contract.ts"
import { postgres } from "./dialects.ts"

contract(postgres)
